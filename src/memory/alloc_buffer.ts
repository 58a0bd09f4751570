// `allocBuffer`: native memory as a Uint8Array.

import { type Bytes, checkInteger, checkOptions } from "../common/arguments.ts";
import { noteHeld } from "../common/leaks.ts";
import { PIECE_BYTES_MAX } from "../native/abi.gen.ts";
import { OWN_BYTES_MAX } from "./registered_buffers.ts";
import { checkAlignment, createSlab, SIZE_MAX } from "./slab.ts";

/** Below this, pinning pages costs a request little. */
const REGISTERED_BYTES_MIN = 64 * 1024;
/** Longer registrations would block the thread. */
const CHUNK_BYTES_MAX = PIECE_BYTES_MAX;

/** Bytes registered at once (registered_buffers.ts): the requests of a transfer are pieces of that size. */
function chunkOf(size: number): number {
  const isRegistered = size >= REGISTERED_BYTES_MIN && size <= OWN_BYTES_MAX;
  return isRegistered ? Math.min(size, CHUNK_BYTES_MAX) : 0;
}

/**
 * Zeroed memory that files read into and write from without a copy.
 *
 * @param size Bytes, from 1 to 2^32, the longest ArrayBuffer there is.
 * @param options.alignment A power of two; default 4096, which suits every device. Smaller values are rounded up to
 *   a page.
 * @throws TypeError, RangeError for wrong arguments; IoError `ENOMEM` when the system has no memory.
 *
 * The memory belongs to the ArrayBuffer of the returned view, and counts towards garbage-collection pressure. A
 * read or write in flight keeps it alive.
 *
 * @example
 * ```ts
 * import { allocBuffer, open } from "bun-aio";
 *
 * await using file = await open("disk.img");
 * const buffer = allocBuffer(1 << 16);
 * console.log(await file.readAt(buffer, 4096));
 * ```
 */
export function allocBuffer(size: number, options?: { alignment?: number | undefined }): Bytes {
  checkInteger("size", size, 1, SIZE_MAX);
  checkOptions("allocBuffer", options, ["alignment"]);
  const memory = createSlab(size, checkAlignment(options?.alignment), undefined, chunkOf(size));
  const view = new Uint8Array(memory, 0, size);
  noteHeld(memory, view);
  return view;
}
