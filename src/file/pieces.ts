// A file read ahead and handed out in order, without its holes.

import type { CancelScope } from "../cancellation/scope.ts";
import { addOffset, type Bytes, type Offset, remainder, roundUp } from "../common/arguments.ts";
import { BufferPool } from "../memory/buffer_pool.ts";
import { Kind } from "../native/abi.gen.ts";
import { Reply } from "../ring/slots.ts";
import { dataIn } from "./data_ranges.ts";
import { knownSize } from "./known_size.ts";
import type { OpenFile } from "./open_file.ts";

/** A part of a file, in order; positions are relative to where the reading began. */
export interface Piece {
  readonly begin: number;
  readonly length: number;
  /** Valid until the next piece is asked for. Undefined: a hole, which reads as zeroes. */
  readonly data: Bytes | undefined;
}

/** Bytes of one read, ... */
const CHUNK_BYTES = 512 * 1024;
/** ... and reads ahead: together half of what a ring may have in the kernel at once. */
const READS_AHEAD = 8;
/** Shorter holes are read: that costs less than another request. */
const HOLE_BYTES_MIN = 64 * 1024;

/** A piece that is asked for. */
interface Asked {
  readonly begin: number;
  readonly length: number;
  readonly buffer: (Bytes & Disposable) | undefined;
  readonly reading: Promise<number> | undefined;
}

/** The bytes to read. */
export interface Span {
  readonly start: Offset;
  /** Infinity: up to the end of the file, wherever that is. */
  readonly length: number;
  /** Whether all of them exist. Where only a read tells, the file may be made as it is read: one read at a time. */
  readonly isKnown: boolean;
}

/** At most `length` bytes from `start`, as far as the file is known to reach. */
export async function spanOf(file: OpenFile, start: Offset, length: number): Promise<Span> {
  const size = await knownSize(file);
  if (size === undefined) return { start, length, isKnown: false };
  return { start, length: Math.min(length, Math.max(0, size - Number(start))), isKnown: true };
}

/**
 * The pieces of `span`, up to the end of the file. Where the holes are is asked as the reading gets there. When the
 * generator has ended, no read is in flight.
 */
export async function* piecesOf(
  file: OpenFile,
  span: Span,
  scope: CancelScope | undefined,
): AsyncGenerator<Piece> {
  if (span.length === 0) return;
  const size = roundUp(Math.min(CHUNK_BYTES, span.length), file.state.alignment.offset);
  const count = span.isKnown ? READS_AHEAD : 1;
  using pool = new BufferPool({ size, count: Math.min(count, Math.ceil(span.length / size) + 1) });
  const parts = partsOf(file, span, scope);
  const queue: Asked[] = [];
  let ended = false;
  try {
    for (;;) {
      while (!ended && queue.length < count && (pool.available > 0 || queue.length === 0)) {
        const { value, done } = await parts.next();
        ended = done === true;
        if (value !== undefined) queue.push(await ask(file, span.start, value, pool, scope));
      }
      const first = queue[0];
      if (first === undefined) return;
      const bytes = first.reading === undefined ? first.length : await first.reading;
      const data = first.buffer?.subarray(0, bytes);
      if (bytes > 0) yield { begin: first.begin, length: bytes, data };
      if (bytes < first.length) return;
      queue.shift();
      first.buffer?.[Symbol.dispose]();
    }
  } finally {
    await Promise.allSettled(queue.map(({ reading }) => reading));
    for (const { buffer } of queue) buffer?.[Symbol.dispose]();
  }
}

interface Part {
  readonly begin: number;
  readonly length: number;
  readonly isHole: boolean;
}

/** Holes, and chunks of data; all but the first begin on the grid of the file. */
async function* partsOf(
  file: OpenFile,
  { start, length, isKnown }: Span,
  scope: CancelScope | undefined,
): AsyncGenerator<Part> {
  let done = 0;
  for await (const range of isKnown
    ? dataIn(file, start, length, scope)
    : [{ offset: 0, length }]) {
    const hole = range.offset - done;
    if (hole >= HOLE_BYTES_MIN) {
      yield { begin: done, length: hole, isHole: true };
      done += hole;
    }
    const end = range.offset + range.length;
    while (done < end) {
      const head = remainder(addOffset(start, done), CHUNK_BYTES);
      const bytes = Math.min(CHUNK_BYTES - head, end - done);
      yield { begin: done, length: bytes, isHole: false };
      done += bytes;
    }
  }
  if (done < length) yield { begin: done, length: length - done, isHole: true };
}

async function ask(
  file: OpenFile,
  start: Offset,
  { begin, length, isHole }: Part,
  pool: BufferPool,
  scope: CancelScope | undefined,
): Promise<Asked> {
  if (isHole) return { begin, length, buffer: undefined, reading: undefined };
  const buffer = await pool.acquire();
  const offset = addOffset(start, begin);
  const unit = file.state.alignment.offset;
  // A request of whole units needs no bounce copy; the buffer has room for it.
  const wide = remainder(offset, unit) === 0 ? roundUp(length, unit) : length;
  const view = buffer.subarray(0, wide);
  const request = file.transfer(Kind.read, view, offset, scope, Reply.bytes) as Promise<number>;
  const reading = request.then((bytes) => Math.min(bytes, length));
  // It is looked at in its turn.
  reading.catch(() => {});
  return { begin, length, buffer, reading };
}
