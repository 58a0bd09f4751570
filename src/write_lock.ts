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

/** A change that runs loose. */
class Loose {
  readonly start: Offset;
  readonly end: Offset;
  #over: PromiseWithResolvers<void> | undefined;

  constructor(start: Offset, end: Offset) {
    this.start = start;
    this.end = end;
  }

  get over(): Promise<void> {
    this.#over ??= Promise.withResolvers();
    return this.#over.promise;
  }

  finish(): void {
    this.#over?.resolve();
  }
}

/** Calls back for each write of the fast way (core.ts) that is under way. */
export type EachWrite = (found: (slot: number, start: Offset, end: Offset) => void) => void;

export class WriteLock {
  #ranges: RangeLock | undefined;
  #keeps = false;
  readonly #loose = new Set<Loose>();
  /** Writes of the fast way that were under way when the lock was turned on, by slot. */
  readonly #fast = new Map<number, Loose>();
  /** Writes of the fast way that are under way. */
  #fastCount = 0;

  /** Whether every change has to take part. */
  get isOn(): boolean {
    return this.#ranges !== undefined;
  }

  /** For files whose writes may be unaligned at any time. */
  keepOn(): void {
    this.#keeps = true;
    this.#ranges ??= new RangeLock();
  }

  /** A write of the fast way begins: the lock is off, or the file has no sectors. */
  fastBegins(): void {
    this.#fastCount++;
  }

  fastEnds(slot: number): void {
    this.#fastCount--;
    if (this.#fast.size === 0) return;
    const loose = this.#fast.get(slot);
    if (loose === undefined) return;
    this.#fast.delete(slot);
    this.#loose.delete(loose);
    loose.finish();
  }

  /** Runs a change that shares its range with others, or with nobody. Begins in this turn if it may. */
  async during<T>(
    start: Offset,
    end: Offset,
    exclusive: boolean,
    waiter: Waiter,
    run: () => Promise<T>,
  ): Promise<T> {
    if (this.#ranges === undefined) return this.#runLoose(new Loose(start, end), run);
    const lease = await this.#acquire(this.#ranges, start, end, exclusive, waiter);
    try {
      return await run();
    } finally {
      this.#release(lease);
    }
  }

  async #runLoose<T>(loose: Loose, run: () => Promise<T>): Promise<T> {
    this.#loose.add(loose);
    try {
      return await run();
    } finally {
      this.#loose.delete(loose);
      loose.finish();
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
    eachWrite: EachWrite,
    run: () => Promise<T>,
  ): Promise<T> {
    const ranges = this.#turnOn(eachWrite);
    const lease = await this.#acquire(ranges, start, end, true, waiter);
    try {
      await this.#waitForLoose(start, end, waiter);
      return await run();
    } finally {
      this.#release(lease);
    }
  }

  #turnOn(eachWrite: EachWrite): RangeLock {
    if (this.#ranges !== undefined) return this.#ranges;
    this.#ranges = new RangeLock();
    if (this.#fastCount > 0) {
      eachWrite((slot, start, end) => {
        if (this.#fast.has(slot)) return;
        const loose = new Loose(start, end);
        this.#fast.set(slot, loose);
        this.#loose.add(loose);
      });
    }
    return this.#ranges;
  }

  /** Nothing new runs loose while the lock is on. */
  async #waitForLoose(start: Offset, end: Offset, waiter: Waiter): Promise<void> {
    const running: Promise<void>[] = [];
    for (const loose of this.#loose) {
      if (loose.start < end && loose.end > start) running.push(loose.over);
    }
    if (running.length === 0) return;
    const cause = await waitGoverned(Promise.all(running), waiter.governor);
    if (cause !== undefined) throw waiter.stopped(cause);
  }

  async #acquire(
    ranges: RangeLock,
    start: Offset,
    end: Offset,
    exclusive: boolean,
    waiter: Waiter,
  ): Promise<Lease> {
    const lease = ranges.acquire(start, end, exclusive);
    const { granted } = lease;
    if (granted === undefined) return lease;
    const cause =
      waiter.governor === undefined ? await granted : await waitGoverned(granted, waiter.governor);
    if (cause === undefined) return lease;
    this.#release(lease);
    throw waiter.stopped(cause);
  }

  #release(lease: Lease): void {
    this.#ranges?.release(lease);
    if (!this.#keeps && this.#ranges?.size === 0) this.#ranges = undefined;
  }
}
