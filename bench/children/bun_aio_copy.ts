// `copy` of the whole source onto the target, synced, once; an operation is a mebibyte.

import { BlockDevice, copy } from "../../src/index.ts";
import type { Job, Sample } from "../job.ts";
import { runChild } from "./child.ts";

async function measure(job: Job): Promise<Sample> {
  // Images count as devices: both are read and written past the page cache.
  await using source = await BlockDevice.open(job.path);
  await using target = await BlockDevice.open(job.onto, { write: true });
  const cpu = process.cpuUsage();
  const { bytesCopied, durationMs } = await copy(source, target);
  if (bytesCopied !== job.span) throw new Error(`${bytesCopied} of ${job.span} bytes were copied`);
  const used = process.cpuUsage(cpu);
  return {
    operations: job.span / job.blockSize,
    seconds: durationMs / 1000,
    cpuSeconds: (used.user + used.system) / 1e6,
    rssBytes: process.memoryUsage.rss(),
    detail: `${source.ring.backend}, concurrency by default`,
  };
}

await runChild(measure);
