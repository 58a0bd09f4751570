// A stand-in for a ring: answers requests of the library as the test says.

import { FileInfo, Status } from "../../src/native/abi.gen.ts";
import type { Outcome, Request, Requests } from "../../src/ring/request.ts";

const GOOD: Outcome = {
  status: Status.ok,
  errno: 0,
  transferred: 0,
  detail: 0,
  block: 0,
  error: undefined,
};

export function outcome(difference: Partial<Outcome>): Outcome {
  return { ...GOOD, ...difference };
}

export class FakeRequests {
  readonly asked: Request[] = [];
  readonly released: number[] = [];
  readonly #answer: Outcome;
  readonly #size: number;

  /** `size`: what `stat` says where it succeeds. */
  constructor(answer: Partial<Outcome> = {}, size = 0) {
    this.#answer = outcome(answer);
    this.#size = size;
  }

  /** As what the library takes for a ring. */
  get ring(): Requests {
    return {
      start: (request) => {
        this.asked.push(request);
        return Promise.resolve(this.#answer);
      },
      bounce: { memoryOf: () => this.#info() } as unknown as Requests["bounce"],
      releaseBlock: (block) => this.released.push(block),
    };
  }

  #info(): Uint8Array {
    const memory = new Uint8Array(FileInfo.SIZE);
    new DataView(memory.buffer).setFloat64(FileInfo.size, this.#size, true);
    return memory;
  }
}
