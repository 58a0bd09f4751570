// dd(1), one block after the other past the page cache, and synced at the end: what imagers are measured by.

import type { Job, Sample } from "../job.ts";
import type { Contestant } from "./contestant.ts";
import { run } from "./process.ts";

class Dd implements Contestant {
  readonly name = "dd";

  async prepare(): Promise<string | undefined> {
    return Bun.which("dd") === null ? "dd is not installed" : undefined;
  }

  async measure(job: Job): Promise<Sample> {
    const words = [`if=${job.path}`, `of=${job.onto}`, `bs=${job.blockSize}`];
    const how = ["iflag=direct", "oflag=direct", "conv=fsync,notrunc", "status=none"];
    const started = performance.now();
    const { cpuSeconds, rssBytes } = await run(["dd", ...words, ...how], {
      seconds: 60,
      watchMemory: true,
    });
    return {
      operations: job.span / job.blockSize,
      seconds: (performance.now() - started) / 1000,
      cpuSeconds,
      rssBytes,
      detail: "direct, fsync",
    };
  }
}

export const dd: Contestant = new Dd();
