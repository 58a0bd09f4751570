// Every 4 KiB block of a target begins with its own offset, so that each contestant can prove at
// the end that it read what it asked for: a benchmark of wrong bytes is worth nothing.

export const STAMP_EVERY_BYTES = 4096;

/** Writes the offset of each block into a chunk that lies at `chunkOffset` of the target. */
export function stampChunk(chunk: Uint8Array, chunkOffset: number): void {
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  for (let at = 0; at < chunk.byteLength; at += STAMP_EVERY_BYTES) {
    view.setBigUint64(at, BigInt(chunkOffset + at), true);
  }
}

/** Throws unless `data` holds what the target has at `offset`. */
export function checkStamps(data: Uint8Array, offset: number): void {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < data.byteLength; at += STAMP_EVERY_BYTES) {
    const found = view.getBigUint64(at, true);
    if (found !== BigInt(offset + at)) {
      throw new Error(`the block at offset ${offset + at} holds the data of offset ${found}`);
    }
  }
}
