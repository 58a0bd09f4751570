// The order in which people list names with numbers: sda9 before sda10.

const collator = new Intl.Collator("en", { numeric: true });

export function naturalOrder(a: string, b: string): number {
  return collator.compare(a, b);
}
