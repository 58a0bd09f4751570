// cp(1) of a sparse file: what SEEK_DATA and SEEK_HOLE make possible.

import { rm } from "node:fs/promises";

import type { Job, Sample } from "../job.ts";
import type { Contestant } from "./contestant.ts";
import { run } from "./process.ts";

class Cp implements Contestant {
  readonly name = "cp --sparse=always";

  async prepare(): Promise<string | undefined> {
    return process.platform === "linux" ? undefined : "cp has no --sparse here";
  }

  async measure(job: Job): Promise<Sample> {
    await rm(job.onto, { force: true });
    const started = performance.now();
    const words = ["cp", "--sparse=always", "--reflink=never", job.path, job.onto];
    const { cpuSeconds, rssBytes } = await run(words, { seconds: 60, watchMemory: true });
    return {
      operations: job.span / job.blockSize,
      seconds: (performance.now() - started) / 1000,
      cpuSeconds,
      rssBytes,
      detail: "buffered, not synced",
    };
  }
}

export const cp: Contestant = new Cp();
