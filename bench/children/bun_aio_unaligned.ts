// As bun_aio.ts, with reads of one byte more that begin within a sector: what widening and trimming cost.

import { allocBuffer, File } from "../../src/index.ts";
import type { Job, Sample } from "../job.ts";
import { runChild, runLoops } from "./child.ts";
import { Meter } from "./meter.ts";
import { createOffsets } from "./offsets.ts";

const INTO_THE_SECTOR = 100;

async function measure(job: Job): Promise<Sample> {
  await using file = await File.open(job.path, { direct: job.direct });
  const meter = new Meter(job);
  // The last block has nothing behind it that the byte more could come from.
  const offsets = createOffsets({ ...job, span: job.span - 2 * job.blockSize });

  await runLoops(job.depth, async () => {
    const buffer = allocBuffer(job.blockSize + 1);
    let offset = 0;
    while (meter.running) {
      offset = offsets.next();
      meter.count((await file.readAt(buffer, offset + INTO_THE_SECTOR)) - 1);
    }
    const stamp = new DataView(buffer.buffer, job.blockSize - INTO_THE_SECTOR, 8);
    if (stamp.getUint32(0, true) !== ((offset + job.blockSize) % 2 ** 32) >>> 0) {
      // The stamp of the next block begins INTO_THE_SECTOR before the end of what was read.
      throw new Error(`the read at ${offset + INTO_THE_SECTOR} holds other data`);
    }
  });
  return meter.sample(file.ring.backend);
}

await runChild(measure);
