// The whole source onto several targets, synced, once: by `copyToAll`, or ("foreign") by one `copy` after the other. An
// operation is a mebibyte written.

import { BlockDevice, type CopyResult, copy, copyToAll } from "../../src/index.ts";
import type { Job, Sample } from "../job.ts";
import { runChild } from "./child.ts";

async function measure(job: Job): Promise<Sample> {
  await using source = await BlockDevice.open(job.path);
  await using opened = new AsyncDisposableStack();
  const targets: BlockDevice[] = [];
  for (const path of job.onto.split(",")) {
    targets.push(opened.use(await BlockDevice.open(path, { write: true })));
  }
  const cpu = process.cpuUsage();
  const started = performance.now();
  const copyAll = job.buffers === "foreign" ? copyInTurn : copyAtOnce;
  const bytes = (await copyAll(source, targets)).reduce((sum, each) => sum + each.bytesCopied, 0);
  const seconds = (performance.now() - started) / 1000;
  if (bytes !== job.span * targets.length) throw new Error(`${bytes} bytes were copied`);
  const used = process.cpuUsage(cpu);
  return {
    operations: bytes / job.blockSize,
    seconds,
    cpuSeconds: (used.user + used.system) / 1e6,
    rssBytes: process.memoryUsage.rss(),
    detail: `${source.ring.backend}, concurrency by default`,
  };
}

async function copyAtOnce(source: BlockDevice, targets: BlockDevice[]): Promise<CopyResult[]> {
  const settled = await copyToAll(source, targets);
  return settled.map((each) => {
    if (each.status === "rejected") throw each.reason;
    return each.value;
  });
}

async function copyInTurn(source: BlockDevice, targets: BlockDevice[]): Promise<CopyResult[]> {
  const results: CopyResult[] = [];
  for (const target of targets) results.push(await copy(source, target));
  return results;
}

await runChild(measure);
