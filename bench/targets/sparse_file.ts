// An image that is mostly a hole, as a virtual machine's disk is, and a place for its copy.

import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { fill } from "./image_file.ts";
import type { Target } from "./target.ts";

/** How often data stands in it, ... */
const PLACES = 64;
/** ... and what part of it that is. */
const HOLES_PER_DATA = 63;

/** Its data is cached, and on the disk. */
export async function createSparseFile(size: number): Promise<Target> {
  const target = await createFolder("image");
  try {
    const handle = await open(target.path, "wx", 0o600);
    try {
      await handle.truncate(size);
      const stride = size / PLACES;
      for (let at = 0; at < size; at += stride) {
        await fill(handle, stride / (HOLES_PER_DATA + 1), at);
      }
    } finally {
      await handle.close();
    }
  } catch (error) {
    await target[Symbol.asyncDispose]();
    throw error;
  }
  return target;
}

/** The path of a file that does not exist, in a folder of its own. */
export async function createFolder(name: string): Promise<Target> {
  const folder = await mkdtemp(join(tmpdir(), "bun-aio-bench-"));
  return {
    path: join(folder, name),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
