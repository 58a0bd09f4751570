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
 * Signals within this time, in ms, are the same request: one Ctrl-C arrives from the terminal and again from bunx
 * or npm, and a closed terminal sends SIGHUP from the kernel and from the shell.
 */
const SAME_REQUEST_MS = 500;

export class Interrupts implements Disposable {
  readonly #controller = new AbortController();
  readonly #undo: readonly (() => void)[];
  #ring: Ring | undefined;
  #code: number = Exit.interrupted;
  #askedAt = 0;
  /** When the user could see that the command is stopping. */
  #announcedAt = Infinity;
  #isSilent = false;

  constructor() {
    this.#undo = NAMES.map((name) => listen(name, () => this.#received(name)));
  }

  /** Aborts at the first signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get code(): number {
    return this.#code;
  }

  /** The ring whose operations are reported when the command exits at once. Default: the ring of this thread. */
  watch(ring: Ring): void {
    this.#ring = ring;
  }

  /** While this is held, stopping is not announced: for steps that end at once and say so themselves. */
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
    // A user who has not seen that it is stopping repeats the signal; it may wait in the terminal while that is
    // held (Ctrl-S). Another signal is another request.
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

/** Ends the line: the terminal has written ^C at the cursor. */
function endEchoed(name: Name): void {
  if (!endLine() && name === "SIGINT" && process.stderr.isTTY) process.stderr.write("\n");
}

/** Text about requests still in the kernel. They cannot be taken back: the process may last until they end. */
function heldText(ring: Ring): string {
  const { inFlight } = ring.stats();
  if (inFlight === 0) return "";
  const requests =
    inFlight === 1 ? "1 request: until it is" : `${inFlight} requests: until they are`;
  return `; the kernel still holds ${requests} over, the target may change and stays in use`;
}
