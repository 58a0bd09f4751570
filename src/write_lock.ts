// Which changes of one file wait for which: a write that reads, modifies and writes back whole sectors
// (modify.ts) goes alone on its range. Most files never see one, and their writes pay nothing for it.
//
// The lock is on while somebody needs it. What was called before that runs loose: it holds no lease, and
// whoever goes alone waits for it where ranges overlap.

import type { Offset } from "./arguments.ts";
import { type Cause, type Governor, waitGoverned } from "./control.ts";
import { type Lease, RangeLock } from "./range_lock.ts";

/** Who waits: for how long, and what to say if it was in vain. */
export interface Waiter {
  readonly governor: Governor | undefined;
  stopped(cause: Cause): Error;
}

interface Range {
  readonly start: Offset;
  readonly end: Offset;
}

/** Whether a write of the fast way (core.ts) is under way in the range. */
export type IsWriting = (start: Offset, end: Offset) => boolean;

export class WriteLock {
  #ranges: RangeLock | undefined;
  #keeps = false;
  /** Loose changes, but for the writes of the fast way: these are in the slots of core.ts. */
  readonly #loose = new Set<Range>();
  readonly #onLooseEnd: (() => void)[] = [];

  /** Whether every change has to take part. */
  get isOn(): boolean {
    return this.#ranges !== undefined;
  }

  /** For files whose writes may be unaligned at any time. */
  keepOn(): void {
    this.#keeps = true;
    this.#ranges ??= new RangeLock();
  }

  /** A loose change is over. */
  looseEnded(): void {
    if (this.#onLooseEnd.length === 0) return;
    for (const resolve of this.#onLooseEnd.splice(0)) resolve();
  }

  /** Runs a change that shares its range with others, or with nobody. Begins in this turn if it may. */
  async during<T>(
    start: Offset,
    end: Offset,
    exclusive: boolean,
    waiter: Waiter,
    run: () => Promise<T>,
  ): Promise<T> {
    if (this.#ranges === undefined) return this.#runLoose({ start, end }, run);
    const lease = await this.#acquire(this.#ranges, start, end, exclusive, waiter);
    try {
      return await run();
    } finally {
      this.#release(lease);
    }
  }

  async #runLoose<T>(range: Range, run: () => Promise<T>): Promise<T> {
    this.#loose.add(range);
    try {
      return await run();
    } finally {
      this.#loose.delete(range);
      this.looseEnded();
    }
  }

  /**
   * Runs a change beside no other of its range. Turns the lock on, and waits for what began before that: it
   * holds nothing that anybody waits for.
   */
  async alone<T>(
    start: Offset,
    end: Offset,
    waiter: Waiter,
    isWriting: IsWriting,
    run: () => Promise<T>,
  ): Promise<T> {
    this.#ranges ??= new RangeLock();
    const lease = await this.#acquire(this.#ranges, start, end, true, waiter);
    try {
      while (this.#isLoose(start, end) || isWriting(start, end)) {
        const ended = new Promise<void>((resolve) => this.#onLooseEnd.push(resolve));
        const cause = await waitGoverned(ended, waiter.governor);
        if (cause !== undefined) throw waiter.stopped(cause);
      }
      return await run();
    } finally {
      this.#release(lease);
    }
  }

  async #acquire(
    ranges: RangeLock,
    start: Offset,
    end: Offset,
    exclusive: boolean,
    waiter: Waiter,
  ): Promise<Lease> {
    const lease = ranges.acquire(start, end, exclusive);
    if (!(lease instanceof Promise)) return lease;
    if (waiter.governor === undefined) return lease;
    const cause = await waitGoverned(lease, waiter.governor);
    if (cause === undefined) return lease;
    // Others may wait for this one instead of for those before it: it keeps its place in the line.
    void lease.then((late) => this.#release(late));
    throw waiter.stopped(cause);
  }

  #release(lease: Lease): void {
    this.#ranges?.release(lease);
    if (!this.#keeps && this.#ranges?.size === 0) this.#ranges = undefined;
  }

  #isLoose(start: Offset, end: Offset): boolean {
    for (const range of this.#loose) if (range.start < end && range.end > start) return true;
    return false;
  }
}
