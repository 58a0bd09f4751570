// Reads from a medium with bad sectors: keeps what can be read, fills the rest with zeroes and records each bad
// range.

import type { CancelScope } from "../cancellation/scope.ts";
import { addOffset, type Bytes, type Offset, remainder } from "../common/arguments.ts";
import type { ReadError } from "../errors/copy_result.ts";
import { IoError } from "../errors/io_error.ts";
import type { File } from "../file/file.ts";

/** Used if the file has no unit of its own: a page is the least that the kernel reads. */
const UNIT_BYTES = 4096;

/**
 * Errors that concern a range of the medium: EIO, and on Linux ENODATA (medium error), EILSEQ (protection),
 * EREMOTEIO (target) from block/blk-core.c; EBADMSG from checksumming file systems. Any other error, of an
 * unplugged device for example, would repeat for every range.
 */
const BAD_PLACE: ReadonlySet<string> = new Set([
  "EIO",
  "ENODATA",
  "EILSEQ",
  "EREMOTEIO",
  "EBADMSG",
]);

export function isBadPlace(error: unknown): error is IoError {
  return error instanceof IoError && BAD_PLACE.has(error.code);
}

/**
 * Reads in the smallest unit there is. Returns the bytes up to the end of the file. Ranges that cannot be read are
 * zeroes in `buffer` and are added to `errors`.
 */
export async function salvage(
  file: File,
  buffer: Bytes,
  offset: Offset,
  scope: CancelScope,
  errors: ReadError[],
): Promise<number> {
  const unit = file.alignment.offset > 1 ? file.alignment.offset : UNIT_BYTES;
  for (let done = 0; done < buffer.byteLength; ) {
    const at = addOffset(offset, done);
    const length = Math.min(unit - remainder(at, unit), buffer.byteLength - done);
    const piece = buffer.subarray(done, done + length);
    try {
      const bytes = await file.readAt(piece, at, scope);
      if (bytes < length) return done + bytes;
    } catch (error) {
      if (!isBadPlace(error)) throw error;
      piece.fill(0);
      errors.push({ offset: Number(at), length, code: error.code });
    }
    done += length;
  }
  return buffer.byteLength;
}

/** Sorted, with adjacent ranges of the same code merged. */
export function joined(errors: readonly ReadError[]): ReadError[] {
  const out: ReadError[] = [];
  for (const error of [...errors].sort((a, b) => a.offset - b.offset)) {
    const last = out.at(-1);
    if (
      last !== undefined &&
      last.code === error.code &&
      last.offset + last.length === error.offset
    )
      out[out.length - 1] = { ...last, length: last.length + error.length };
    else out.push(error);
  }
  return out;
}
