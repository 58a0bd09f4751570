// The contestant fs.readSync: no event loop, no promise, one read at a time. It shows what the
// system call costs from JavaScript, at the price of a thread that does nothing else.

import { closeSync, constants, openSync, readSync } from "node:fs";

import type { Job, Sample } from "../job.ts";
import { checkStamps } from "../stamps.ts";
import { pageAlignedBuffer } from "./aligned_buffer.ts";
import { runChild } from "./child.ts";
import { Meter } from "./meter.ts";
import { createOffsets } from "./offsets.ts";

async function measure(job: Job): Promise<Sample> {
  const flags = constants.O_RDONLY | (job.direct ? constants.O_DIRECT : 0);
  const fd = openSync(job.path, flags);
  const meter = new Meter(job);
  const offsets = createOffsets(job);
  const buffer = pageAlignedBuffer(job.blockSize);
  let offset = 0;
  while (meter.running) {
    offset = offsets.next();
    meter.count(readSync(fd, buffer, 0, job.blockSize, offset));
  }
  checkStamps(buffer, offset);
  closeSync(fd);
  return meter.sample("blocks the event loop");
}

await runChild(measure);
