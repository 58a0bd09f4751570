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

/** A part of a span. */
export interface Chunk {
  readonly index: number;
  readonly begin: number;
  /** At most; less when the source ends. */
  readonly length: number;
  /** Where the chunk before it ends: what lies between the two is not copied. */
  readonly previousEnd: number;
  readonly span: Span;
}

/** The chunks. Each ends on the grid of the target or at the end of its span. */
export function* chunksOf(layout: Layout): Generator<Chunk> {
  const { spans, chunkSize, targetOffset, grid } = layout;
  let index = 0;
  let previousEnd = 0;
  for (const span of spans) {
    const { end } = span;
    for (let begin = span.begin; begin < end; index++) {
      const room = chunkSize - remainder(addOffset(targetOffset, begin), grid);
      const length = Math.min(room, end - begin);
      yield { index, begin, length, previousEnd, span };
      begin += length;
      previousEnd = begin;
    }
  }
}
