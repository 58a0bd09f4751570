// Which ranges of one file may be changed at the same time. Pure: no I/O, no timers
// (test/range_lock.test.ts). Used by modify.ts.
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
}

interface Entry extends Lease {
  /** Earlier entries that have to be released first. */
  blockers: number;
  /** Later entries that wait for this one. */
  readonly dependents: Entry[];
  grant: ((lease: Lease) => void) | undefined;
}

/** Ranges that touch more buckets than this are compared with everything. */
const BUCKETS_MAX = 4;
/** Bytes of a bucket: entries are only compared with those that share one. */
const BUCKET_BYTES = 2 ** 20;

export class RangeLock {
  readonly #entries = new Set<Entry>();
  /** Ranges too long for buckets. */
  readonly #long = new Set<Entry>();
  readonly #buckets = new Map<number, Set<Entry>>();

  /** Leases held or waited for. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * Shared leases overlap each other, exclusive ones nobody. Resolves when every earlier lease that
   * conflicts has been released.
   */
  acquire(start: Offset, end: Offset, exclusive: boolean): Promise<Lease> {
    const entry: Entry = {
      start,
      end,
      exclusive,
      blockers: 0,
      dependents: [],
      grant: undefined,
    };
    const buckets = bucketsOf(entry);
    this.#wait(entry, buckets);
    this.#entries.add(entry);
    if (buckets === undefined) this.#long.add(entry);
    else for (const bucket of buckets) this.#bucket(bucket).add(entry);
    if (entry.blockers === 0) return Promise.resolve(entry);
    return new Promise((resolve) => {
      entry.grant = resolve;
    });
  }

  release(lease: Lease): void {
    const entry = lease as Entry;
    if (!this.#entries.delete(entry)) throw new Error("the range is not held");
    const buckets = bucketsOf(entry);
    if (buckets === undefined) this.#long.delete(entry);
    else for (const bucket of buckets) this.#leaveBucket(bucket, entry);
    for (const dependent of entry.dependents) {
      dependent.blockers--;
      if (dependent.blockers === 0) dependent.grant?.(dependent);
    }
  }

  /** Makes `entry` wait for everything earlier that it conflicts with. */
  #wait(entry: Entry, buckets: readonly number[] | undefined): void {
    if (buckets === undefined) {
      for (const other of this.#entries) blockOn(entry, other);
      return;
    }
    for (const other of this.#long) blockOn(entry, other);
    let seen: Set<Entry> | undefined;
    for (const bucket of buckets) {
      for (const other of this.#buckets.get(bucket) ?? []) {
        if (buckets.length > 1) {
          seen ??= new Set();
          if (seen.has(other)) continue;
          seen.add(other);
        }
        blockOn(entry, other);
      }
    }
  }

  #bucket(index: number): Set<Entry> {
    let bucket = this.#buckets.get(index);
    if (bucket === undefined) {
      bucket = new Set();
      this.#buckets.set(index, bucket);
    }
    return bucket;
  }

  #leaveBucket(index: number, entry: Entry): void {
    const bucket = this.#buckets.get(index);
    bucket?.delete(entry);
    if (bucket?.size === 0) this.#buckets.delete(index);
  }
}

function blockOn(entry: Entry, other: Entry): void {
  if (!entry.exclusive && !other.exclusive) return;
  if (entry.start >= other.end || other.start >= entry.end) return;
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
