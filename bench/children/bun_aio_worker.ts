// One of several threads that read: it waits to be told, so that all begin at once.

import { File } from "../../src/index.ts";
import { parseJob } from "../job.ts";
import { readRandomly } from "./loops.ts";

declare const self: Worker;

self.onmessage = async ({ data }: MessageEvent<string>): Promise<void> => {
  const job = parseJob(data);
  await using file = await File.open(job.path, { direct: job.direct });
  postMessage(await readRandomly(job, file));
};
