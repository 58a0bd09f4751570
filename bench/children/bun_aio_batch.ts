// 64 cached reads at a time: as one `ring.batch` (`buffers: "own"`) or as 64 calls of one turn.

import { allocBuffer, File, type Operation } from "../../src/index.ts";
import type { Job, Sample } from "../job.ts";
import { checkStamps } from "../stamps.ts";
import { runChild } from "./child.ts";
import { Meter } from "./meter.ts";
import { createOffsets } from "./offsets.ts";

async function measure(job: Job): Promise<Sample> {
  await using file = await File.open(job.path, { direct: job.direct });
  const { ring } = file;
  const meter = new Meter(job);
  const offsets = createOffsets(job);
  const buffers = Array.from({ length: job.depth }, () => allocBuffer(job.blockSize));
  let last: number[] = [];

  while (meter.running) {
    last = buffers.map(() => offsets.next());
    if (job.buffers === "own") {
      const operations = buffers.map(
        (data, index): Operation => ({ kind: "read", file, data, offset: last[index] ?? 0 }),
      );
      for (const result of await ring.batch(operations)) {
        if (result.status === "rejected") throw result.reason;
        meter.count(result.value);
      }
    } else {
      const reads = buffers.map((data, index) => file.readAt(data, last[index] ?? 0));
      for (const result of await Promise.allSettled(reads)) {
        if (result.status === "rejected") throw result.reason;
        meter.count(result.value);
      }
    }
  }
  buffers.forEach((buffer, index) => {
    checkStamps(buffer, last[index] ?? 0);
  });
  return meter.sample(ring.backend);
}

await runChild(measure);
