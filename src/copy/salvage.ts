// Reads from a medium with bad sectors: keeps what can be read, fills the rest with zeroes and records each bad
// range.

import type { CancelScope } from "../cancellation/scope.ts";
import { addOffset, type Bytes, type Offset } from "../common/arguments.ts";
import type { File } from "../file/file.ts";
import type { BadRanges } from "./bad_ranges.ts";
import { type Part, PieceReader, pieceSizes, sectorBytes } from "./pieces.ts";

/**
 * Reads what could not be read at once, in smaller and smaller pieces. Returns the bytes up to the end of the file.
 * Ranges that cannot be read are zeroes in `buffer` and are added to `errors`.
 */
export async function salvage(
  file: File,
  buffer: Bytes,
  offset: Offset,
  scope: CancelScope,
  errors: BadRanges,
): Promise<number> {
  const reader = new PieceReader(file, scope);
  let length = buffer.byteLength;
  let bad: Pick<Part, "begin" | "end" | "code">[] = [{ begin: 0, end: length, code: undefined }];
  for (const size of pieceSizes(length, sectorBytes(file))) {
    const stillBad: typeof bad = [];
    for (const { begin, end } of bad) {
      const range = buffer.subarray(begin, Math.min(end, length));
      for await (const part of reader.read(range, addOffset(offset, begin), size)) {
        const [from, to] = [begin + part.begin, begin + part.end];
        if (part.code !== undefined) stillBad.push({ begin: from, end: to, code: part.code });
        if (part.isLast) length = to;
      }
    }
    bad = stillBad;
  }
  for (const { begin, end, code = "EIO" } of bad) {
    buffer.fill(0, begin, end);
    errors.add({ offset: Number(addOffset(offset, begin)), length: end - begin }, code);
  }
  return length;
}
