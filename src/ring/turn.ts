// How long this thread has worked without giving its event loop a turn.

import { setImmediate } from "../common/intrinsics.ts";

/** After this long without yielding, in ms, the event loop gets a turn. */
const INLINE_MS_MAX = 1;
/** The same in flushes, for a simulated ring: there no clock may decide which operations share a flush. */
const INLINE_FLUSHES_MAX = 256;

/** Times are on the ring's clock, in ms. */
export class Turn {
  readonly #isSimulated: boolean;
  /** When something was done at once for the first time in this turn; 0: nothing was. */
  #since = 0;
  #flushes = 0;
  #next: Promise<void> | undefined;

  constructor(isSimulated: boolean) {
    this.#isSimulated = isSimulated;
  }

  /** Something was done at once. */
  use(now: number): void {
    if (this.#since === 0) this.#since = now;
  }

  /** The event loop has begun another one. */
  renew(): void {
    this.#since = 0;
  }

  /** Whether the event loop must get a turn before more is done at once. */
  isOver(now: number): boolean {
    if (this.#since === 0) return false;
    if (!this.#isSimulated) return now - this.#since >= INLINE_MS_MAX;
    this.#flushes = (this.#flushes + 1) % INLINE_FLUSHES_MAX;
    return this.#flushes === 0;
  }

  /** Resolves in the next one. */
  next(): Promise<void> {
    this.#next ??= new Promise((resolve) => {
      setImmediate(() => {
        this.#next = undefined;
        this.renew();
        resolve();
      });
    });
    return this.#next;
  }
}
