// What is watched in the event loop while a child reads. hdr-histogram-js keeps the distribution.

import { build } from "hdr-histogram-js";

import type { Job, Sample } from "../job.ts";

export interface Probe {
  start(): void;
  /** Ends the watch and says what was seen. */
  stop(): Pick<Sample, "loopDelayP99Ms" | "tickShare">;
}

/**
 * How late a timer fires. Corrected for coordinated omission: a loop that stood still for 50 ms
 * would have kept every timer of these 50 ms waiting, not just the one that was armed.
 */
class DelayProbe implements Probe {
  readonly #periodMs: number;
  // 3 digits of microseconds: finer than a timer with a resolution of 1 ms can be.
  readonly #delaysUs = build({ numberOfSignificantValueDigits: 3 });
  #dueMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(periodMs: number) {
    this.#periodMs = periodMs;
  }

  start(): void {
    this.#arm();
  }

  stop(): Pick<Sample, "loopDelayP99Ms"> {
    clearTimeout(this.#timer);
    // The timer that is overdue now counts too, else a starved timer would leave no trace.
    this.#record(performance.now() - this.#dueMs);
    return { loopDelayP99Ms: this.#delaysUs.getValueAtPercentile(99) / 1000 };
  }

  #arm(): void {
    this.#dueMs = performance.now() + this.#periodMs;
    this.#timer = setTimeout(() => {
      this.#record(performance.now() - this.#dueMs);
      this.#arm();
    }, this.#periodMs);
  }

  #record(delayMs: number): void {
    const delayUs = Math.max(0, Math.round(delayMs * 1000));
    this.#delaysUs.recordValueWithExpectedInterval(delayUs, this.#periodMs * 1000);
  }
}

/** How many ticks of an interval came, as a share of those that its period promises. */
class TickProbe implements Probe {
  readonly #periodMs: number;
  #ticks = 0;
  #startedMs = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(periodMs: number) {
    this.#periodMs = periodMs;
  }

  start(): void {
    this.#startedMs = performance.now();
    this.#timer = setInterval(() => {
      this.#ticks += 1;
    }, this.#periodMs);
  }

  stop(): Pick<Sample, "tickShare"> {
    clearInterval(this.#timer);
    const promised = (performance.now() - this.#startedMs) / this.#periodMs;
    return { tickShare: this.#ticks / promised };
  }
}

export function createProbe(job: Job): Probe {
  return job.probe === "ticks"
    ? new TickProbe(job.probeMilliseconds)
    : new DelayProbe(job.probeMilliseconds);
}
