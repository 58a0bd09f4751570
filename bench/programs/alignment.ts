// What an aligned request pays for the alignment checks: 4 KiB reads of a simulated device, whose medium
// costs one copy, through a file that wants whole sectors and through one that wants nothing.
//
//   bun bench/programs/alignment.ts          fails above 50 ns

import { File } from "../../src/file/file.ts";
import { openFile } from "../../src/file/open.ts";
import { PathName } from "../../src/file/path.ts";
import { allocBuffer } from "../../src/index.ts";
import * as abi from "../../src/native/abi.gen.ts";
import { openSimulated } from "../../src/ring/ring.ts";

const ROUNDS = 41;
const READS = 64 * 1024;
const DEPTH = 32;
const DEVICE_BYTES = 2 ** 20;
const BAR_NS = 50;

async function open(strict: boolean): Promise<File> {
  const ring = openSimulated({
    bytes: DEVICE_BYTES,
    sectorSize: 512,
    memoryAlignment: 512,
    flags: strict ? abi.DeviceFlag.strict : 0,
    seed: 1,
    baseFd: -1,
  });
  using name = new PathName("name", "simulated");
  return new File(await openFile(name, { write: true, ring }, 0));
}

const buffers = Array.from({ length: DEPTH }, () => allocBuffer(4096));

/** Nanoseconds for each read. */
async function measure(file: File): Promise<number> {
  const started = Bun.nanoseconds();
  const running: Promise<number>[] = [];
  for (let done = 0; done < READS; done += DEPTH) {
    for (let index = 0; index < DEPTH; index++) {
      const offset = ((done + index) * 4096) % DEVICE_BYTES;
      running[index] = file.readAt(buffers[index] as Uint8Array, offset);
    }
    for (let index = 0; index < DEPTH; index++) await running[index];
  }
  return (Bun.nanoseconds() - started) / READS;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

const [strict, relaxed] = [await open(true), await open(false)];
const times = { strict: [] as number[], relaxed: [] as number[], difference: [] as number[] };
for (let round = 0; round < ROUNDS; round++) {
  // Alternating, so that whatever else the machine does falls on both.
  const first = round % 2 === 0;
  const a = await measure(first ? strict : relaxed);
  const b = await measure(first ? relaxed : strict);
  if (round < 4) continue;
  times.strict.push(first ? a : b);
  times.relaxed.push(first ? b : a);
  times.difference.push(first ? a - b : b - a);
}
const difference = median(times.difference);
console.log(`no requirement ${median(times.relaxed).toFixed(0)} ns a read`);
console.log(`whole sectors  ${median(times.strict).toFixed(0)} ns a read`);
console.log(`the checks     ${difference.toFixed(0)} ns (bar: ${BAR_NS})`);
await Promise.all([strict.close(), relaxed.close()]);
process.exitCode = difference < BAR_NS ? 0 : 1;
