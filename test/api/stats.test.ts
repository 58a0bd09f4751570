// `ring.stats()`: counters, and latencies within the promised width.

import { expect, test } from "bun:test";
import { allocBuffer, File, type LatencyHistogram, Ring } from "../../src/index.ts";
import { describeUnless } from "../support/conditions.ts";
import {
  blockingRead,
  blockingReadMissing,
  blockingTest,
  Folder,
  letGoUntilSettled,
  openBlocking,
  pattern,
  rejection,
  ScopedAbort,
  until,
  untilBlocked,
} from "../support/control.ts";

function sum(histogram: LatencyHistogram): number {
  return histogram.buckets().reduce((total, bucket) => total + bucket.count, 0);
}

test("a fresh ring has done nothing", async () => {
  await using ring = Ring.open();
  const { latency, ...counts } = ring.stats();
  for (const [name, count] of Object.entries(counts)) expect([name, count]).toEqual([name, 0]);
  for (const histogram of Object.values(latency)) {
    expect(histogram.count).toBe(0);
    expect(histogram.buckets()).toEqual([]);
    expect(histogram.percentile(0.5)).toBe(0);
  }
});

test("every operation is counted under its kind, with its bytes", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  const file = await File.open(folder.file("a", pattern(10_000)), { write: true, ring });
  await file.readAt(allocBuffer(4096), 0);
  await file.readAt(new Uint8Array(4096), 8192);
  await file.writeAt(new Uint8Array(1000), 0);
  await file.writevAt([allocBuffer(10), allocBuffer(20)], 0);
  await file.syncAll();
  await file.syncData();
  await file.truncate(5);
  await rejection(file.allocate(0, Number.MAX_SAFE_INTEGER));
  await file.close();
  const stats = ring.stats();
  expect(stats).toMatchObject({
    reads: 2,
    bytesRead: 4096 + 1808,
    writes: 2,
    bytesWritten: 1030,
    syncs: 2,
    others: 4, // open, truncate, allocate, close
    completions: 10,
    failures: 1,
    canceled: 0,
    inFlight: 0,
  });
  expect(stats.latency.read.count).toBe(2);
  expect(stats.latency.write.count).toBe(2);
  expect(stats.latency.sync.count).toBe(2);
  expect(stats.latency.other.count).toBe(4);
  expect(stats.flushes).toBeGreaterThanOrEqual(10);
  expect(stats.systemCalls).toBeGreaterThanOrEqual(10);
  expect(stats.inKernelPeak).toBe(1);
});

test("what is returned does not change later", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using file = await File.open(folder.file("a", pattern(100)), { ring });
  const before = ring.stats();
  await file.readAt(new Uint8Array(10), 0);
  expect(before.reads).toBe(0);
  expect(before.latency.read.count).toBe(0);
  expect(ring.stats().latency.read.count).toBe(1);
});

test("in flight and the peak in the kernel follow the queue depth", async () => {
  using folder = new Folder();
  await using ring = Ring.open({ queueDepth: 4 });
  await using file = await File.open(folder.file("a", pattern(10_000)), { ring });
  const reads = Array.from({ length: 100 }, (_, i) => file.readAt(allocBuffer(64), i));
  expect(ring.stats().inFlight).toBe(100);
  await Promise.all(reads);
  expect(ring.stats().inFlight).toBe(0);
  expect(ring.stats().inKernelPeak).toBeLessThanOrEqual(4);
});

test("percentiles and buckets agree", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using file = await File.open(folder.file("a", pattern(10_000)), { ring });
  const buffer = allocBuffer(512);
  for (let i = 0; i < 2000; i++) await file.readAt(buffer, i);
  const { read } = ring.stats().latency;
  expect(read.count).toBe(2000);
  expect(sum(read)).toBe(2000);
  const buckets = read.buckets();
  for (let i = 1; i < buckets.length; i++) {
    expect(buckets[i]?.upTo).toBeGreaterThan(buckets[i - 1]?.upTo ?? 0);
  }
  let last = 0;
  for (const share of [0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1]) {
    const value = read.percentile(share);
    expect(value).toBeGreaterThanOrEqual(last);
    expect(buckets.some((bucket) => bucket.upTo === value)).toBe(true);
    last = value;
  }
  expect(read.percentile(1)).toBe(buckets.at(-1)?.upTo ?? 0);
});

describeUnless(blockingReadMissing, "with a read that blocks in the kernel", () => {
  blockingTest("a latency that is known is told at most an eighth too high", async () => {
    await using ring = Ring.open();
    await using file = await openBlocking(ring);
    const started = performance.now();
    const read = blockingRead(file, allocBuffer(1 << 20), { timeout: 80 });
    const ended = rejection(read);
    await until(() => ring.stats().cancelRequests === 1);
    await letGoUntilSettled(ended);
    const ms = performance.now() - started;
    const { latency, canceled, cancelRequests } = ring.stats();
    expect(canceled).toBe(1);
    expect(cancelRequests).toBe(1);
    const told = latency.read.percentile(1) / 1000;
    expect(told).toBeGreaterThanOrEqual(79);
    expect(told).toBeLessThanOrEqual(ms * 1.125 + 1);
  });

  blockingTest("so is that of an operation that was cancelled in the queue", async () => {
    using folder = new Folder();
    await using ring = Ring.open({ queueDepth: 1 });
    await using blocking = await openBlocking(ring);
    await using file = await File.open(folder.file("a", "x"), { write: true, ring });
    using controller = new ScopedAbort();
    const { signal } = controller;
    const blocker = rejection(blockingRead(blocking, allocBuffer(1 << 20), { signal }));
    await untilBlocked();
    // Somebody else's log message lets the queue move on: then once more.
    const data = new Uint8Array(1);
    let code: unknown;
    for (let i = 0; i < 10 && code === undefined; i++) {
      code = await file.writeAt(data, 0, { timeout: 60 }).then(
        () => undefined,
        (error) => error.code,
      );
    }
    const latency = ring.stats().latency.write.percentile(1);
    controller.abort();
    await letGoUntilSettled(blocker);
    expect(code).toBe("ERR_TIMEOUT");
    expect(latency).toBeGreaterThanOrEqual(55_000);
  });
});
