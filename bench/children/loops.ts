// `depth` loops, each awaiting one `readAt`: what a user would write.

import { allocBuffer, BufferPool, type Bytes, type File } from "../../src/index.ts";
import type { Job, Sample } from "../job.ts";
import { checkStamps } from "../stamps.ts";
import { runLoops } from "./child.ts";
import { Meter } from "./meter.ts";
import { createOffsets } from "./offsets.ts";

export async function readRandomly(job: Job, file: File): Promise<Sample> {
  const meter = new Meter(job);
  const offsets = createOffsets(job);

  const size = job.blockSize;
  const pool = job.buffers === "pool" ? new BufferPool({ size, count: job.depth }) : undefined;

  await runLoops(job.depth, async () => {
    let buffer: Bytes;
    if (pool !== undefined) buffer = await pool.acquire();
    else buffer = job.buffers === "own" ? allocBuffer(size) : new Uint8Array(size);
    let offset = 0;
    while (meter.running) {
      offset = offsets.next();
      meter.count(await file.readAt(buffer, offset));
    }
    checkStamps(buffer, offset);
  });
  return meter.sample(file.ring.backend);
}
