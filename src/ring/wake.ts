// How the JavaScript thread learns of completions that were not there at the flush: the ring's wake descriptor (an
// eventfd registered with io_uring on Linux, a pipe elsewhere), read through Bun's event loop. No other file depends
// on how.
//
// A stream of the descriptor keeps the process alive even with no read pending, until `cancel()`. So it is made when
// something is in flight, and cancelled IDLE_MS after the last operation, so that a loop of single awaited
// operations does not pay for it each time.
//
// From the ring to the callback, p50 of 2,000 (bun bench/programs/wake.ts, on a busy machine with two processors):
// stream of an eventfd 21 us, of a pipe 18 us, socket 11 us, postMessage 13 us, spinning on setImmediate 1 us. A
// socket is faster, but io_uring can signal only an eventfd; postMessage needs a thread that blocks; spinning burns
// a processor; a threadsafe callback into a worker that was terminated ends the process.

import { Timer } from "../native/clock.ts";

/** How long the process is kept alive after the last operation, in ms. */
const IDLE_MS = 3;
/** Interval of polling, in ms, where there is no stream: it duplicates the descriptor, which can fail with EMFILE. */
const POLL_MS = 5;

/** The part of ReadableStreamDefaultReader that is used (bun-types and node:stream/web disagree on the rest). */
interface Reader {
  read(): Promise<{ done: boolean }>;
  cancel(): Promise<void>;
}

export class Wake {
  readonly #fd: number;
  readonly #onWake: () => void;
  #reader: Reader | undefined;
  #timer: Timer | undefined;
  /** Operations are in flight. */
  #wanted = false;
  #polling: Timer | undefined;

  constructor(fd: number, onWake: () => void) {
    this.#fd = fd;
    this.#onWake = onWake;
  }

  /** Something is in flight: watch the descriptor. */
  watch(): void {
    this.#wanted = true;
    if (this.#reader !== undefined || this.#polling !== undefined) return;
    let reader: Reader;
    try {
      reader = Bun.file(this.#fd).stream().getReader();
    } catch {
      // Bun throws here or from the first read (below).
      this.#poll();
      return;
    }
    this.#reader = reader;
    this.#read(reader);
  }

  /** Nothing is in flight: let the process exit soon. */
  rest(): void {
    if (!this.#wanted) return;
    this.#wanted = false;
    if (this.#timer !== undefined || this.#reader === undefined) return;
    this.#timer = new Timer(IDLE_MS, this.#expire);
  }

  /** Releases the descriptor. */
  async close(): Promise<void> {
    this.#wanted = false;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#polling?.cancel();
    this.#polling = undefined;
    const reader = this.#reader;
    this.#reader = undefined;
    // A reader that failed before rejects again.
    await reader?.cancel().catch(ignore);
  }

  readonly #expire = (): void => {
    this.#timer = undefined;
    if (this.#wanted) return;
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.cancel().catch(ignore);
  };

  readonly #pollAgain = (): void => {
    this.#polling = undefined;
    if (this.#wanted) this.#onWake();
  };

  #read(reader: Reader): void {
    reader.read().then(
      (chunk) => {
        if (this.#reader !== reader) return;
        if (chunk.done) {
          // The descriptor was closed from outside; with nothing in flight that is harmless.
          this.#reader = undefined;
          if (this.#wanted) this.watch();
          return;
        }
        this.#read(reader);
        this.#onWake();
      },
      () => {
        if (this.#reader !== reader) return;
        this.#reader = undefined;
        if (this.#wanted) this.#poll();
      },
    );
  }

  #poll(): void {
    // Without the stream nothing else keeps the process alive.
    this.#polling ??= new Timer(POLL_MS, this.#pollAgain, { keepsAlive: true });
  }
}

function ignore(): void {}
