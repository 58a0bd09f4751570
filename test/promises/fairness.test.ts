// No operation waits for long because of others: streams beside streams, small reads beside copies and huge
// vectors. These tests use no clock: waiting is measured in bytes that others have transferred meanwhile. On a
// simulated device every request takes the same time, so that only the library's own queueing is measured; a loop
// device shows the effect on a real one. Times are in the benchmark (bench/rows/reads_beside_copy.ts).

import { expect, test } from "bun:test";
import { allocBuffer, BlockDevice, copy, File } from "../../src/index.ts";
import { type SimulatedDevice, simulatedDevice } from "../../src/testing/index.ts";
import { faulty, testUnless } from "../support/conditions.ts";
import { Folder, LoopDevice, loopMissing, pattern } from "../support/control.ts";

/** Of every request. */
const LATENCY_MS = 10;
const MiB = 2 ** 20;
/** What the kernel has of a ring at a time; a copy leaves half of it to others. */
const WINDOW_BYTES = 8 * MiB;
/** Small reads under way at a time. */
const READERS = 8;

function slowDevice(size: number): Promise<SimulatedDevice> {
  return simulatedDevice({ size, faults: [{ operation: "any", latency: LATENCY_MS }] });
}

/** Least progress of 1,000 streams, each of `bytes`, when the first has ended. */
async function leastOf1000(file: File, bytes: number, chunkSize: number): Promise<number> {
  const progress = new Float64Array(1000);
  let least = Number.NaN;
  const consume = async (index: number): Promise<void> => {
    const stream = file.readable({ end: bytes, chunkSize, concurrency: 2 });
    for await (const chunk of stream) progress[index] = (progress[index] ?? 0) + chunk.byteLength;
    if (Number.isNaN(least)) least = Math.min(...progress);
  };
  await Promise.all(Array.from(progress, (_, index) => consume(index)));
  expect(progress.every((done) => done === bytes)).toBe(true);
  return least;
}

/** For each of the 4 KiB reads that were made while `work` ran: the bytes that others had moved until it settled. */
async function waitsDuring(device: File, work: Promise<unknown>): Promise<number[]> {
  let working = true;
  const ended = work.finally(() => {
    working = false;
  });
  const waits: number[] = [];
  const read = async (first: number): Promise<void> => {
    for (let i = first; working; i += READERS) {
      const before = bytesMoved(device);
      await device.readAt(allocBuffer(4096), ((i * 7919) % 4096) * 4096);
      waits.push(bytesMoved(device) - before - 4096);
    }
  };
  await Promise.all([ended, ...Array.from({ length: READERS }, (_, first) => read(first))]);
  return waits.sort((a, b) => a - b);
}

function bytesMoved({ ring }: File): number {
  const { bytesRead, bytesWritten } = ring.stats();
  return bytesRead + bytesWritten;
}

function median(sorted: readonly number[]): number {
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

test("of 1,000 streams none is below half when the first ends: a file", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", pattern(1 << 18)));
  expect(await leastOf1000(file, 1 << 18, 8192)).toBeGreaterThanOrEqual((1 << 18) / 2);
}, 60_000);

test("of 1,000 streams none is below half when the first ends: fixed latencies", async () => {
  await using device = await simulatedDevice({
    size: MiB,
    faults: [{ operation: "read", latency: 1 }],
  });
  expect(await leastOf1000(device, 65_536, 8192)).toBeGreaterThanOrEqual(65_536 / 2);
}, 60_000);

test("4 KiB reads beside a copy at depth 32 wait for less than a window of it", async () => {
  await using device = await slowDevice(96 * MiB);
  const options = { length: 48 * MiB, targetOffset: 48 * MiB, concurrency: 32, sync: false };
  const waits = await waitsDuring(device, copy(device, device, options));
  // 96 MiB go by; a read that waited for all that is asked for would see 32 chunks.
  expect(waits.length).toBeGreaterThan(READERS * 8);
  expect(median(waits)).toBeLessThan(WINDOW_BYTES);
  expect(waits.at(-1)).toBeLessThan(2 * WINDOW_BYTES);
}, 60_000);

test("4 KiB reads beside a huge vector do not wait for it", async () => {
  await using device = await slowDevice(64 * MiB);
  const vector = Array.from({ length: 64 }, () => allocBuffer(MiB));
  const waits = await waitsDuring(device, device.readvAt(vector, 0));
  // It is counted when it settles: only the reads that end after it may have seen that.
  const behind = waits.filter((bytes) => bytes >= 64 * MiB);
  expect(behind.length).toBeLessThanOrEqual(READERS);
  expect(waits.length).toBeGreaterThan(READERS * 8);
}, 60_000);

testUnless(
  loopMissing ?? (faulty ? "exact only without faults" : undefined),
  "4 KiB reads beside a copy at depth 32 are not starved: a loop device",
  async () => {
    using folder = new Folder();
    using loop = new LoopDevice(folder.file("image", pattern(64 << 20)));
    await using device = await BlockDevice.open(loop.path);
    await using target = await File.open(folder.file("b"), { write: true, create: true });
    const copied = copy(device, target, { concurrency: 32, sync: false });
    const waits = await waitsDuring(device, copied);
    expect((await copied).prefix).toBe(64 << 20);
    // Of 128 MiB.
    expect(median(waits)).toBeLessThan(2 * WINDOW_BYTES);
  },
);
