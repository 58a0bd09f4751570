// O_DIRECT wants aligned memory, and neither Node nor Bun hands any out: take a page more than
// needed and start at the boundary, as users of node:fs have to.

import { ptr } from "bun:ffi";

const PAGE_BYTES = 4096;

export function pageAlignedBuffer(size: number): Uint8Array<ArrayBuffer> {
  const roomy = new Uint8Array(size + PAGE_BYTES);
  const past = ptr(roomy) % PAGE_BYTES;
  const start = past === 0 ? 0 : PAGE_BYTES - past;
  return roomy.subarray(start, start + size);
}
