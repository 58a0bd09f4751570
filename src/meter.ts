// Progress of a copy: bytes, rate and time left, told at most ten times a second. For copy.ts.

import { now } from "./clock.ts";

export interface CopyProgress {
  readonly phase: "copy" | "verify";
  /** Done in this phase, holes included. */
  readonly bytes: number;
  readonly total: number | undefined;
  readonly bytesPerSecond: number;
  readonly secondsLeft: number | undefined;
}

const INTERVAL_MS = 100;
/** Share of the latest interval in the rate: it settles within about a second. */
const WEIGHT = 0.2;

export class Meter {
  readonly #tell: ((progress: CopyProgress) => void) | undefined;
  readonly #phase: "copy" | "verify";
  readonly #total: number | undefined;
  readonly #started: number = now();
  #bytes = 0;
  #toldAt: number = this.#started;
  #toldBytes = -1;
  #rate = 0;

  constructor(
    tell: ((progress: CopyProgress) => void) | undefined,
    phase: "copy" | "verify",
    total: number | undefined,
  ) {
    this.#tell = tell;
    this.#phase = phase;
    this.#total = total;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
    if (this.#tell === undefined) return;
    const time = now();
    if (time - this.#toldAt >= INTERVAL_MS) this.#report(time);
  }

  /** The phase is over: its last figures are told in any case. */
  end(): void {
    if (this.#tell !== undefined && this.#toldBytes !== this.#bytes) this.#report(now());
  }

  #report(time: number): void {
    const elapsed = Math.max(1, time - this.#toldAt) / 1000;
    const latest = (this.#bytes - Math.max(0, this.#toldBytes)) / elapsed;
    this.#rate = this.#toldBytes < 0 ? latest : this.#rate + WEIGHT * (latest - this.#rate);
    this.#toldAt = time;
    this.#toldBytes = this.#bytes;
    const left = this.#total === undefined ? undefined : this.#total - this.#bytes;
    this.#tell?.({
      phase: this.#phase,
      bytes: this.#bytes,
      total: this.#total,
      bytesPerSecond: this.#rate,
      secondsLeft: left === undefined ? undefined : this.#rate > 0 ? left / this.#rate : undefined,
    });
  }
}
