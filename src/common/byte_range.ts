// A range of bytes, and its check as an argument.

import { argumentRange, argumentType } from "./argument_errors.ts";
import { checkInteger, checkOffset, type Offset } from "./arguments.ts";

/** A range of bytes of a file, device or stream. */
export interface ByteRange {
  /** Bytes from the start. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

/** Bytes of all ranges. */
export function totalLength(ranges: Iterable<{ readonly length: number }>): number {
  let bytes = 0;
  for (const { length } of ranges) bytes += length;
  return bytes;
}

/** The range, as it was checked: a getter may return something else next time. */
export function checkByteRange(name: string, value: unknown): ByteRange {
  if (typeof value !== "object" || value === null) {
    throw argumentType(name, "an object with offset and length", value);
  }
  const { offset, length } = value as Partial<ByteRange>;
  const from = checkInteger(`${name}.offset`, offset, 0, Number.MAX_SAFE_INTEGER);
  const bytes = checkInteger(`${name}.length`, length, 0, Number.MAX_SAFE_INTEGER);
  if (from + bytes > Number.MAX_SAFE_INTEGER) {
    throw argumentRange(`${name}.length`, "such that offset + length is at most 2^53 - 1", bytes);
  }
  return { offset: from, length: bytes };
}

/** The bytes from `start` to `end`; Infinity without an end. */
export function checkEnd(name: string, end: Offset | undefined, start: Offset): number {
  if (end === undefined) return Infinity;
  const checked = checkOffset(name, end);
  if (checked < start) throw argumentRange(name, `at least start (${start})`, end);
  return Number(BigInt(checked) - BigInt(start));
}
