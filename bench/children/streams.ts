// Reads a file through a web stream, once; an operation is a mebibyte.
// `buffers: "own"`: `file.readable()`; `"foreign"`: `Bun.file(path).stream()`.

import { open } from "node:fs/promises";

import { File } from "../../src/index.ts";
import type { Job, Sample } from "../job.ts";
import { runChild } from "./child.ts";
import { createProbe } from "./probes.ts";

/** Neither contestant is warmed up by it. */
async function fillPageCache(path: string): Promise<void> {
  await using handle = await open(path, "r");
  const block = new Uint8Array(1024 * 1024);
  while ((await handle.read(block, 0, block.byteLength)).bytesRead > 0);
}

async function measure(job: Job): Promise<Sample> {
  await using file = await File.open(job.path);
  // Dropped before, too: the host of a virtual machine has the data and the memory ready then, whoever comes first.
  if (job.cold) await file.invalidateCache();
  await fillPageCache(job.path);
  if (job.cold) await file.invalidateCache();
  const stream: ReadableStream<Uint8Array> =
    job.buffers === "own" ? file.readable() : Bun.file(job.path).stream();
  const probe = createProbe(job);
  probe.start();
  const started = performance.now();
  const cpu = process.cpuUsage();
  let bytes = 0;
  for await (const chunk of stream) bytes += chunk.byteLength;
  const seconds = (performance.now() - started) / 1000;
  if (bytes !== job.span) throw new Error(`${bytes} of ${job.span} bytes came`);
  const used = process.cpuUsage(cpu);
  return {
    operations: bytes / job.blockSize,
    seconds,
    cpuSeconds: (used.user + used.system) / 1e6,
    rssBytes: process.memoryUsage.rss(),
    detail: job.buffers === "own" ? file.ring.backend : "Bun's stream",
    ...probe.stop(),
  };
}

await runChild(measure);
