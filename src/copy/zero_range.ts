// Ranges of zeroes: finds them in memory, and makes them in a file.

import type { CancelScope } from "../cancellation/scope.ts";
import { addOffset, type Bytes, type Offset } from "../common/arguments.ts";
import { IoError } from "../errors/io_error.ts";
import type { OpenFile } from "../file/open_file.ts";
import { allocBuffer } from "../memory/alloc_buffer.ts";
import * as abi from "../native/abi.gen.ts";

const ZERO_BYTES = 64 * 1024;
export const zeroes: Uint8Array = new Uint8Array(ZERO_BYTES);

/** Comparing with zeroes runs at 25 GB/s and stops at the first other byte. */
export function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.byteLength; at += ZERO_BYTES) {
    const end = Math.min(at + ZERO_BYTES, bytes.byteLength);
    if (Buffer.compare(bytes.subarray(at, end), zeroes.subarray(0, end - at)) !== 0) return false;
  }
  return true;
}

let zeroBuffer: Bytes | undefined;

/**
 * Zeroes a range: by BLKZEROOUT on a disk, by a hole in a regular file (whose length stays), and by writing zeroes
 * where the system has neither.
 */
export async function zeroRange(
  file: OpenFile,
  offset: Offset,
  length: number,
  scope: CancelScope,
): Promise<void> {
  const { state } = file;
  const kind = abi.Kind.writeZeroes;
  const end = addOffset(offset, length);
  file.begin(kind, scope, offset, length);
  const order = ++state.order;
  let hadBegun = false;
  try {
    const { detail } = await file.locked(kind, offset, end, scope, () => {
      hadBegun = true;
      return file.run(kind, { offset, length, mode: state.kind, scope });
    });
    if (detail !== abi.Method.unsupported) return;
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    // EINVAL: the range is not aligned to the sectors of the device.
    if (error.code !== "EINVAL" && error.code !== "ENOTSUP") {
      state.reports.writeFailed({ order, error, hadBegun, scope });
      throw error;
    }
  }
  zeroBuffer ??= allocBuffer(2 ** 20);
  for (let done = 0; done < length; done += zeroBuffer.byteLength) {
    const part = zeroBuffer.subarray(0, Math.min(length - done, zeroBuffer.byteLength));
    await file.writeAnywhere(part, addOffset(offset, done), scope);
  }
}
