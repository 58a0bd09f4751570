// A file read ahead and handed out in order, without its holes.

import type { CancelScope } from "../cancellation/scope.ts";
import {
  addOffset,
  type Bytes,
  type IoOptions,
  type Offset,
  remainder,
  roundUp,
} from "../common/arguments.ts";
import { BufferPool } from "../memory/buffer_pool.ts";
import type { Alignment } from "../ring/file_state.ts";
import { dataIn } from "./data_ranges.ts";
import { knownSize } from "./known_size.ts";
import { openFileOf } from "./open_file.ts";

/** What is asked of a `File`. */
export interface Source {
  readonly alignment: Alignment;
  readAt(data: Bytes, offset: Offset, options?: IoOptions): Promise<number>;
}

/** A part to hand out at once, relative to where the reading began. */
export interface Part {
  readonly begin: number;
  readonly length: number;
  readonly isHole: boolean;
}

/** A part as it was found. */
export interface Piece<P extends Part = Part> {
  readonly part: P;
  /** Less than that of the part only where the file ends. */
  readonly length: number;
  /** Valid until the next piece is asked for. Undefined: a hole, which reads as zeroes. */
  readonly data: Bytes | undefined;
}

const CHUNK_BYTES = 512 * 1024;
const READS_AHEAD = 8;
/** Zeroes of a hole that are hashed between two reports of progress: about 50 ms. */
export const HASHED_BYTES: number = 64 * 2 ** 20;
/** Shorter holes are read: that costs less than another request. */
export const HOLE_BYTES_MIN: number = 64 * 1024;

/** The bytes to read; what lies between the spans is left out. */
export interface Region {
  readonly start: Offset;
  /** Ascending, relative to `start`. The last may end at Infinity: at the end of the file, wherever that is. */
  readonly spans: readonly { readonly begin: number; readonly end: number }[];
  /** Whether all of them exist. Where only a read tells, the file may be made as it is read: one read at a time. */
  readonly isKnown: boolean;
}

/** `spans` of a file, as far as it is known to reach. */
export async function regionOf(
  file: Source,
  start: Offset,
  spans: Region["spans"],
): Promise<Region> {
  const size = await knownSize(openFileOf(file));
  if (size === undefined) return { start, spans, isKnown: false };
  const rest = Math.max(0, size - Number(start));
  const within = spans.map(({ begin, end }) => ({ begin, end: Math.min(end, rest) }));
  return { start, spans: within.filter(({ begin, end }) => begin < end), isKnown: true };
}

/** Bytes in spans; Infinity if the end is not known. */
export function spanBytes(spans: Region["spans"]): number {
  return spans.reduce((sum, { begin, end }) => sum + end - begin, 0);
}

/**
 * The pieces of a region, up to the end of the file. Where the holes are is asked as the reading gets there. When
 * the generator has ended, no read is in flight.
 */
export async function* piecesOf(
  file: Source,
  region: Region,
  scope: CancelScope | undefined,
  { chunkSize = CHUNK_BYTES, depth = READS_AHEAD, holeSize = Infinity }: Sizes = {},
): AsyncGenerator<Piece> {
  const bytes = spanBytes(region.spans);
  if (bytes === 0) return;
  const unit = file.alignment.offset;
  const chunk = roundUp(chunkSize, unit);
  const size = roundUp(Math.min(chunk, bytes), unit);
  const count = region.isKnown ? Math.min(depth, Math.ceil(bytes / size) + 1) : 1;
  using pool = new BufferPool({ size, count });
  const parts = partsOf(file, region, scope, { chunkSize: chunk, holeSize });
  yield* readAhead(file, region.start, parts, pool, scope);
}

/** How a file is read. */
export interface Sizes {
  /** Bytes of one read. Default 512 KiB. */
  readonly chunkSize?: number;
  /** Reads ahead. Default 8: together half of what a ring may have in the kernel at once. */
  readonly depth?: number;
  /** Bytes of a hole that are one piece: `HASHED_BYTES` if zeroes take time. Default Infinity. */
  readonly holeSize?: number;
}

