// The chunks of a sparse copy: holes of the source are not read.

import type { CancelScope } from "../cancellation/scope.ts";
import { addOffset, type Offset, remainder } from "../common/arguments.ts";
import { dataIn } from "../file/data_ranges.ts";
import type { File } from "../file/file.ts";
import { openFileOf } from "../file/open_file.ts";
import { HOLE_BYTES_MIN } from "../file/read_ahead.ts";
import { type Chunk, Cutter, type Layout, type Span } from "./chunks.ts";

/** Where the source may have holes, and how they are cut. */
export interface Holes {
  readonly sourceOffset: Offset;
  /** Bytes of the source from `sourceOffset`: what lies behind them is no hole. */
  readonly sourceBytes: number;
  /** Bytes of one chunk of a hole. */
  readonly most: number;
}

/** The chunks of `layout`; holes are chunks of their own, on the grid of the target. */
export async function* chunksAroundHoles(
  layout: Layout,
  source: File,
  { sourceOffset, sourceBytes, most }: Holes,
  scope: CancelScope,
): AsyncGenerator<Chunk> {
  const cutter = new Cutter(layout);
  const around = function* (span: Span, from: number, end: number): Generator<Chunk> {
    const hole = inside(layout, from, end);
    if (hole === undefined) {
      yield* cutter.data(span, from, end);
      return;
    }
    yield* cutter.data(span, from, hole.begin);
    yield* cutter.hole(span, hole.begin, hole.end, most);
    yield* cutter.data(span, hole.end, end);
  };
  for (const span of layout.spans) {
    const { begin } = span;
    const known = Math.max(begin, Math.min(span.end, sourceBytes));
    const start = addOffset(sourceOffset, begin);
    let done = begin;
    for await (const range of dataIn(openFileOf(source), start, known - begin, scope)) {
      yield* around(span, done, begin + range.offset);
      done = begin + range.offset + range.length;
      yield* cutter.data(span, begin + range.offset, done);
    }
    yield* around(span, done, known);
    yield* cutter.data(span, known, span.end);
  }
}

/** The whole units of the target in a hole of the source; undefined if they are not worth a chunk. */
function inside({ targetOffset, grid }: Layout, from: number, to: number): Span | undefined {
  const head = remainder(addOffset(targetOffset, from), grid);
  const begin = head === 0 ? from : from + grid - head;
  const end = to - remainder(addOffset(targetOffset, to), grid);
  return end - begin < HOLE_BYTES_MIN ? undefined : { begin, end };
}
