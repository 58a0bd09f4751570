// A stream as the source of a copy.

import { checkBytes } from "../common/memory_views.ts";

/** The part of ReadableStreamDefaultReader that is used (bun-types and node:stream/web disagree on the rest). */
interface Reader {
  read(): Promise<{ done: boolean; value?: unknown }>;
  cancel(reason: unknown): Promise<void>;
  releaseLock(): void;
}

/** Reads a stream in portions of the size that the copy wants. */
export class Input {
  readonly #reader: Reader;
  #rest: Uint8Array = new Uint8Array(0);
  #ended = false;
  #released = false;

  constructor(source: ReadableStream<Uint8Array>) {
    this.#reader = source.getReader() as Reader;
  }

  /** Fewer bytes than `data` holds only at the end of the stream. */
  async fill(data: Uint8Array): Promise<number> {
    let done = 0;
    while (done < data.byteLength && (await this.#more())) {
      const part = this.#rest.subarray(0, data.byteLength - done);
      data.set(part, done);
      done += part.byteLength;
      this.#rest = this.#rest.subarray(part.byteLength);
    }
    return done;
  }

  /** The next bytes, at most `most`, in memory of the stream; none at its end. */
  async take(most: number): Promise<Uint8Array> {
    await this.#more();
    const part = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(part.byteLength);
    return part;
  }

  async skip(bytes: number): Promise<void> {
    let left = bytes;
    while (left > 0 && (await this.#more())) {
      const part = Math.min(left, this.#rest.byteLength);
      this.#rest = this.#rest.subarray(part);
      left -= part;
    }
  }

  async #more(): Promise<boolean> {
    while (this.#rest.byteLength === 0 && !this.#ended) {
      const { done, value } = await this.#reader.read();
      if (done || this.#ended) {
        this.#ended = true;
        if (!this.#released) this.#release();
      } else {
        this.#rest = checkBytes("chunk of the source", value);
      }
    }
    return this.#rest.byteLength > 0;
  }

  /** Cancels the stream and ends a pending read. The stream is unlocked, as after `pipeTo`. */
  cancel(reason: unknown): void {
    if (this.#released) return;
    this.#ended = true;
    // Their errors, now or later, are the stream's: the copy has an outcome of its own.
    Promise.try(() => this.#reader.cancel(reason)).catch(nothing);
    Promise.try(() => this.#release()).catch(nothing);
  }

  #release(): void {
    this.#released = true;
    this.#reader.releaseLock();
  }
}

function nothing(): void {}
