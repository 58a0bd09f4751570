// Reads of a range in pieces, each of which may fail alone: many at once while the medium fails fast, and one at a time
// where it labours.

import type { CancelScope } from "../cancellation/scope.ts";
import { addOffset, type Bytes, type Offset, remainder, roundUp } from "../common/arguments.ts";
import { BlockDevice } from "../device/block_device.ts";
import type { IoErrorCode } from "../errors/codes.ts";
import { IoError } from "../errors/io_error.ts";
import type { File } from "../file/file.ts";
import { now } from "../native/clock.ts";

/** The unit of a plain file: a page is the least that the kernel reads. */
const PAGE_BYTES = 4096;
/** A range that cannot be read is tried again in this many pieces. */
const DIVISOR = 16;
/** Pieces of fewer sectors than this are not tried: the sectors are. */
const PIECE_SECTORS_MIN = 4;
const AT_ONCE_MAX = 64;
/** After a group with a failure that took less, the next is twice as large. */
const FAST_MS = 10;
/** After one that took longer, pieces are read one by one: a disk at work on a bad sector needs to be left alone. */
const SLOW_MS = 50;

/**
 * Errors that concern a range of the medium: EIO, and on Linux ENODATA (medium error), EILSEQ (protection), EREMOTEIO
 * (target), ETIMEDOUT and ETIME (a sector that the disk labours over for too long) from block/blk-core.c; EBADMSG from
 * checksumming file systems. Any other error, of an unplugged device for example, would repeat for every range.
 */
const BAD_PLACE: ReadonlySet<string> = new Set([
  ...["EIO", "ENODATA", "EILSEQ", "EREMOTEIO", "ETIMEDOUT", "ETIME"],
  "EBADMSG",
]);

export function isBadPlace(error: unknown): error is IoError {
  return error instanceof IoError && BAD_PLACE.has(error.code);
}

/** The least that can be read of a file by itself, in bytes: a logical sector, or a page of a plain file. */
export function sectorBytes(file: File): number {
  if (file.alignment.offset > 1) return file.alignment.offset;
  const logical = file instanceof BlockDevice ? file.geometry.logicalSectorSize : null;
  return logical ?? PAGE_BYTES;
}

/** Sizes of pieces to try in turn where a read of `length` bytes has failed; the last is a sector. */
export function pieceSizes(length: number, sector: number): number[] {
  const sizes: number[] = [];
  for (let size = length / DIVISOR; size >= PIECE_SECTORS_MIN * sector; size /= DIVISOR) {
    sizes.push(roundUp(size, sector));
  }
  return [...sizes, sector];
}

/** Neighbouring pieces with the same outcome. */
export interface Part {
  /** Bytes from the start of the buffer. */
  readonly begin: number;
  readonly end: number;
  /** Why they cannot be read; undefined if they have been. */
  readonly code: IoErrorCode | undefined;
  /** Whether the file ends with it, before the end of the buffer. */
  readonly isLast: boolean;
}

export class PieceReader {
  readonly #file: File;
  readonly #scope: CancelScope;
  #atOnce = 1;

  constructor(file: File, scope: CancelScope) {
    this.#file = file;
    this.#scope = scope;
  }

  /**
   * Fills the buffer from `offset` in pieces that end at multiples of `size`. Rejects with errors that do not concern
   * the place.
   */
  async *read(buffer: Bytes, offset: Offset, size: number): AsyncGenerator<Part, void, undefined> {
    for (let begin = 0; begin < buffer.byteLength; ) {
      const ends: number[] = [];
      for (let at = begin; at < buffer.byteLength && ends.length < this.#atOnce; ) {
        at = Math.min(at + size - remainder(addOffset(offset, at), size), buffer.byteLength);
        ends.push(at);
      }
      for (const part of partsOf(begin, ends, await this.#readGroup(buffer, offset, begin, ends))) {
        yield part;
        if (part.isLast) return;
      }
      begin = ends.at(-1) ?? buffer.byteLength;
    }
  }

  /**
   * The number of bytes, or the error, of each piece. Every other piece first, then those between: the kernel merges
   * adjacent requests, and before about Linux 6.12 a bad sector then failed good ones after it.
   */
  async #readGroup(
    buffer: Bytes,
    offset: Offset,
    begin: number,
    ends: readonly number[],
  ): Promise<(number | IoError)[]> {
    const started = now();
    const settled: PromiseSettledResult<number>[] = [];
    for (const first of [0, 1]) {
      const indices = [...ends.keys()].filter((index) => index % 2 === first);
      const outcomes = await Promise.allSettled(
        indices.map((index) => {
          const start = ends[index - 1] ?? begin;
          const piece = buffer.subarray(start, ends[index]);
          return this.#file.readAt(piece, addOffset(offset, start), this.#scope);
        }),
      );
      for (const [at, outcome] of outcomes.entries()) settled[first + 2 * at] = outcome;
    }
    if (settled.some(({ status }) => status === "rejected")) this.#adapt(now() - started);
    return settled.map((result) => {
      if (result.status === "fulfilled") return result.value;
      if (isBadPlace(result.reason)) return result.reason;
      throw result.reason;
    });
  }

  #adapt(elapsedMs: number): void {
    if (elapsedMs < FAST_MS) this.#atOnce = Math.min(2 * this.#atOnce, AT_ONCE_MAX);
    else if (elapsedMs > SLOW_MS) this.#atOnce = 1;
  }
}

function* partsOf(
  begin: number,
  ends: readonly number[],
  results: readonly (number | IoError)[],
): Generator<Part, void, undefined> {
  let partBegin = begin;
  let start = begin;
  let code: IoErrorCode | undefined;
  for (const [index, result] of results.entries()) {
    const end = ends[index] ?? start;
    const own = typeof result === "number" ? undefined : result.code;
    if (own !== code) {
      if (start > partBegin) yield { begin: partBegin, end: start, code, isLast: false };
      partBegin = start;
      code = own;
    }
    if (typeof result === "number" && start + result < end) {
      yield { begin: partBegin, end: start + result, code, isLast: true };
      return;
    }
    start = end;
  }
  yield { begin: partBegin, end: start, code, isLast: false };
}
