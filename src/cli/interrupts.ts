// Ctrl-C and its relatives: the first asks for a clean end, the second ends at once.

import { Exit } from "./exit.ts";
import { say } from "./terminal.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export class Interrupts implements Disposable {
  readonly #controller = new AbortController();
  readonly #handlers = new Map<string, () => void>();
  #code: number = Exit.interrupted;

  constructor() {
    for (const name of SIGNALS) {
      const handler = (): void => this.#received(name);
      this.#handlers.set(name, handler);
      process.on(name, handler);
    }
  }

  /** Aborts at the first signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The exit code that tells of the signal. */
  get code(): number {
    return this.#code;
  }

  [Symbol.dispose](): void {
    for (const [name, handler] of this.#handlers) process.off(name, handler);
  }

  #received(name: (typeof SIGNALS)[number]): void {
    if (name !== "SIGINT") this.#code = name === "SIGTERM" ? Exit.terminated : 129;
    if (this.signal.aborted) {
      say("stopped at once");
      process.exit(this.#code);
    }
    this.#controller.abort(new Error(`stopped by ${name}`));
  }
}
