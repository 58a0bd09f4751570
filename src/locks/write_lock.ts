// Orders changes of one file: a write that reads, modifies and writes back whole sectors (read_modify_write.ts) has
// its range to itself. Most files never see one, and their writes pay nothing.
//
// All Files of one file in this thread share a lock. It is off until a read-modify-write needs it. Writes that
// started before get a lease then, and the read-modify-write waits for those that overlap it.

import { waitWithin } from "../cancellation/registry.ts";
import type { CancelReason, CancelScope } from "../cancellation/scope.ts";
import type { Offset } from "../common/arguments.ts";
import type { Identity } from "./identity.ts";
import { type Lease, type Range, RangeLock } from "./range_lock.ts";

/** A waiter: its scope, and its errors. */
export interface Waiter {
  readonly scope: CancelScope | undefined;
  stopped(reason: CancelReason): Error;
  /** The error if the range was given up because of `cause`. */
  givenUp(cause: unknown): Error;
}

/** A change that began while the lock was off; it gets a lease when the lock is turned on. */
interface Unlocked {
  readonly start: Offset;
  readonly end: Offset;
  lease: Lease | undefined;
}

/** Calls `found` for each write of the fast path (proactor.ts) of one `File` that is in flight. */
export type EachWrite = (found: (slot: number, start: Offset, end: Offset) => void) => void;

/** A range that the kernel may still write for a lost ring. */
interface GivenUp {
  readonly start: Offset;
  readonly end: Offset;
  readonly cause: unknown;
  /** The instance of the file or medium. */
  readonly instance: bigint;
}

/** The state shared by all Files of one file. */
class Shared {
  ranges: RangeLock | undefined;
  /** Number of Files that keep the lock on while they are open. */
  keepers = 0;
  readonly unlocked = new Set<Unlocked>();
  readonly members = new Set<WriteLock>();
  readonly givenUp: GivenUp[] = [];
}

/** Shared state by file or device. */
const shared = new Map<string, Shared>();

/** The share of one `File` in the lock of its file. */
export class WriteLock {
  #shared = new Shared();
  #identity: Identity | undefined;
  #keeps = false;
  /** Its writes of the fast path that were in flight when the lock was turned on, by slot. */
  readonly #fast = new Map<number, Lease>();
  /** Its writes of the fast path in flight. */
  #fastCount = 0;
  #eachWrite: EachWrite = () => {};

  constructor() {
    this.#shared.members.add(this);
  }

  /**
   * Shares the lock with other Files of the same file; `identity` undefined: there are none. Call it before the
   * first write.
   */
  join(identity: Identity | undefined, eachWrite: EachWrite): void {
    this.#eachWrite = eachWrite;
    this.#identity = identity;
    if (identity === undefined) return;
    const { name, instance } = identity;
    const found = shared.get(name);
    // Without members it only holds ranges given up; if another file or medium has the name now, they do not
    // concern it.
    const isAnothers =
      found?.members.size === 0 && !found.givenUp.some((range) => range.instance === instance);
    if (found === undefined || isAnothers) {
      shared.set(name, this.#shared);
      return;
    }
    found.members.add(this);
    this.#shared = found;
  }

  /** Call when the file is closed, with nothing in flight. */
  leave(): void {
    const { members } = this.#shared;
    if (this.#keeps) this.#shared.keepers--;
    this.#keeps = false;
    this.#turnOffIfIdle();
    members.delete(this);
    if (members.size > 0 || this.#shared.givenUp.length > 0) return;
    if (this.#identity !== undefined) shared.delete(this.#identity.name);
  }

  /** Whether every change must take part. */
  get isOn(): boolean {
    return this.#shared.ranges !== undefined;
  }

  /** Keeps the lock on, for files whose writes may be unaligned at any time. */
  keepOn(): void {
    if (this.#keeps) return;
    this.#keeps = true;
    this.#shared.keepers++;
    this.#turnOn();
  }

  /**
   * Gives up the whole sectors of a write of unknown outcome, which may still be written at any later time. Other
   * changes of them are refused from now on, until the file is another one.
   */
  giveUp(start: Offset, end: Offset, cause: unknown): void {
    this.#shared.givenUp.push({ start, end, cause, instance: this.#instance });
    this.#shared.keepers++;
    this.#turnOn();
  }

  /** A write of the fast path begins: the lock is off, or the file has no sectors. */
  fastBegins(): void {
    this.#fastCount++;
  }

  fastEnds(slot: number): void {
    this.#fastCount--;
    if (this.#fast.size === 0) return;
    const lease = this.#fast.get(slot);
    if (lease === undefined) return;
    this.#fast.delete(slot);
    this.#release(lease);
  }

  /** Runs a change when it may; in this turn if it may at once. */
  during<T>(range: Range, waiter: Waiter, run: () => Promise<T>): Promise<T> {
    const { ranges } = this.#shared;
    if (ranges !== undefined) return this.#runLocked(ranges, range, waiter, run);
    return this.#runUnlocked({ start: range.start, end: range.end, lease: undefined }, run);
  }

  /** Runs a change with its range to itself. Turns the lock on, and waits for earlier changes of the range, too. */
  alone<T>(start: Offset, end: Offset, waiter: Waiter, run: () => Promise<T>): Promise<T> {
    return this.#runLocked(this.#turnOn(), { start, end, exclusive: true }, waiter, run);
  }

  async #runUnlocked<T>(change: Unlocked, run: () => Promise<T>): Promise<T> {
    const { unlocked } = this.#shared;
    unlocked.add(change);
    try {
      return await run();
    } finally {
      unlocked.delete(change);
      if (change.lease !== undefined) this.#release(change.lease);
    }
  }

  async #runLocked<T>(
    ranges: RangeLock,
    range: Range,
    waiter: Waiter,
    run: () => Promise<T>,
  ): Promise<T> {
    const lease = ranges.acquire(range);
    try {
      if (lease.granted !== undefined) await granted(lease.granted, waiter);
      this.#checkGivenUp(range.start, range.end, waiter);
      return await run();
    } finally {
      this.#release(lease);
    }
  }

  #turnOn(): RangeLock {
    const { ranges, members, unlocked } = this.#shared;
    if (ranges !== undefined) return ranges;
    const made = new RangeLock();
    this.#shared.ranges = made;
    for (const change of unlocked) change.lease = made.acquire(change);
    for (const member of members) member.#lockFast(made);
    return made;
  }

  #lockFast(ranges: RangeLock): void {
    if (this.#fastCount === 0) return;
    this.#eachWrite((slot, start, end) => {
      this.#fast.set(slot, ranges.acquire({ start, end }));
    });
  }

  get #instance(): bigint {
    return this.#identity?.instance ?? 0n;
  }

  #checkGivenUp(start: Offset, end: Offset, waiter: Waiter): void {
    for (const range of this.#shared.givenUp) {
      if (range.instance !== this.#instance) continue;
      if (range.start < end && range.end > start) throw waiter.givenUp(range.cause);
    }
  }

  #release(lease: Lease): void {
    this.#shared.ranges?.release(lease);
    this.#turnOffIfIdle();
  }

  #turnOffIfIdle(): void {
    const { ranges, keepers } = this.#shared;
    if (keepers === 0 && ranges?.size === 0) this.#shared.ranges = undefined;
  }
}

async function granted(granting: Promise<void>, { scope, stopped }: Waiter): Promise<void> {
  const reason = scope === undefined ? await granting : await waitWithin(granting, scope);
  if (reason !== undefined) throw stopped(reason);
}
