// dd(1), one block after the other past the page cache, and synced at the end: what imagers are measured by. In the
// rows that write nothing it only reads.

import type { Job, Sample } from "../job.ts";
import type { Contestant } from "./contestant.ts";
import { run } from "./process.ts";

class Dd implements Contestant {
  readonly name = "dd";

  async prepare(): Promise<string | undefined> {
    return Bun.which("dd") === null ? "dd is not installed" : undefined;
  }

  async measure(job: Job): Promise<Sample> {
    const writes = job.onto !== "";
    const words = [`if=${job.path}`, `of=${writes ? job.onto : "/dev/null"}`];
    const written = writes ? ["oflag=direct", "conv=fsync,notrunc"] : [];
    const how = [`bs=${job.blockSize}`, "iflag=direct", ...written, "status=none"];
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
      detail: writes ? "direct, fsync" : "direct",
    };
  }
}

export const dd: Contestant = new Dd();
