// The target of a copy to a new file in the page cache.

import { open, rm, stat } from "node:fs/promises";

import type { Job } from "../job.ts";

/**
 * Removes what an earlier run left. The memory that the new file's pages will take is used once before: a host takes
 * idle memory back, and whoever came first would pay for fetching it again.
 */
export async function noFileYet({ path, onto }: Job): Promise<void> {
  const block = new Uint8Array(1024 * 1024);
  const { blocks } = await stat(path);
  {
    await using file = await open(onto, "w");
    for (let left = blocks * 512; left > 0; left -= block.byteLength) await file.write(block);
  }
  await rm(onto);
}
