// A call that is due after a pause, and never later than asked for. Used by core.ts.

import { clearTimeout, setTimeout } from "./event_loop.ts";

export class Later {
  readonly #run: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When it fires, on the caller's clock. */
  #at = 0;

  constructor(run: () => void) {
    this.#run = run;
  }

  /** One timer, for the earliest time asked for. It keeps nothing alive. */
  in(ms: number, nowMs: number): void {
    const at = nowMs + ms;
    if (this.#timer !== undefined) {
      if (at >= this.#at) return;
      clearTimeout(this.#timer);
    }
    this.#at = at;
    this.#timer = setTimeout(this.#fire, ms);
    this.#timer.unref();
  }

  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  readonly #fire = (): void => {
    this.#timer = undefined;
    this.#run();
  };
}
