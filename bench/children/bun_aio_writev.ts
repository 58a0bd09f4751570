// Vectored writes of one block each, one behind the other. `buffers: "own"`: pieces of whole sectors;
// `"foreign"`: pieces that begin and end within sectors, which go through one aligned buffer.

import { allocBuffer, type Bytes, File } from "../../src/index.ts";
import type { Job, Sample } from "../job.ts";
import { runChild, runLoops } from "./child.ts";
import { Meter } from "./meter.ts";
import { createOffsets } from "./offsets.ts";

const ALIGNED = [4096];
const UNALIGNED = [100, 412, 512, 100, 100, 312, 512];

async function measure(job: Job): Promise<Sample> {
  await using file = await File.open(job.onto, { write: true, direct: job.direct });
  const meter = new Meter(job);
  const offsets = createOffsets(job);

  await runLoops(job.depth, async () => {
    const pieces = cut(allocBuffer(job.blockSize), job.buffers === "own" ? ALIGNED : UNALIGNED);
    while (meter.running) meter.count(await file.writevAt(pieces, offsets.next()));
  });
  return meter.sample(file.ring.backend);
}

function cut(buffer: Bytes, sizes: readonly number[]): Bytes[] {
  const pieces: Bytes[] = [];
  for (let at = 0, turn = 0; at < buffer.byteLength; turn += 1) {
    const size = sizes[turn % sizes.length] ?? buffer.byteLength;
    pieces.push(buffer.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

await runChild(measure);
