// The option `ranges` of a copy: a block map.

import { argumentRange, argumentType, argumentValue } from "../common/argument_errors.ts";
import type { Offset } from "../common/arguments.ts";
import { type ByteRange, checkByteRange } from "../common/byte_range.ts";
import type { Span } from "./chunks.ts";

/** A range to copy, of the source. */
export interface CopyRange extends ByteRange {
  /** SHA-256 of the range, in hexadecimal. */
  readonly sha256?: string | undefined;
}

/** The ranges as they were checked: ascending and apart from one another. */
export function checkRanges(name: string, value: unknown): readonly CopyRange[] {
  if (!Array.isArray(value)) throw argumentType(name, "an array of ranges", value);
  let end = 0;
  return Array.from(value, (entry: unknown, index) => {
    const range = checkByteRange(`${name}[${index}]`, entry);
    const sha256 = checkDigest(`${name}[${index}].sha256`, (entry as CopyRange).sha256);
    if (range.offset < end) {
      const order = `at least ${end}: ranges are ascending and do not overlap`;
      throw argumentRange(`${name}[${index}].offset`, order, range.offset);
    }
    end = range.offset + range.length;
    return { ...range, sha256 };
  });
}

function checkDigest(name: string, value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string") throw argumentType(name, "a string", value);
  if (/^[0-9a-f]{64}$/i.test(value)) return value.toLowerCase();
  throw argumentValue(name, "must be 64 hexadecimal digits", value);
}

/**
 * The parts of the ranges within `length` bytes from `sourceOffset`, relative to that. Neighbours without a digest
 * are one.
 */
export function spansOf(
  ranges: readonly CopyRange[],
  sourceOffset: Offset,
  length: number,
): readonly Span[] {
  const spans: Span[] = [];
  for (const [index, range] of ranges.entries()) {
    const start = Number(BigInt(range.offset) - BigInt(sourceOffset));
    const begin = Math.max(start, 0);
    const end = Math.min(start + range.length, length);
    if (begin >= end) continue;
    const { sha256 } = range;
    if (sha256 === undefined) {
      const last = spans.at(-1);
      if (last?.end === begin && last.digest === undefined)
        spans[spans.length - 1] = { begin: last.begin, end };
      else spans.push({ begin, end });
      continue;
    }
    if (end - begin < range.length) {
      const why = "has a sha256, so sourceOffset and length must not cut it";
      throw argumentValue(`options.ranges[${index}]`, why, range);
    }
    spans.push({ begin, end, digest: { sha256, index } });
  }
  return spans;
}

/** Without the digests that a block map may have: they are for `copy`. */
export function plainSpans(
  ranges: readonly ByteRange[],
  sourceOffset: Offset,
  length: number,
): readonly Span[] {
  const plain = ranges.map(({ offset, length }) => ({ offset, length }));
  return spansOf(plain, sourceOffset, length);
}
