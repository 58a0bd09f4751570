// Verification of a copy: keeps a checksum of each block written, reads the target back from the medium and
// compares. To name the first wrong byte of a block that differs, the source is read again where that is possible.

import type { CancelScope } from "../cancellation/scope.ts";
import { addOffset, type Bytes } from "../common/arguments.ts";
import { IoError } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import { allocBuffer } from "../memory/alloc_buffer.ts";
import type { Plan } from "./plan.ts";

/** Bytes per checksum of 8 bytes: 128 MiB of checksums for a terabyte. */
const BLOCK_BYTES = 64 * 1024;

export class Sums {
  readonly #blocksPerChunk: number;
  #sums = new BigUint64Array(1024);

  constructor(chunkSize: number) {
    this.#blocksPerChunk = Math.ceil(chunkSize / BLOCK_BYTES);
  }

  /** Records chunk `index` as it was written. XXH3 (64 bits) runs at 38 GB/s. */
  note(index: number, data: Uint8Array): void {
    const first = index * this.#blocksPerChunk;
    const last = first + this.#blocksPerChunk;
    if (last > this.#sums.length) {
      const larger = new BigUint64Array(Math.max(last, this.#sums.length * 2));
      larger.set(this.#sums);
      this.#sums = larger;
    }
    for (let at = 0; at < data.byteLength; at += BLOCK_BYTES) {
      this.#sums[first + at / BLOCK_BYTES] = sum(data, at);
    }
  }

  /** Offset of the first block of `data` that differs, or -1. */
  compare(index: number, data: Uint8Array): number {
    const first = index * this.#blocksPerChunk;
    for (let at = 0; at < data.byteLength; at += BLOCK_BYTES) {
      if (this.#sums[first + at / BLOCK_BYTES] !== sum(data, at)) return at;
    }
    return -1;
  }
}

function sum(data: Uint8Array, at: number): bigint {
  return Bun.hash.xxHash3(data.subarray(at, Math.min(at + BLOCK_BYTES, data.byteLength)));
}

/** Position of the first byte that differs from the source; the start of the block if unknown. */
export async function narrowDown(
  plan: Plan,
  at: number,
  limit: number,
  scope: CancelScope,
): Promise<number> {
  const { source, target } = plan;
  if (!(source instanceof File)) return at;
  const length = Math.min(BLOCK_BYTES, limit - at);
  try {
    const [a, b] = await Promise.all([
      readBlock(source, addOffset(plan.sourceOffset, at), length, scope),
      readBlock(target, addOffset(plan.targetOffset, at), length, scope),
    ]);
    const first = a.findIndex((byte, index) => byte !== b[index]);
    return first === -1 ? at : at + first;
  } catch {
    // The comparison has already failed; this only locates it more precisely.
    return at;
  }
}

async function readBlock(
  file: File,
  offset: number | bigint,
  length: number,
  scope: CancelScope,
): Promise<Bytes> {
  const buffer = allocBuffer(length);
  await file.readAt(buffer, offset, scope);
  return buffer;
}

export function differs(plan: Plan, at: number): IoError {
  return new IoError("ERR_VERIFY", {
    reason: "the target does not hold what was written to it",
    syscall: "read",
    path: plan.target.path,
    offset: addOffset(plan.targetOffset, at),
    hint: "The medium, its connection or the memory is unreliable, or another program wrote to the target",
  });
}
