// 4 KiB reads of a device, one at a time, beside copies of that device at depth 32, over and over; or alone (plain
// buffers in the job). How long they take is the figure.

import { build } from "hdr-histogram-js";
import { allocBuffer, BlockDevice, copy } from "../../src/index.ts";
import type { Job, Sample } from "../job.ts";
import { runChild } from "./child.ts";
import { Meter } from "./meter.ts";
import { createOffsets } from "./offsets.ts";

async function measure(job: Job): Promise<Sample> {
  await using source = await BlockDevice.open(job.path);
  await using target = await BlockDevice.open(job.onto, { write: true });
  const meter = new Meter(job);
  const copying = async (): Promise<void> => {
    while (meter.running) await copy(source, target, { concurrency: job.depth, sync: false });
  };
  const copied = job.buffers === "own" ? copying() : Promise.resolve();
  const offsets = createOffsets(job);
  const buffer = allocBuffer(job.blockSize);
  const latenciesUs = build({ numberOfSignificantValueDigits: 3 });
  while (meter.running) {
    const began = performance.now();
    meter.count(await source.readAt(buffer, offsets.next()));
    latenciesUs.recordValue(Math.round((performance.now() - began) * 1000));
  }
  await copied;
  const readP99Ms = latenciesUs.getValueAtPercentile(99) / 1000;
  return { ...meter.sample(source.ring.backend), readP99Ms };
}

await runChild(measure);
