// Which changes of one file wait for which: a write that reads, modifies and writes back whole sectors
// (modify.ts) goes alone on its range. Most files never see one, and their writes pay nothing but a count.

import type { Offset } from "./arguments.ts";
import { type Lease, RangeLock } from "./range_lock.ts";

export class WriteLock {
  /** There is none until somebody needs it: what is called before runs loose. */
  #ranges: RangeLock | undefined;
  #keeps = false;
  /** Changes under way that hold no lease. */
  #loose = 0;
  #onLooseOver: (() => void)[] = [];

  /** Whether every change has to take part. */
  get isOn(): boolean {
    return this.#ranges !== undefined;
  }

  /** For files whose writes may be unaligned at any time. */
  keepOn(): void {
    this.#keeps = true;
    this.#ranges ??= new RangeLock();
  }

  /** A change begins while the lock is not on. */
  looseBegins(): void {
    this.#loose++;
  }

  looseEnds(): void {
    this.#loose--;
    if (this.#loose > 0 || this.#onLooseOver.length === 0) return;
    for (const resolve of this.#onLooseOver.splice(0)) resolve();
  }

  /** Runs a change that shares its range with others, or with nobody. Begins in this turn if it may. */
  async during<T>(
    start: Offset,
    end: Offset,
    exclusive: boolean,
    run: () => Promise<T>,
  ): Promise<T> {
    const ranges = this.#ranges;
    if (ranges === undefined) {
      this.looseBegins();
      try {
        return await run();
      } finally {
        this.looseEnds();
      }
    }
    const lease = await ranges.acquire(start, end, exclusive);
    try {
      return await run();
    } finally {
      this.release(lease);
    }
  }

  /** A range for one change alone. Turns the lock on, and waits for what began before that. */
  async acquireAlone(start: Offset, end: Offset): Promise<Lease> {
    this.#ranges ??= new RangeLock();
    const lease = await this.#ranges.acquire(start, end, true);
    if (this.#loose > 0) await new Promise<void>((resolve) => this.#onLooseOver.push(resolve));
    return lease;
  }

  release(lease: Lease): void {
    this.#ranges?.release(lease);
    if (!this.#keeps && this.#ranges?.size === 0) this.#ranges = undefined;
  }
}
