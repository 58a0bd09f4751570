// `copy({ sparse })` of a file that is mostly a hole, onto a new one, once; an operation is a mebibyte.

import { copy, File } from "../../src/index.ts";
import type { Job, Sample } from "../job.ts";
import { noFileYet } from "../targets/new_file.ts";
import { runChild } from "./child.ts";

async function measure(job: Job): Promise<Sample> {
  await noFileYet(job);
  await using source = await File.open(job.path);
  await using target = await File.open(job.onto, { write: true, createNew: true });
  const cpu = process.cpuUsage();
  // cp does not sync.
  const result = await copy(source, target, { sparse: true, sync: false });
  const { prefix, durationMs } = result;
  if (prefix !== job.span) throw new Error(`${prefix} of ${job.span} bytes were copied`);
  const used = process.cpuUsage(cpu);
  return {
    operations: job.span / job.blockSize,
    seconds: durationMs / 1000,
    cpuSeconds: (used.user + used.system) / 1e6,
    rssBytes: process.memoryUsage.rss(),
    detail: `${source.ring.backend}, ${result.bytesCopied / job.blockSize} MiB of data`,
  };
}

await runChild(measure);
