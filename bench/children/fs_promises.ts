// The contestant fs.promises: the same loops over node:fs/promises as Bun implements it.

import { constants } from "node:fs";
import { open } from "node:fs/promises";

import type { Job, Sample } from "../job.ts";
import { checkStamps } from "../stamps.ts";
import { pageAlignedBuffer } from "./aligned_buffer.ts";
import { runChild, runLoops } from "./child.ts";
import { Meter } from "./meter.ts";
import { createOffsets } from "./offsets.ts";

async function measure(job: Job): Promise<Sample> {
  const flags = constants.O_RDONLY | (job.direct ? constants.O_DIRECT : 0);
  const handle = await open(job.path, flags);
  const meter = new Meter(job);
  const offsets = createOffsets(job);

  await runLoops(job.depth, async () => {
    const buffer = pageAlignedBuffer(job.blockSize);
    let offset = 0;
    while (meter.running) {
      offset = offsets.next();
      const { bytesRead } = await handle.read(buffer, 0, job.blockSize, offset);
      meter.count(bytesRead);
    }
    checkStamps(buffer, offset);
  });
  await handle.close();
  return meter.sample("Bun's thread pool");
}

await runChild(measure);
