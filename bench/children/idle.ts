// A process that reads nothing: how well timers keep time on this machine, as the yardstick for
// the rows about the event loop.

import type { Job, Sample } from "../job.ts";
import { runChild } from "./child.ts";
import { Meter } from "./meter.ts";

async function measure(job: Job): Promise<Sample> {
  const meter = new Meter(job);
  await Bun.sleep(job.warmUpSeconds * 1000);
  meter.look();
  await Bun.sleep(job.seconds * 1000);
  // A timer may fire a fraction of a millisecond early.
  while (meter.running) {
    await Bun.sleep(1);
    meter.look();
  }
  return meter.sample("no reads");
}

await runChild(measure);
