// The chunks of a copy: what is read and written at once.

import { addOffset, type Offset, remainder } from "../common/arguments.ts";

/** A range to copy, relative to the offsets. */
export interface Span {
  readonly begin: number;
  /** Exclusive; Infinity for the end of a source whose size is unknown. */
  readonly end: number;
  /** The digest it must have, and the index in `options.ranges` of who says so. */
  readonly digest?: { readonly sha256: string; readonly index: number };
}

/** What is copied, and in chunks of which size. */
export interface Layout {
  readonly targetOffset: Offset;
  /** Ascending, apart from one another. */
  readonly spans: readonly Span[];
  readonly chunkSize: number;
  /** Alignment of the chunks on the targets, in bytes. */
  readonly grid: number;
}

export interface Chunk {
  readonly index: number;
  readonly begin: number;
  /** At most; less when the source ends. */
  readonly length: number;
  /** Where the chunk before it ends: what lies between the two is not copied. */
  readonly previousEnd: number;
  readonly span: Span;
  readonly isHole: boolean;
}

/** The chunks from `start` on. Each ends on the grid of the target or at the end of its span. */
export function* chunksOf(layout: Layout, start: number = 0): Generator<Chunk> {
  const cutter = new Cutter(layout, start);
  for (const span of layout.spans) {
    yield* cutter.data(span, Math.max(span.begin, start), span.end);
  }
}

export class Cutter {
  readonly #layout: Layout;
  #index = 0;
  #previousEnd: number;

  constructor(layout: Layout, start: number = 0) {
    this.#layout = layout;
    this.#previousEnd = start;
  }

  *data(span: Span, from: number, end: number): Generator<Chunk> {
    const { chunkSize, targetOffset, grid } = this.#layout;
    for (let begin = from; begin < end; begin = this.#previousEnd) {
      const room = chunkSize - remainder(addOffset(targetOffset, begin), grid);
      yield this.#chunk(span, begin, Math.min(room, end - begin), false);
    }
  }

  *hole(span: Span, from: number, end: number, most: number): Generator<Chunk> {
    for (let begin = from; begin < end; begin = this.#previousEnd) {
      yield this.#chunk(span, begin, Math.min(most, end - begin), true);
    }
  }

  #chunk(span: Span, begin: number, length: number, isHole: boolean): Chunk {
    const previousEnd = this.#previousEnd;
    this.#previousEnd = begin + length;
    return { index: this.#index++, begin, length, previousEnd, span, isHole };
  }
}
