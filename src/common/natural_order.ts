// The order in which people list names with numbers: sda9 before sda10.

/** Made at first use: it takes 1.5 ms of a program's start. */
let collator: Intl.Collator | undefined;

export function naturalOrder(a: string, b: string): number {
  collator ??= new Intl.Collator("en", { numeric: true });
  return collator.compare(a, b);
}
