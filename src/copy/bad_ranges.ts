// The ranges of a medium that cannot be read, and why.

import type { ByteRange } from "../common/byte_range.ts";
import type { IoErrorCode } from "../errors/codes.ts";
import type { ReadError } from "../errors/copy_result.ts";
import { RescueMap } from "./rescue_map.ts";

export class BadRanges {
  /** A map for each code, in which its ranges are "-". */
  readonly #maps = new Map<IoErrorCode, RescueMap>();

  add(range: ByteRange, code: IoErrorCode): void {
    this.delete(range);
    const map = this.#maps.get(code) ?? new RescueMap();
    this.#maps.set(code, map);
    map.set(range, "-");
  }

  /** The range has been read after all. */
  delete(range: ByteRange): void {
    for (const map of this.#maps.values()) if (map.size > range.offset) map.set(range, "?");
  }

  /** Ascending; neighbours of the same code are one. With `within`, what lies in there. */
  list(within?: ByteRange): ReadError[] {
    const errors: ReadError[] = [];
    for (const [code, map] of this.#maps) {
      for (const { offset, length } of map.ranges("-", within))
        errors.push({ offset, length, code });
    }
    return errors.sort((a, b) => a.offset - b.offset);
  }
}

/** The map of a medium of which only these ranges are known: they are bad. */
export function mapOf(bad: readonly ReadError[], size: number): RescueMap {
  const map = new RescueMap(size);
  for (const range of bad) map.set(range, "-");
  return map;
}
