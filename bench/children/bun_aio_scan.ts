// `scan` of the whole device, once; an operation is a mebibyte.

import { BlockDevice, scan } from "../../src/index.ts";
import type { Job, Sample } from "../job.ts";
import { runChild } from "./child.ts";

async function measure(job: Job): Promise<Sample> {
  await using source = await BlockDevice.open(job.path);
  const cpu = process.cpuUsage();
  const { bytesRead, durationMs } = await scan(source);
  if (bytesRead !== job.span) throw new Error(`${bytesRead} of ${job.span} bytes were read`);
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
