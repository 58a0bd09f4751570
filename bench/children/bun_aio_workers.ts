// The contestant bun-aio on several threads, each with its own ring: `depth` loops in each.
// `buffers: "own"`: two threads; `"foreign"`: one.

import { type Job, parseSample, type Sample } from "../job.ts";
import { runChild } from "./child.ts";

async function measure(job: Job): Promise<Sample> {
  const count = job.buffers === "own" ? 2 : 1;
  const cpu = process.cpuUsage();
  const samples = await Promise.all(
    Array.from({ length: count }, (_, index) =>
      inWorker({ ...job, buffers: "own", seed: job.seed + index }),
    ),
  );
  const used = process.cpuUsage(cpu);
  const sum = (of: (sample: Sample) => number): number =>
    samples.reduce((total, sample) => total + of(sample), 0);
  return {
    operations: sum(({ operations, seconds }) => operations / seconds),
    seconds: 1,
    // Of the measured interval alone there is no figure: the process is looked at as a whole.
    cpuSeconds:
      ((used.user + used.system) / 1e6) * (job.seconds / (job.seconds + job.warmUpSeconds)),
    rssBytes: process.memoryUsage.rss(),
    detail: `${count} of ${navigator.hardwareConcurrency} processors`,
  };
}

function inWorker(job: Job): Promise<Sample> {
  const { promise, resolve, reject } = Promise.withResolvers<Sample>();
  const worker = new Worker(new URL("./bun_aio_worker.ts", import.meta.url));
  worker.onmessage = ({ data }: MessageEvent<unknown>): void => {
    resolve(parseSample(JSON.stringify(data)));
    worker.terminate();
  };
  worker.onerror = ({ message }): void => reject(new Error(message));
  worker.postMessage(JSON.stringify(job));
  return promise;
}

await runChild(measure);
