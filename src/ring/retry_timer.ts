// A timer that only ever moves earlier.

import { Timer } from "../native/clock.ts";

export class RetryTimer {
  readonly #run: () => void;
  #timer: Timer | undefined;
  /** When it fires, on the caller's clock. */
  #at = 0;

  constructor(run: () => void) {
    this.#run = run;
  }

  /** Calls back in `ms` milliseconds, or at the earlier time requested before. Does not keep the process alive. */
  in(ms: number, nowMs: number): void {
    const at = nowMs + ms;
    if (this.#timer !== undefined) {
      if (at >= this.#at) return;
      this.#timer.cancel();
    }
    this.#at = at;
    this.#timer = new Timer(ms, this.#fire);
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  readonly #fire = (): void => {
    this.#timer = undefined;
    this.#run();
  };
}