/** Holes, and chunks of data that begin on the grid of the file, as far as possible. */
export async function* partsOf(
  file: Source,
  { start, spans, isKnown }: Region,
  scope: CancelScope | undefined,
  { chunkSize, holeSize = Infinity }: { chunkSize: number; holeSize?: number },
): AsyncGenerator<Part> {
  for (const span of spans) {
    let done = span.begin;
    const from = addOffset(start, done);
    const length = span.end - done;
    const ranges =
      isKnown && length >= HOLE_BYTES_MIN
        ? dataIn(openFileOf(file), from, length, scope)
        : [{ offset: 0, length }];
    for await (const range of ranges) {
      const hole = span.begin + range.offset - done;
      if (hole >= HOLE_BYTES_MIN) {
        yield* holes(done, hole, holeSize);
        done += hole;
      }
      const end = span.begin + range.offset + range.length;
      while (done < end) {
        const head = remainder(addOffset(start, done), chunkSize);
        const bytes = Math.min(chunkSize - head, end - done);
        yield { begin: done, length: bytes, isHole: false };
        done += bytes;
      }
    }
    if (done < span.end) yield* holes(done, span.end - done, holeSize);
  }
}

function* holes(begin: number, length: number, most: number): Generator<Part> {
  for (let done = 0; done < length; done += most) {
    yield { begin: begin + done, length: Math.min(most, length - done), isHole: true };
  }
}

/** A part that is being read. */
interface Asked<P extends Part> {
  readonly part: P;
  readonly buffer: (Bytes & Disposable) | undefined;
  readonly reading: Promise<number> | undefined;
}

/**
 * Reads `parts` in order, as many ahead as `pool` has buffers, up to the end of the file. Others may use the pool as
 * well. When the generator has ended, no read is in flight.
 */
export async function* readAhead<P extends Part>(
  file: Source,
  start: Offset,
  parts: AsyncIterator<P>,
  pool: BufferPool,
  scope: CancelScope | undefined,
): AsyncGenerator<Piece<P>> {
  const queue: Asked<P>[] = [];
  let ended = false;
  try {
    for (;;) {
      while (!ended && queue.length < QUEUE_MAX && (pool.available > 0 || queue.length === 0)) {
        const { value, done } = await parts.next();
        ended = done === true;
        if (done !== true) queue.push(await ask(file, start, value, pool, scope));
      }
      const first = queue[0];
      if (first === undefined) return;
      const { part, buffer, reading } = first;
      const length = reading === undefined ? part.length : await reading;
      yield { part, length, data: buffer?.subarray(0, length) };
      if (length < part.length) return;
      queue.shift();
      buffer?.[Symbol.dispose]();
    }
  } finally {
    await Promise.allSettled(queue.map(({ reading }) => reading));
    for (const { buffer } of queue) buffer?.[Symbol.dispose]();
    await parts.return?.();
  }
}

/** Limit of parts asked for ahead; holes take no buffers. */
const QUEUE_MAX = 1024;

async function ask<P extends Part>(
  file: Source,
  start: Offset,
  part: P,
  pool: BufferPool,
  scope: CancelScope | undefined,
): Promise<Asked<P>> {
  if (part.isHole) return { part, buffer: undefined, reading: undefined };
  const buffer = await pool.acquire();
  const offset = addOffset(start, part.begin);
  const reading = readUnits(file, buffer, offset, part.length, scope);
  // It is looked at in its turn.
  reading.catch(() => {});
  return { part, buffer, reading };
}

/**
 * Reads `length` bytes, fewer at the end of the file; of whole units, which needs no bounce copy, if it begins with one.
 * The buffer has room for them.
 */
export async function readUnits(
  file: Source,
  buffer: Bytes,
  offset: Offset,
  length: number,
  scope: CancelScope | undefined,
): Promise<number> {
  const unit = file.alignment.offset;
  const wide = remainder(offset, unit) === 0 ? roundUp(length, unit) : length;
  return Math.min(await file.readAt(buffer.subarray(0, wide), offset, scope), length);
}
