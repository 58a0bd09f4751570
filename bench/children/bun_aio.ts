// The contestant bun-aio.

import { File } from "../../src/index.ts";
import type { Job, Sample } from "../job.ts";
import { runChild } from "./child.ts";
import { readRandomly } from "./loops.ts";

async function measure(job: Job): Promise<Sample> {
  await using file = await File.open(job.path, { direct: job.direct });
  return await readRandomly(job, file);
}

await runChild(measure);
