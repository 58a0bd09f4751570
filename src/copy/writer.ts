// The writing half of a copy: one target, and the account of what it has.

import type { Bytes } from "../common/arguments.ts";
import type { CopyResult } from "../errors/copy_result.ts";
import type { IoError } from "../errors/io_error.ts";
import type { File } from "../file/file.ts";
import { type CopyProgress, Meter } from "../file/progress.ts";
import { now } from "../native/clock.ts";
import type { Chunk } from "./chunks.ts";
import { Destination } from "./destination.ts";
import { endedBy } from "./ended_by.ts";
import { Gate } from "./gate.ts";
import type { KernelMethod } from "./kernel_copy.ts";
import type { Plan } from "./plan.ts";
import type { Tools } from "./reader.ts";
import type { Sums } from "./sums.ts";
import { differs, narrowed, readBack } from "./verify.ts";

/** What the writers of one copy share. */
export interface Shared extends Tools {
  readonly sums: Sums | undefined;
}

/** Whom a writer tells of its progress and its failure. */
interface Listener {
  readonly onProgress: ((progress: CopyProgress) => void) | undefined;
  onFailure(): void;
}

export class Writer {
  readonly #plan: Plan;
  readonly #shared: Shared;
  readonly #listener: Listener;
  readonly #started: number = now();
  readonly #destination: Destination;
  readonly #gate: Gate;
  readonly #running = new Set<Promise<void>>();
  #meter: Meter<"copy" | "verify">;

  #verified = false;
  /** Ends of finished chunks beyond the prefix, by where the chunk before each ends. */
  readonly #done = new Map<number, number>();
  #prefix = 0;
  #failure: IoError | undefined;
  #failedAt: number | undefined;
  /** Chunks beyond this index are left alone. */
  #lastIndex = Infinity;
  #latestIndex = -1;

  constructor(plan: Plan, shared: Shared, listener: Listener) {
    this.#plan = plan;
    this.#shared = shared;
    this.#listener = listener;
    this.#destination = new Destination(plan, shared.scope);
    this.#gate = new Gate(plan.concurrency);
    this.#meter = this.#startMeter("copy", plan.total ?? plan.expected);
  }

  get target(): File {
    return this.#plan.target;
  }

  get failure(): IoError | undefined {
    return this.#failure;
  }

  /** Records the first failure. Chunks before it are still written, so that the prefix gets as far as it can. */
  fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = endedBy(error, "copy");
    this.#failedAt = now();
    this.#listener.onFailure();
  }

  /** Writes one chunk, leaving out its zeroes; all of a hole, which has no data. Never rejects. */
  put(chunk: Chunk, data: Bytes | undefined): Promise<void> {
    this.#latestIndex = Math.max(this.#latestIndex, chunk.index);
    const work = this.#gate
      .run(() => this.#put(chunk, data))
      .catch((error) => {
        this.#lastIndex = Math.min(this.#lastIndex, chunk.index);
        this.fail(error);
      })
      .finally(() => this.#running.delete(work));
    this.#running.add(work);
    return work;
  }

  /** The kernel has copied the next bytes. Returns whether more are wanted. */
  advance(bytes: number, method: KernelMethod): boolean {
    const begin = this.#prefix;
    this.#destination.note(begin, bytes, method);
    try {
      this.#doneWith({ begin, previousEnd: begin }, bytes);
    } catch (error) {
      this.fail(error);
    }
    return this.#failure === undefined;
  }

  get prefix(): number {
    return this.#prefix;
  }

  /** When all has been read: writes what it still has, and ends the target. Never rejects. */
  async finish(): Promise<void> {
    const { target, sync } = this.#plan;
    const { scope, sums } = this.#shared;
    await Promise.all(this.#running);
    try {
      if (this.#failure !== undefined) return;
      await this.#destination.extendTo(this.#prefix);
      if (sync) await target.syncAll(scope);
      this.#meter.end();
      if (sums !== undefined && this.#failure === undefined) await this.#verify(sums);
    } catch (error) {
      this.fail(error);
    } finally {
      this.#meter[Symbol.dispose]();
    }
  }

  async #put(chunk: Chunk, data: Bytes | undefined): Promise<void> {
    const { begin, index, length } = chunk;
    if (index > this.#lastIndex) return;
    if (data === undefined) await this.#destination.putHole(begin, length);
    else await this.#destination.put(begin, data);
    this.#doneWith(chunk, data?.byteLength ?? length);
  }

  async #verify(sums: Sums): Promise<void> {
    this.#meter = this.#startMeter("verify", this.#destination.bytes);
    for await (const { part, length, right } of readBack(this.#plan, { ...this.#shared, sums })) {
      if (right < part.length) {
        const wrong = { offset: part.begin + right, length: part.length - right };
        const at = await narrowed(this.#plan, wrong, this.#shared.scope);
        if (this.#failure !== undefined) return;
        this.#prefix = at;
        throw differs(this.#plan, at);
      }
      this.#meter.add(length);
      if (this.#failure !== undefined) return;
    }
    if (this.#failure !== undefined) return;
    this.#verified = true;
    this.#meter.end();
  }

  // Accounts ------------------------------------------------------------------------------------------

  #startMeter(phase: "copy" | "verify", total: number | undefined): Meter<"copy" | "verify"> {
    return new Meter(this.#listener.onProgress, phase, total, (error) => {
      this.#lastIndex = Math.min(this.#lastIndex, this.#latestIndex);
      this.fail(error);
    });
  }

  #doneWith({ begin, previousEnd }: Pick<Chunk, "begin" | "previousEnd">, bytes: number): void {
    this.#done.set(previousEnd, begin + bytes);
    let next = this.#done.get(this.#prefix);
    while (next !== undefined) {
      this.#done.delete(this.#prefix);
      this.#prefix = next;
      next = this.#done.get(this.#prefix);
    }
    this.#meter.add(bytes);
  }

  /** The prefix, limited to what the target contains and to where the first range begins whose digest is not met. */
  #contained(): number {
    const prefix = Math.min(this.#prefix, this.#shared.digest.unmetFrom);
    return Math.min(prefix, this.#destination.end);
  }

  result(): CopyResult {
    return {
      bytesCopied: this.#destination.bytesCopied,
      bytesSkipped: this.#destination.bytesSkipped,
      prefix: this.#contained(),
      method: this.#destination.method,
      durationMs: (this.#failedAt ?? now()) - this.#started,
      verified: this.#verified,
      digest: this.#failure === undefined ? this.#shared.digest.hex : undefined,
      readErrors: this.#shared.bad.list(),
    };
  }
}
