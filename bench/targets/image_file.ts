// The file behind the cached rows, and behind the loop device.

import { randomFillSync } from "node:crypto";
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { stampChunk } from "../stamps.ts";
import type { Target } from "./target.ts";

const CHUNK_BYTES = 1024 * 1024;

/** Random bytes, so that neither zram nor a file system finds anything to compress. */
export async function fill(handle: FileHandle, size: number, from = 0): Promise<void> {
  const chunk = new Uint8Array(CHUNK_BYTES);
  for (let offset = from; offset < from + size; offset += CHUNK_BYTES) {
    randomFillSync(chunk);
    stampChunk(chunk, offset);
    const { bytesWritten } = await handle.write(chunk, 0, CHUNK_BYTES, offset);
    if (bytesWritten !== CHUNK_BYTES) throw new Error(`a write took ${bytesWritten} bytes`);
  }
  // Clean pages: no writeback runs beside the measurements.
  await handle.sync();
}

/** A new file in the system's folder for temporary files. What was just written is cached. */
export async function createImageFile(size: number): Promise<Target> {
  const folder = await mkdtemp(join(tmpdir(), "bun-aio-bench-"));
  const path = join(folder, "image");
  const dispose = async (): Promise<void> => {
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const handle = await open(path, "wx", 0o600);
    try {
      await fill(handle, size);
    } finally {
      await handle.close();
    }
  } catch (error) {
    await dispose();
    throw error;
  }
  return { path, [Symbol.asyncDispose]: dispose };
}
