// The offsets that a child reads. Cheap, because it is in the measured loop: xorshift32, the same
// generator as in bare_loop.zig. Seeded, so that every contestant of a round walks the same way.

import type { Job } from "../job.ts";

export interface Offsets {
  next(): number;
}

class RandomOffsets implements Offsets {
  #state: number;
  readonly #blocks: number;
  readonly #blockSize: number;

  constructor(job: Job) {
    // Zero is the one state that xorshift never leaves.
    this.#state = job.seed === 0 ? 1 : job.seed | 0;
    this.#blocks = job.span / job.blockSize;
    this.#blockSize = job.blockSize;
  }

  next(): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    return ((state >>> 0) % this.#blocks) * this.#blockSize;
  }
}

class SequentialOffsets implements Offsets {
  #offset = 0;
  readonly #span: number;
  readonly #blockSize: number;

  constructor(job: Job) {
    this.#span = job.span;
    this.#blockSize = job.blockSize;
  }

  next(): number {
    const offset = this.#offset;
    this.#offset = offset + this.#blockSize === this.#span ? 0 : offset + this.#blockSize;
    return offset;
  }
}

export function createOffsets(job: Job): Offsets {
  return job.pattern === "sequential" ? new SequentialOffsets(job) : new RandomOffsets(job);
}
