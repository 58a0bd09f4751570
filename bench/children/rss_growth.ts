// Resident memory at read 500,000 and again at read 5,500,000. What lies before is the JIT's
// warm-up (8-14 MiB); what grows after it is a leak, or garbage that nobody collects.

import { allocBuffer, File } from "../../src/index.ts";
import type { Job, Sample } from "../job.ts";
import { checkStamps } from "../stamps.ts";
import { runChild, runLoops } from "./child.ts";
import { createOffsets } from "./offsets.ts";

const FIRST_LOOK = 500_000;
const LAST_LOOK = 5_500_000;

async function measure(job: Job): Promise<Sample> {
  await using file = await File.open(job.path, { direct: job.direct });
  const offsets = createOffsets(job);
  let operations = 0;
  let first = { rssBytes: 0, ms: 0, cpu: process.cpuUsage() };
  let sample: Omit<Sample, "detail"> | undefined;

  await runLoops(job.depth, async () => {
    const buffer = allocBuffer(job.blockSize);
    let offset = 0;
    while (operations < LAST_LOOK) {
      offset = offsets.next();
      const bytes = await file.readAt(buffer, offset);
      if (bytes !== job.blockSize) throw new Error(`a read returned ${bytes} bytes`);
      operations += 1;
      if (operations === FIRST_LOOK) {
        first = {
          rssBytes: process.memoryUsage.rss(),
          ms: performance.now(),
          cpu: process.cpuUsage(),
        };
      } else if (operations === LAST_LOOK) {
        const cpu = process.cpuUsage(first.cpu);
        const rssBytes = process.memoryUsage.rss();
        sample = {
          operations: LAST_LOOK - FIRST_LOOK,
          seconds: (performance.now() - first.ms) / 1000,
          cpuSeconds: (cpu.user + cpu.system) / 1e6,
          rssBytes,
          rssGrowthBytes: rssBytes - first.rssBytes,
        };
      }
    }
    checkStamps(buffer, offset);
  });
  if (sample === undefined) throw new Error("the last look at the memory did not happen");
  return { ...sample, detail: file.ring.backend };
}

await runChild(measure);
