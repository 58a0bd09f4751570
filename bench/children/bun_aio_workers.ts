// The contestant bun-aio on several threads, each with its own ring: `depth` loops in each.
// `buffers: "own"`: two threads; `"foreign"`: one.

import { type Job, parseSample, type Sample } from "../job.ts";
import { runChild } from "./child.ts";

async function measure(job: Job): Promise<Sample> {
  const count = job.buffers === "own" ? 2 : 1;
  const samples = await Promise.all(
    Array.from({ length: count }, (_, index) =>
      inWorker({ ...job, buffers: "own", seed: job.seed + index }),
    ),
  );
  const sum = (of: (sample: Sample) => number): number =>
    samples.reduce((total, sample) => total + of(sample), 0);
  const [first] = samples;
  if (first === undefined) throw new Error("no worker has measured");
  return {
    ...first,
    // At their own rates in the interval of the first, whose processor time is that of the process.
    operations: sum(({ operations, seconds }) => operations / seconds) * first.seconds,
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
