// Which ranges of one file may be changed at the same time. Pure: no I/O, no timers
// (test/range_lock.test.ts). Used by write_lock.ts.
//
// First come, first served among ranges that overlap: whoever waits is overtaken by nobody it
// conflicts with, so nobody starves. A holder never asks for a second range, so nothing deadlocks.

import type { Offset } from "./arguments.ts";

/** A range that is held or waited for; give it to `release`. */
export interface Lease {
  readonly start: Offset;
  /** First byte behind it; Infinity for "to the end of the file and beyond". */
  readonly end: Offset;
  readonly exclusive: boolean;
  /** Resolves when the range is held; undefined if it is so from the beginning. */
  readonly granted: Promise<void> | undefined;
}

interface Entry extends Lease {
  /** Position among all calls of `acquire`. */
  readonly order: number;
  released: boolean;
  /** Earlier entries that have to be released first. */
  blockers: number;
  /** Later entries that wait for this one. */
  readonly dependents: Entry[];
  granted: Promise<void> | undefined;
  grant: (() => void) | undefined;
}

/** Entries in the order of their calls; released ones leave it now and then. */
interface Line {
  entries: Entry[];
  released: number;
}

/** Ranges that touch more buckets than this are compared with everything. */
const BUCKETS_MAX = 4;
/** Bytes of a bucket: entries are only compared with those that share one. */
const BUCKET_BYTES = 2 ** 20;

export class RangeLock {
  #order = 0;
  #size = 0;
  readonly #all: Line = { entries: [], released: 0 };
  /** Ranges too long for buckets. */
  readonly #long: Line = { entries: [], released: 0 };
  readonly #buckets = new Map<number, Line>();

  /** Leases held or waited for. */
  get size(): number {
    return this.#size;
  }

  /**
   * Shared leases overlap each other, exclusive ones nobody. The range is held when every earlier lease that
   * conflicts has been released: see `granted`.
   */
  acquire(start: Offset, end: Offset, exclusive: boolean): Lease {
    const entry: Entry = {
      ...{ start, end, exclusive, order: this.#order++, released: false, blockers: 0 },
      ...{ dependents: [], granted: undefined, grant: undefined },
    };
    const buckets = bucketsOf(entry);
    this.#block(entry, buckets);
    this.#size++;
    for (const line of this.#linesOf(buckets)) line.entries.push(entry);
    if (entry.blockers === 0) return entry;
    entry.granted = new Promise((resolve) => {
      entry.grant = resolve;
    });
    return entry;
  }

  /** Gives back a range that is held, or gives up waiting for it. */
  release(lease: Lease): void {
    const entry = lease as Entry;
    if (entry.released) throw new Error("the range is not held");
    if (entry.blockers > 0) this.#passOn(entry);
    entry.released = true;
    this.#size--;
    const buckets = bucketsOf(entry);
    for (const line of this.#linesOf(buckets)) clean(line);
    for (const bucket of buckets ?? []) {
      if (this.#buckets.get(bucket)?.entries.length === 0) this.#buckets.delete(bucket);
    }
    for (const dependent of entry.dependents) {
      dependent.blockers--;
      if (dependent.blockers === 0) dependent.grant?.();
    }
  }

  /** Who waited for this one, which gives up, waits for those before it, where they conflict. */
  #passOn(entry: Entry): void {
    entry.grant = undefined;
    for (const dependent of entry.dependents) {
      for (const other of this.#all.entries) {
        if (other.order >= entry.order) break;
        if (!other.released && !other.dependents.includes(dependent)) blockOn(dependent, other);
      }
    }
  }

  /** Makes `entry` wait for what is earlier and conflicts. */
  #block(entry: Entry, buckets: readonly number[] | undefined): void {
    if (buckets === undefined) {
      blockOnLine(entry, this.#all, -1);
      return;
    }
    let covered = blockOnLine(entry, this.#long, -1);
    for (const bucket of buckets) {
      const line = this.#buckets.get(bucket);
      if (line !== undefined) covered = blockOnLine(entry, line, covered);
    }
  }

  #linesOf(buckets: readonly number[] | undefined): Line[] {
    if (buckets === undefined) return [this.#all, this.#long];
    return [this.#all, ...buckets.map((bucket) => this.#bucket(bucket))];
  }

  #bucket(index: number): Line {
    let line = this.#buckets.get(index);
    if (line === undefined) {
      line = { entries: [], released: 0 };
      this.#buckets.set(index, line);
    }
    return line;
  }
}

/**
 * Latest first, down to one that covers the whole range exclusively: it waits for all before it that
 * matter. Returns that one's order, or `covered`: what is earlier need not be looked at.
 */
function blockOnLine(entry: Entry, line: Line, covered: number): number {
  for (let index = line.entries.length - 1; index >= 0; index--) {
    const other = line.entries[index] as Entry;
    if (other.order < covered) return covered;
    if (other.released) continue;
    blockOn(entry, other);
    if (other.exclusive && other.start <= entry.start && other.end >= entry.end) {
      return other.order;
    }
  }
  return covered;
}

/** Drops what is released once that is the larger part. */
function clean(line: Line): void {
  line.released++;
  if (line.released * 2 <= line.entries.length) return;
  line.entries = line.entries.filter((entry) => !entry.released);
  line.released = 0;
}

function blockOn(entry: Entry, other: Entry): void {
  if (!entry.exclusive && !other.exclusive) return;
  if (entry.start >= other.end || other.start >= entry.end) return;
  // Met in another bucket before.
  if (other.dependents.at(-1) === entry) return;
  entry.blockers++;
  other.dependents.push(entry);
}

/** The buckets a range touches; undefined when they are too many. */
function bucketsOf(lease: Lease): number[] | undefined {
  if (lease.end === Infinity) return undefined;
  const first = Math.floor(Number(lease.start) / BUCKET_BYTES);
  // Number() may round a bigint: a bucket more on either side does no harm, one less would.
  const slack = typeof lease.end === "bigint" ? 1 : 0;
  const last = Math.floor(Math.max(Number(lease.end) - 1, 0) / BUCKET_BYTES) + slack;
  if (last - first + slack >= BUCKETS_MAX) return undefined;
  const buckets: number[] = [];
  for (let bucket = first - slack; bucket <= last; bucket++) buckets.push(bucket);
  return buckets;
}
