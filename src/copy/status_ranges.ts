// A status for every byte of a medium, in ranges: what a `RescueMap` holds.

import type { ByteRange } from "../common/byte_range.ts";

/**
 * State of a range, in the characters of ddrescue: `?` not tried, `*` failed and not trimmed, `/` failed and not
 * scraped (the read of a larger block failed; its sectors were not tried one by one), `-` bad, `+` rescued.
 */
export type RescueStatus = "?" | "*" | "/" | "-" | "+";

/** What is left to do, in the order in which it is done. */
const PHASES: readonly RescueStatus[] = ["?", "*", "/"];

export class StatusRanges {
  /** Where ranges begin, ascending from 0; neighbours differ in status. Empty if the size is 0. */
  readonly #starts: number[] = [];
  readonly #statuses: RescueStatus[] = [];
  #size = 0;

  /** In bytes. */
  get size(): number {
    return this.#size;
  }

  /** Makes it larger; what is new is `?`. */
  extend(size: number): void {
    if (size <= this.#size) return;
    const from = this.#size;
    this.#size = size;
    if (this.#statuses.at(-1) === "?") return;
    this.#starts.push(from);
    this.#statuses.push("?");
  }

  /** Sets a range of at least one byte, within the size. */
  assign(offset: number, end: number, status: RescueStatus): void {
    let first = this.#indexAt(offset);
    let last = this.#indexAt(end - 1);
    const before = this.#statuses[first];
    const after = this.#statuses[last];
    if (first === last && before === status) return;
    const starts: number[] = [];
    const statuses: RescueStatus[] = [];
    const add = (start: number, is: RescueStatus | undefined): void => {
      if (is === undefined || is === statuses.at(-1)) return;
      starts.push(start);
      statuses.push(is);
    };
    const start = this.#starts[first] ?? 0;
    const next = this.#starts[last + 1] ?? this.#size;
    if (start < offset) {
      add(start, before);
    } else if (first > 0) {
      // The neighbour may have the same status.
      first--;
      add(this.#starts[first] ?? 0, this.#statuses[first]);
    }
    add(offset, status);
    if (end < next) {
      add(end, after);
    } else if (last + 1 < this.#starts.length) {
      last++;
      add(end, this.#statuses[last]);
    }
    this.#starts.splice(first, last - first + 1, ...starts);
    this.#statuses.splice(first, last - first + 1, ...statuses);
  }

  /** The parts of all ranges, or of those of one status, from `start` to `limit`. It may be changed meanwhile. */
  *between(
    start: number,
    limit: number,
    wanted: RescueStatus | undefined,
  ): Generator<ByteRange & { status: RescueStatus }, void, undefined> {
    // By position, not by index: the map may have changed since the last one.
    for (let offset = start; offset < Math.min(limit, this.#size); ) {
      const index = this.#indexAt(offset);
      const status = this.#statuses[index] ?? "?";
      const end = Math.min(this.#starts[index + 1] ?? this.#size, limit);
      if (wanted === undefined || status === wanted) yield { offset, length: end - offset, status };
      offset = end;
    }
  }

  get phase(): RescueStatus {
    if (this.#size === 0) return "?";
    return PHASES.find((status) => this.#statuses.includes(status)) ?? "+";
  }

  /** Where ddrescue is to go on: the first range of its phase. */
  get position(): number {
    return this.#starts[this.#statuses.indexOf(this.phase)] ?? 0;
  }

  /** Index of the range with this position, which is below the size. */
  #indexAt(position: number): number {
    let low = 0;
    for (let high = this.#starts.length; high - low > 1; ) {
      const middle = (low + high) >>> 1;
      if ((this.#starts[middle] ?? Infinity) <= position) low = middle;
      else high = middle;
    }
    return low;
  }
}
