// Digests of what a copy moves, of all of it and of its ranges: chunks are hashed in the order of the source, whatever
// order they are read in.

import { addOffset, type Bytes } from "../common/arguments.ts";
import { Digest } from "../common/digest.ts";
import { IoError } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import type { BadRanges } from "./bad_ranges.ts";
import type { Chunk, Span } from "./chunks.ts";
import type { Reading } from "./plan.ts";

/** A chunk's place in the order. It must be ended, whether or not the chunk was hashed. */
export interface Place {
  readonly before: Promise<void>;
  end(): void;
}

export class OrderedDigest {
  readonly #reading: Reading;
  readonly #bad: BadRanges;
  readonly #digest: Digest | undefined;
  /** Resolves when all places taken so far have ended. */
  #last: Promise<void> = Promise.resolve();
  #hex: string | undefined;
  /** Of the span that is being hashed. */
  #ofSpan: Digest | undefined;
  /** Spans with a digest that has not been met, the next one last. */
  readonly #unmet: Span[];

  constructor(reading: Reading, bad: BadRanges) {
    this.#reading = reading;
    this.#bad = bad;
    this.#digest = reading.hash === undefined ? undefined : new Digest(reading.hash);
    this.#unmet = reading.spans.filter(({ digest }) => digest !== undefined).reverse();
  }

  takePlace(): Place {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise.then(() => before);
    return { before, end: resolve };
  }

  /** Hashes a chunk when its place has come. Rejects if the digest of a span that it ends is not met. */
  async update(
    chunk: Chunk,
    data: Bytes | undefined,
    place: Place,
    isOver: () => boolean,
  ): Promise<void> {
    const { span, begin } = chunk;
    const length = data?.byteLength ?? chunk.length;
    if (this.#digest === undefined && span.digest === undefined) return;
    await place.before;
    await this.#digest?.update(data ?? length, isOver);
    if (span.digest === undefined) return;
    this.#ofSpan ??= new Digest("sha256");
    await this.#ofSpan.update(data ?? length, isOver);
    if (begin + length === span.end && !isOver()) this.#endSpan(span);
  }

  #endSpan(span: Span): void {
    const is = this.#ofSpan?.hex();
    if (span.digest === undefined || is === undefined) return;
    this.#ofSpan = undefined;
    if (is !== span.digest.sha256 && !this.#isDamaged(span)) {
      throw wrongDigest(this.#reading, span, is);
    }
    this.#unmet.pop();
  }

  /** Whether parts of it could not be read: `readErrors` tells of them, and no digest can be met. */
  #isDamaged({ begin, end }: Span): boolean {
    const offset = Number(this.#reading.sourceOffset) + begin;
    return this.#bad.list({ offset, length: end - begin }).length > 0;
  }

  /** Resolves when all chunks that have a place are hashed. */
  idle(): Promise<void> {
    return this.#last;
  }

  /** What lies from here on is not known to be what was asked for; Infinity if nothing does. */
  get unmetFrom(): number {
    return this.#unmet.at(-1)?.begin ?? Infinity;
  }

  /** Hexadecimal; undefined if no digest is wanted. Nothing may be hashed afterwards. */
  get hex(): string | undefined {
    this.#hex ??= this.#digest?.hex();
    return this.#hex;
  }
}

function wrongDigest(reading: Reading, { begin, end, digest }: Span, is: string): IoError {
  const { source, sourceOffset } = reading;
  return new IoError("ERR_VERIFY", {
    reason: `the source does not match options.ranges[${digest?.index}]: its SHA-256 is ${is}, not ${digest?.sha256}`,
    syscall: "read",
    path: source instanceof File ? source.path : undefined,
    offset: addOffset(sourceOffset, begin),
    length: end - begin,
    hint: "The source is damaged, or the ranges belong to another source. The target holds this data now",
  });
}
