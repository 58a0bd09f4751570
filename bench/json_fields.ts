// Typed access to parsed JSON: what comes from another process is checked, not believed.

export type JsonRecord = Readonly<Record<string, unknown>>;

export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function numberAt(record: JsonRecord, name: string): number {
  const value = record[name];
  if (typeof value !== "number") throw new TypeError(`${name} is ${typeof value}, not a number`);
  return value;
}

export function optionalNumberAt(record: JsonRecord, name: string): number | undefined {
  return record[name] === undefined ? undefined : numberAt(record, name);
}

export function stringAt(record: JsonRecord, name: string): string {
  const value = record[name];
  if (typeof value !== "string") throw new TypeError(`${name} is ${typeof value}, not a string`);
  return value;
}

export function booleanAt(record: JsonRecord, name: string): boolean {
  const value = record[name];
  if (typeof value !== "boolean") throw new TypeError(`${name} is ${typeof value}, not a boolean`);
  return value;
}

export function recordAt(record: JsonRecord, name: string): JsonRecord {
  const value = record[name];
  if (!isRecord(value)) throw new TypeError(`${name} is not an object`);
  return value;
}

export function arrayAt(record: JsonRecord, name: string): readonly unknown[] {
  const value = record[name];
  if (!Array.isArray(value)) throw new TypeError(`${name} is not an array`);
  return value;
}
