// Nobody waits for long because of others: streams beside streams, small reads beside copies and huge
// vectors. On a simulated device every request takes the same time, so that what is measured is the
// library's own queueing; a loop device shows what is left of it on a real one.

import { expect, test } from "bun:test";
import { allocBuffer, BlockDevice, copy, File } from "../src/index.ts";
import { type SimulatedDevice, simulatedDevice } from "../src/testing/index.ts";
import { faulty, testUnless } from "./support/conditions.ts";
import { Folder, LoopDevice, loopMissing, pattern, sleep } from "./support/control.ts";

/** Of every request; long beside what a busy machine adds (12 ms, with six programs for each processor). */
const LATENCY_MS = 60;
const MiB = 2 ** 20;

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

/** How long 4 KiB reads take, in ms, sorted: one begins every 2 ms while `work` runs. */
async function latenciesDuring(device: File, work: Promise<unknown>): Promise<number[]> {
  let working = true;
  const ended = work.finally(() => {
    working = false;
  });
  const latencies: number[] = [];
  const reads: Promise<unknown>[] = [];
  for (let i = 0; working; i++) {
    const started = performance.now();
    const read = device.readAt(allocBuffer(4096), ((i * 7919) % 4096) * 4096);
    reads.push(read.then(() => latencies.push(performance.now() - started)));
    await sleep(2);
  }
  await Promise.all([ended, ...reads]);
  return latencies.sort((a, b) => a - b);
}

/** p99 under 10 times the idle one; and most wait for nobody at all: one request in front would make it twice. */
function expectFair(busy: readonly number[], idle: readonly number[]): void {
  expect(busy.length).toBeGreaterThan(20);
  expect(p99(busy)).toBeLessThan(10 * p99(idle));
  expect(median(busy)).toBeLessThan(1.5 * median(idle));
}

function median(sorted: readonly number[]): number {
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function p99(sorted: readonly number[]): number {
  return sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
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

test("4 KiB reads beside a copy at depth 32 take less than 10 times as long as alone", async () => {
  await using device = await slowDevice(96 * MiB);
  const idle = await latenciesDuring(device, sleep(200));
  expect(idle[0]).toBeGreaterThanOrEqual(LATENCY_MS - 1);
  const options = { length: 48 * MiB, targetOffset: 48 * MiB, concurrency: 32, sync: false };
  const busy = await latenciesDuring(device, copy(device, device, options));
  expectFair(busy, idle);
}, 60_000);

test("4 KiB reads beside a huge vector take less than 10 times as long as alone", async () => {
  await using device = await slowDevice(64 * MiB);
  const idle = await latenciesDuring(device, sleep(200));
  const vector = Array.from({ length: 64 }, () => allocBuffer(MiB));
  const busy = await latenciesDuring(device, device.readvAt(vector, 0));
  expectFair(busy, idle);
}, 60_000);

testUnless(
  loopMissing ?? (faulty ? "exact only without faults" : undefined),
  "4 KiB reads beside a copy at depth 32 are not starved: a loop device",
  async () => {
    using folder = new Folder();
    const image = folder.file("image", pattern(64 << 20));
    using loop = new LoopDevice(image);
    await using device = await BlockDevice.open(loop.path);
    await using target = await File.open(folder.file("b"), { write: true, create: true });
    const buffer = allocBuffer(4096);
    const latencies: number[] = [];
    let copying = true;
    const copied = copy(device, target, { concurrency: 32, sync: false }).finally(() => {
      copying = false;
    });
    for (let i = 0; copying; i++) {
      const started = performance.now();
      await device.readAt(buffer, ((i * 7919) % 8192) * 4096);
      latencies.push(performance.now() - started);
    }
    const { prefix, durationMs } = await copied;
    expect(prefix).toBe(64 << 20);
    // Never more than about four chunks of 64 are before a read.
    latencies.sort((a, b) => a - b);
    expect(latencies[Math.floor(latencies.length / 2)]).toBeLessThan(durationMs / 6);
  },
);
