// Promise 6: all operations of one turn of the event loop reach the kernel in one native flush. Also what `stats()`
// reports.

import { expect, test } from "bun:test";
import { allocBuffer, File, Ring, type RingStats } from "../../src/index.ts";
import { noFaultFree, noIoUring, testUnless } from "../support/conditions.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

async function during(ring: Ring, run: () => Promise<unknown>): Promise<Record<string, number>> {
  await turn();
  const before = ring.stats();
  await run();
  const after = ring.stats();
  const out: Record<string, number> = {};
  for (const [name, value] of Object.entries(after)) {
    if (typeof value === "number") out[name] = value - Number(before[name as keyof RingStats]);
  }
  return out;
}

test("promise 6: 64 calls of one turn are one flush", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  await using file = await File.open(dir.file("source", pattern(65_536)), { ring });
  const buffers = Array.from({ length: 64 }, () => allocBuffer(1024));
  const delta = await during(ring, () =>
    Promise.all(buffers.map((buffer, i) => file.readAt(buffer, i * 1024))),
  );
  expect(delta["reads"]).toBe(64);
  expect(delta["completions"]).toBe(64);
  expect(delta["bytesRead"]).toBe(65_536);
  expect(delta["flushes"]).toBe(1);
});

testUnless(
  noIoUring ?? noFaultFree,
  "promise 6: and one io_uring_enter, up to the window",
  async () => {
    using dir = new TempDir();
    await using ring = Ring.open({ queueDepth: 128 });
    await using file = await File.open(dir.file("source", pattern(65_536)), { ring });
    const view = new Uint8Array(65_536);
    const read = (count: number): Promise<unknown> =>
      Promise.all(Array.from({ length: count }, (_, i) => file.readAt(view.subarray(i, i + 1), i)));
    for (const count of [1, 2, 64, 128]) {
      const delta = await during(ring, () => read(count));
      expect([delta["flushes"], delta["submitCalls"]]).toEqual([1, 1]);
    }
    const beyond = await during(ring, () => read(129));
    expect(beyond["flushes"]).toBe(1);
    expect(beyond["submitCalls"]).toBe(2);
  },
);

test("promise 6: calls of many functions and files join the same flush", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  await using one = await File.open(dir.file("one", pattern(1000)), { write: true, ring });
  await using two = await File.open(dir.file("two", pattern(1000)), { write: true, ring });
  await turn();
  const part = async (file: File): Promise<number> => file.readAt(new Uint8Array(10), 0);
  const delta = await during(ring, () =>
    Promise.all([
      part(one),
      part(two),
      one.writeAt(new Uint8Array(5), 0),
      two.syncData(),
      one.size(),
    ]),
  );
  expect(delta["flushes"]).toBe(1);
  expect(delta).toMatchObject({ reads: 2, writes: 1, syncs: 1, others: 1 });
});

test("stats count bytes, failures and latencies", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  await using file = await File.open(dir.file("source", pattern(1000)), { ring });
  const start = ring.stats();
  expect(start.others).toBe(1);
  expect(start.latency.other.count).toBe(1);
  await file.readAt(new Uint8Array(600), 0);
  await file.readAt(new Uint8Array(600), 600);
  await file.writeAt(new Uint8Array(1), 0).catch(() => {});
  const stats = ring.stats();
  expect(stats.bytesRead).toBe(1000);
  expect(stats.bytesWritten).toBe(0);
  expect(stats.failures).toBe(1);
  expect(stats.latency.read.count).toBe(2);
  expect(stats.latency.write.count).toBe(1);
  const { read } = stats.latency;
  expect(read.percentile(0.5)).toBeGreaterThan(0);
  expect(read.percentile(1)).toBeGreaterThanOrEqual(read.percentile(0.5));
  expect(read.buckets().reduce((sum, bucket) => sum + bucket.count, 0)).toBe(2);
  expect(stats.latency.sync.percentile(0.5)).toBe(0);
  // A copy: it does not change later.
  await file.readAt(new Uint8Array(1), 0);
  expect(stats.reads).toBe(2);
  expect(stats.latency.read.count).toBe(2);
});

test("stats can be read after close", async () => {
  const ring = Ring.open();
  await ring.close();
  expect(ring.stats()).toMatchObject({ inFlight: 0, completions: 0 });
});
