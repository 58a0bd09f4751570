// The reading half of a copy: fills buffers from a file or a stream, and hands each over as soon as it is filled.

import type { CancelScope } from "../cancellation/scope.ts";
import { addOffset, type Bytes } from "../common/arguments.ts";
import type { IoError } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import { readUnits } from "../file/read_ahead.ts";
import type { BufferPool } from "../memory/buffer_pool.ts";
import type { BadRanges } from "./bad_ranges.ts";
import { type Chunk, chunksOf } from "./chunks.ts";
import { Gate } from "./gate.ts";
import { chunksAroundHoles } from "./holes.ts";
import { Input } from "./input.ts";
import type { OrderedDigest, Place } from "./ordered_digest.ts";
import { isBadPlace } from "./pieces.ts";
import type { Reading } from "./plan.ts";
import { salvage } from "./salvage.ts";
import { endOfSource } from "./sides.ts";

export interface Filled {
  readonly chunk: Chunk;
  /** The filled part; empty when the source ended before it. Undefined for a hole. */
  readonly data: Bytes | undefined;
  readonly buffer: Bytes;
  readonly place: Place;
}

/** Whom buffers are handed to. */
export interface Receiver {
  isOver(): boolean;
  /** Must release the buffer and end its place, in time. */
  take(filled: Filled): void;
  fail(error: unknown): void;
  /** Resolves when all that was taken is done with. */
  idle(): Promise<void>;
}

export interface Tools {
  readonly pool: BufferPool;
  readonly scope: CancelScope;
  readonly digest: OrderedDigest;
  /** Filled only with `onReadError: "skip"`. */
  readonly bad: BadRanges;
}

export class Reader {
  readonly #reading: Reading;
  readonly #tools: Tools;
  readonly #receiver: Receiver;
  /** Where the source ended, once that is known. */
  #end = Infinity;
  #input: Input | undefined;

  constructor(reading: Reading, tools: Tools, receiver: Receiver) {
    this.#reading = reading;
    this.#tools = tools;
    this.#receiver = receiver;
  }

  /** Reads a file from `start` on, or a stream. Resolves when the last buffer has been handed over. Never rejects. */
  async run(start: number): Promise<void> {
    const { source } = this.#reading;
    try {
      if (source instanceof File) await this.#readFile(source, start);
      else await this.#readStream(source);
    } catch (error) {
      this.#receiver.fail(error);
    }
  }

  /** Ends a stream that may never give anything again. */
  stop(reason: IoError): void {
    this.#input?.cancel(reason);
  }

  // Files ---------------------------------------------------------------------------------------------

  async #readFile(source: File, start: number): Promise<void> {
    const { pool, digest } = this.#tools;
    const reads = new Gate(this.#reading.concurrency);
    const running = new Set<Promise<void>>();
    try {
      for await (const chunk of this.#chunks(source, start)) {
        // A hole takes a buffer too: only so many chunks are under way.
        const buffer = await this.#acquire();
        if (buffer === undefined) break;
        if (this.#receiver.isOver() || chunk.begin >= this.#end) {
          pool.release(buffer);
          break;
        }
        const place = digest.takePlace();
        if (chunk.isHole) {
          this.#receiver.take({ chunk, data: undefined, buffer, place });
          continue;
        }
        const filling = reads
          .run(() => this.#read(source, chunk, buffer))
          .then((bytes) => {
            if (bytes < chunk.length) this.#ends(chunk, bytes);
            this.#receiver.take({ chunk, data: buffer.subarray(0, bytes), buffer, place });
          })
          .catch((error) => {
            this.#receiver.fail(error);
            place.end();
            pool.release(buffer);
          })
          .finally(() => running.delete(filling));
        running.add(filling);
      }
    } finally {
      await Promise.all(running);
    }
  }

  #chunks(source: File, start: number): Iterable<Chunk> | AsyncIterable<Chunk> {
    const { holes } = this.#reading;
    if (holes === undefined) return chunksOf(this.#reading, start);
    return chunksAroundHoles(this.#reading, source, holes, this.#tools.scope);
  }

  async #acquire(): Promise<Bytes | undefined> {
    try {
      return await this.#tools.pool.acquire();
    } catch (error) {
      // The error that took all buffers away says more.
      await this.#receiver.idle();
      this.#receiver.fail(error);
      return undefined;
    }
  }

  async #read(source: File, chunk: Chunk, buffer: Bytes): Promise<number> {
    const { scope, bad } = this.#tools;
    const offset = addOffset(this.#reading.sourceOffset, chunk.begin);
    try {
      return await readUnits(source, buffer, offset, chunk.length, scope);
    } catch (error) {
      if (!this.#reading.skipErrors || !isBadPlace(error)) throw error;
      return salvage(source, buffer.subarray(0, chunk.length), offset, scope, bad);
    }
  }

  /** The source ended after `bytes` of a chunk, or somewhere before it. */
  #ends({ begin, previousEnd }: Chunk, bytes: number): void {
    const at = begin + bytes;
    this.#end = Math.min(this.#end, at);
    const { end, source, sourceOffset } = this.#reading;
    if (end === undefined) return;
    const after = `${bytes === 0 && begin > previousEnd ? "at most " : ""}${this.#end}`;
    this.#receiver.fail(endOfSource(source, sourceOffset, this.#end, end, after));
  }

  // Streams -------------------------------------------------------------------------------------------

  /** Fills buffers in turn while the previous ones are written. */
  async #readStream(source: ReadableStream<Uint8Array>): Promise<void> {
    const input = new Input(source);
    this.#input = input;
    let reason: unknown;
    try {
      await input.skip(Number(this.#reading.sourceOffset));
      await this.#drain(input);
    } catch (error) {
      reason = error;
      throw error;
    } finally {
      // It may have more than is wanted.
      input.cancel(reason);
    }
  }

  async #drain(input: Input): Promise<void> {
    const { pool, digest } = this.#tools;
    for (const chunk of chunksOf(this.#reading)) {
      // The stream is read on between ranges.
      await input.skip(chunk.begin - chunk.previousEnd);
      const buffer = await this.#acquire();
      if (buffer === undefined) break;
      const data = buffer.subarray(0, chunk.length);
      const bytes = await input.fill(data).catch((error) => {
        pool.release(buffer);
        throw error;
      });
      if (this.#receiver.isOver()) {
        pool.release(buffer);
        break;
      }
      const place = digest.takePlace();
      this.#receiver.take({ chunk, data: data.subarray(0, bytes), buffer, place });
      if (bytes < data.byteLength) {
        this.#ends(chunk, bytes);
        break;
      }
    }
  }
}
