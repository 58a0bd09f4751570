// A copy as it runs: one reader, and a writer for each target. Reads and writes overlap, and a fixed number of
// native buffers circulates: each is filled once, written to every target, and filled again.

import { type CancelReason, type CancelScope, cancelError } from "../cancellation/scope.ts";
import type { CopyResult } from "../errors/copy_result.ts";
import { IoError, setResult, twin } from "../errors/io_error.ts";
import type { File } from "../file/file.ts";
import type { CopyProgress } from "../file/progress.ts";
import { BufferPool } from "../memory/buffer_pool.ts";
import { BadRanges } from "./bad_ranges.ts";
import { copyInKernel } from "./kernel_copy.ts";
import { OrderedDigest } from "./ordered_digest.ts";
import type { Plan, Reading } from "./plan.ts";
import { type Filled, Reader, type Receiver } from "./reader.ts";
import { Sums } from "./sums.ts";
import { underScope } from "./under_scope.ts";
import { Writer } from "./writer.ts";

type OnProgress = (progress: CopyProgress, target: File) => void;

/** With a signal aborted before the call, no I/O is done: the files are not even examined. */
export function nothing(): CopyResult {
  return {
    ...{ bytesCopied: 0, bytesSkipped: 0, prefix: 0, method: "copied", durationMs: 0 },
    ...{ verified: false, digest: undefined, readErrors: [] },
  };
}

export function cancelled(reason: CancelReason, target: File): IoError {
  return cancelError(reason, { syscall: "copy", path: target.path });
}

/** Copies to all targets, each of which fails alone. */
export class CopyRun implements Receiver {
  readonly #scope: CancelScope;
  readonly #plans: readonly Plan[];
  readonly #pool: BufferPool;
  readonly #sums: Sums | undefined;
  readonly #digest: OrderedDigest;
  readonly #reader: Reader;
  readonly #writers: readonly Writer[];
  readonly #taken = new Set<Promise<void>>();

  constructor(
    reading: Reading,
    plans: readonly Plan[],
    scope: CancelScope,
    onProgress: OnProgress | undefined,
  ) {
    this.#scope = scope;
    this.#plans = plans;
    this.#pool = new BufferPool({ size: reading.chunkSize, count: reading.buffers });
    this.#sums = reading.verify ? new Sums(reading.chunkSize) : undefined;
    const bad = new BadRanges();
    this.#digest = new OrderedDigest(reading, bad);
    const shared = { pool: this.#pool, scope, digest: this.#digest, bad, sums: this.#sums };
    this.#reader = new Reader(reading, shared, this);
    const onFailure = (): void => this.#writerFailed();
    this.#writers = plans.map((plan) => {
      const { target } = plan;
      const tell = onProgress && ((progress: CopyProgress) => onProgress(progress, target));
      return new Writer(plan, shared, { onProgress: tell, onFailure });
    });
  }

  /** Never rejects. */
  async run(): Promise<PromiseSettledResult<CopyResult>[]> {
    const targets = this.#writers.map(({ target }) => target);
    const cancel = (reason: CancelReason): void => {
      for (const writer of this.#writers) writer.fail(cancelled(reason, writer.target));
    };
    try {
      return await underScope(this.#scope, targets, cancel, async () => {
        if (!this.isOver()) await this.#copy();
        return await Promise.all(this.#writers.map((writer) => this.#finish(writer)));
      });
    } finally {
      this.#pool[Symbol.dispose]();
    }
  }

  /** One file onto another by the kernel, as far as possible, and the rest by reading and writing. */
  async #copy(): Promise<void> {
    const [plan, another] = this.#plans;
    const [writer] = this.#writers;
    if (plan === undefined || writer === undefined) return;
    if (another === undefined) {
      await copyInKernel(plan, this.#scope, (bytes, method) => writer.advance(bytes, method));
    }
    const { prefix } = writer;
    if (!this.isOver() && !(prefix > 0 && prefix === plan.end)) await this.#reader.run(prefix);
  }

  async #finish(writer: Writer): Promise<PromiseSettledResult<CopyResult>> {
    await writer.finish();
    await this.#digest.idle();
    const { failure } = writer;
    const result = writer.result();
    if (failure === undefined) return { status: "fulfilled", value: result };
    return { status: "rejected", reason: setResult(failure, result) };
  }

  #writerFailed(): void {
    const [writer] = this.#writers;
    if (this.isOver() && writer?.failure !== undefined) this.#reader.stop(writer.failure);
  }

  // For the reader ------------------------------------------------------------------------------------

  isOver(): boolean {
    return this.#writers.every((writer) => writer.failure !== undefined);
  }

  take({ chunk, data, buffer, place }: Filled): void {
    if (data?.byteLength === 0) {
      place.end();
      this.#pool.release(buffer);
      return;
    }
    if (data !== undefined) this.#sums?.note(chunk.index, chunk.begin, data);
    else this.#sums?.noteHole(chunk.index, chunk.begin, chunk.length);
    const hashing = this.#digest
      .update(chunk, data, place, () => this.isOver())
      .catch((error) => this.fail(error));
    const work = [hashing, ...this.#writers.map((writer) => writer.put(chunk, data))];
    const taken = Promise.all(work).then(() => {
      place.end();
      this.#pool.release(buffer);
      this.#taken.delete(taken);
    });
    this.#taken.add(taken);
  }

  fail(error: unknown): void {
    for (const [index, writer] of this.#writers.entries()) {
      // Each has an error of its own, with its own result.
      writer.fail(index > 0 && error instanceof IoError ? twin(error) : error);
    }
  }

  async idle(): Promise<void> {
    await Promise.all(this.#taken);
  }
}
