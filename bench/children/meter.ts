// Counts the reads of a child: first a warm-up (the JIT, the io-wq threads, the allocator), then
// the measured interval, both cut out of one uninterrupted run, so that neither the first nor the
// last read of the process is in the figures.

import type { Job, Sample } from "../job.ts";
import { createProbe, type Probe } from "./probes.ts";

/** Reads between two looks at the clock: a look costs some 40 ns, a cached read some 1,500. */
const READS_PER_LOOK = 16;

export class Meter {
  /** Loops read as long as this is true. */
  running = true;
  readonly #job: Job;
  readonly #probe: Probe;
  #operations = 0;
  #lookAt = READS_PER_LOOK;
  #measuring = false;
  /** When the present interval began, in milliseconds, and what had been used up by then. */
  #sinceMs = performance.now();
  #sinceOperations = 0;
  #sinceCpu = process.cpuUsage();
  #sample: Omit<Sample, "detail"> | undefined;

  constructor(job: Job) {
    this.#job = job;
    this.#probe = createProbe(job);
  }

  /** One read is done. A short one is a failure: the targets are whole blocks long. */
  count(bytes: number): void {
    if (bytes !== this.#job.blockSize) {
      throw new Error(`a read returned ${bytes} of ${this.#job.blockSize} bytes`);
    }
    this.#operations += 1;
    if (this.#operations === this.#lookAt) this.#look();
  }

  /** For a child that reads nothing: moves on with the clock alone. */
  look(): void {
    this.#look();
  }

  sample(detail: string): Sample {
    if (this.#sample === undefined) throw new Error("the measured interval did not end");
    return { ...this.#sample, detail };
  }

  #look(): void {
    this.#lookAt = this.#operations + READS_PER_LOOK;
    const now = performance.now();
    const seconds = (now - this.#sinceMs) / 1000;
    if (!this.#measuring && seconds >= this.#job.warmUpSeconds) this.#begin();
    else if (this.#measuring && this.running && seconds >= this.#job.seconds) this.#end(seconds);
  }

  #begin(): void {
    this.#measuring = true;
    this.#probe.start();
    this.#sinceOperations = this.#operations;
    this.#sinceCpu = process.cpuUsage();
    this.#sinceMs = performance.now();
  }

  #end(seconds: number): void {
    const cpu = process.cpuUsage(this.#sinceCpu);
    this.running = false;
    this.#sample = {
      operations: this.#operations - this.#sinceOperations,
      seconds,
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
      rssBytes: process.memoryUsage.rss(),
      ...this.#probe.stop(),
    };
  }
}
