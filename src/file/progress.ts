// Progress of a long operation: bytes, rate and time left, reported at most ten times a second.

import { now, Timer } from "../native/clock.ts";

/** What is being done. */
export type Phase = "copy" | "verify" | "compare" | "hash" | "scan";

/** How far a long operation has come; told at most ten times a second. */
export interface Progress<P extends Phase = Phase> {
  /** What is being done. */
  readonly phase: P;
  /** Bytes done in this phase, holes included. */
  readonly bytes: number;
  /** Bytes of the whole phase; undefined where that is not known. */
  readonly total: number | undefined;
  /** The rate of about the last second. */
  readonly bytesPerSecond: number;
  /** At that rate; undefined without a total. */
  readonly secondsLeft: number | undefined;
}

/** What `onProgress` of `copy` is told: first of the phase `copy`, with `verify` then of that. */
export type CopyProgress = Progress<"copy" | "verify">;

const INTERVAL_MS = 100;
/** Weight of the latest interval in the rate, which settles within about a second. */
const WEIGHT = 0.2;

export class Meter<P extends Phase> implements Disposable {
  readonly #tell: ((progress: Progress<P>) => void) | undefined;
  readonly #phase: P;
  /** As expected: there may be more or less. */
  #total: number | undefined;
  readonly #failed: (error: unknown) => void;
  readonly #started: number = now();
  #later: Timer | undefined;
  #bytes = 0;
  #toldAt: number = this.#started;
  #toldBytes = -1;
  #toldTotal: number | undefined;
  #rate = 0;

  /** `failed` receives what `tell` throws when it is called from a timer. */
  constructor(
    tell: ((progress: Progress<P>) => void) | undefined,
    phase: P,
    total: number | undefined,
    failed: (error: unknown) => void,
  ) {
    this.#tell = tell;
    this.#phase = phase;
    this.#total = total;
    this.#failed = failed;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
    if (this.#tell === undefined) return;
    const time = now();
    const wait = this.#toldAt + INTERVAL_MS - time;
    if (wait > 0) {
      // A last change before a pause is reported too.
      this.#later ??= new Timer(wait, () => this.#reportLate());
      return;
    }
    this[Symbol.dispose]();
    this.#report(time);
  }

  /** Ends the phase: its last figures are always reported, with the true total if one was expected. */
  end(): void {
    this[Symbol.dispose]();
    if (this.#total !== undefined) this.#total = this.#bytes;
    if (this.#tell === undefined) return;
    const time = now();
    const isTold = this.#toldBytes === this.#bytes && this.#toldTotal === this.#total;
    // What follows the last byte, a sync, may have taken long.
    if (!isTold || time - this.#toldAt > INTERVAL_MS) this.#report(time);
  }

  /** Nothing is reported from here on. */
  [Symbol.dispose](): void {
    this.#later?.cancel();
    this.#later = undefined;
  }

  #reportLate(): void {
    this.#later = undefined;
    if (this.#toldBytes === this.#bytes) return;
    try {
      this.#report(now());
    } catch (error) {
      this.#failed(error);
    }
  }

  #report(time: number): void {
    if (this.#toldBytes !== this.#bytes) this.#measure(time);
    const total = (this.#total ?? 0) < this.#bytes ? undefined : this.#total;
    this.#toldTotal = total;
    const left = total === undefined ? undefined : total - this.#bytes;
    this.#tell?.({
      phase: this.#phase,
      bytes: this.#bytes,
      total,
      bytesPerSecond: this.#rate,
      secondsLeft: left === undefined ? undefined : this.#rate > 0 ? left / this.#rate : undefined,
    });
  }

  #measure(time: number): void {
    const elapsed = Math.max(1, time - this.#toldAt) / 1000;
    const latest = (this.#bytes - Math.max(0, this.#toldBytes)) / elapsed;
    this.#rate = this.#toldBytes < 0 ? latest : this.#rate + WEIGHT * (latest - this.#rate);
    this.#toldAt = time;
    this.#toldBytes = this.#bytes;
  }
}
