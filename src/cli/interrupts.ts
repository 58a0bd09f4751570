// Ctrl-C, SIGTERM and SIGHUP: the first asks for a clean end, a second one exits at once.

import { Ring } from "../ring/ring.ts";
import { Exit } from "./exit.ts";
import { listen } from "./signals.ts";
import { endLine, say } from "./terminal.ts";

const CODES = {
  SIGINT: Exit.interrupted,
  SIGTERM: Exit.terminated,
  SIGHUP: Exit.hungUp,
} as const;

type Name = keyof typeof CODES;

const NAMES: readonly Name[] = ["SIGINT", "SIGTERM", "SIGHUP"];

/**
 * Signals so soon after the first are the same request: one Ctrl-C arrives from the terminal and again
 * from bunx or npm, a closed terminal sends SIGHUP from the kernel and from the shell.
 */
const SAME_REQUEST_MS = 500;

export class Interrupts implements Disposable {
  readonly #controller = new AbortController();
  readonly #undo: readonly (() => void)[];
  #ring: Ring | undefined;
  #code: number = Exit.interrupted;
  #askedAt = 0;
  /** Since when the user can know that it is stopping. */
  #announcedAt = Infinity;
  #isSilent = false;

  constructor() {
    this.#undo = NAMES.map((name) => listen(name, () => this.#received(name)));
  }

  /** Aborts at the first signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The exit code that tells of the signal. */
  get code(): number {
    return this.#code;
  }

  /** An end at once tells of the operations of this ring. Default: the one of this thread. */
  watch(ring: Ring): void {
    this.#ring = ring;
  }

  /** While this is held, stopping is not announced: what ends at once says itself that it was stopped. */
  silence(): Disposable {
    this.#isSilent = true;
    return {
      [Symbol.dispose]: (): void => {
        this.#isSilent = false;
      },
    };
  }

  [Symbol.dispose](): void {
    for (const undo of this.#undo) undo();
  }

  #received(name: Name): void {
    if (!this.signal.aborted) {
      this.#askedAt = performance.now();
      this.#code = CODES[name];
      this.#announce(name);
      this.#controller.abort(new Error(`stopped by ${name}`));
      return;
    }
    // Who has not read that it is stopping repeats the request; that may wait in the terminal as long as
    // that is held (Ctrl-S). Another signal is another request.
    const since = name === "SIGINT" ? this.#announcedAt : this.#askedAt;
    if (performance.now() < since + SAME_REQUEST_MS) return;
    endEchoed(name);
    say(`stopped at once${heldText(this.#ring ?? Ring.default())}`);
    process.exit(CODES[name]);
  }

  #announce(name: Name): void {
    const announced = (): void => {
      this.#announcedAt = performance.now();
    };
    if (this.#isSilent) {
      announced();
      return;
    }
    endEchoed(name);
    say("stopping (Ctrl-C again ends it at once)", announced);
  }
}

/** The terminal has written ^C where the cursor was. */
function endEchoed(name: Name): void {
  if (!endLine() && name === "SIGINT" && process.stderr.isTTY) process.stderr.write("\n");
}

/** What the kernel has not given back. It cannot be taken from it: the process may last until it does. */
function heldText(ring: Ring): string {
  const { inFlight } = ring.stats();
  if (inFlight === 0) return "";
  const requests =
    inFlight === 1 ? "1 request: until it is" : `${inFlight} requests: until they are`;
  return `; the kernel still holds ${requests} over, the target may change and stays in use`;
}
