// Promises 1 and 2: every call settles exactly once, and a full kernel queue is handled by the library.

import { expect } from "bun:test";
import fs from "node:fs";
import { allocBuffer, File, Ring } from "../../src/index.ts";
import { testUnless, times } from "../support/conditions.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

testUnless(
  undefined,
  "promise 1: every call settles exactly once, whatever becomes of it",
  async () => {
    using dir = new TempDir();
    const path = dir.file("source", pattern(100_000));
    await using ring = Ring.open({ queueDepth: 4 });
    const file = await File.open(path, { write: true, ring });
    const readOnly = await File.open(path, { ring });
    const calls: Promise<unknown>[] = [];
    const settled: number[] = [];
    const note = (promise: Promise<unknown>): void => {
      const index = calls.push(promise) - 1;
      settled[index] = 0;
      const count = (): void => {
        settled[index] = (settled[index] ?? 0) + 1;
      };
      promise.then(count, count);
    };
    const controller = new AbortController();
    for (let i = 0; i < times(500); i++) {
      note(file.readAt(new Uint8Array(100), i));
      note(file.readAt(allocBuffer(100), 200_000));
      note(file.readExactAt(new Uint8Array(100), 99_990));
      note(readOnly.writeAt(new Uint8Array(1), 0));
      note(file.writeAt(new Uint8Array(10), 90_000 + i));
      note(file.readvAt([new Uint8Array(3), allocBuffer(3)], i));
      note(file.readAt(new Uint8Array(1), -1));
      note(file.readAt(new Uint8Array(10), 0, { signal: controller.signal }));
      note(file.readAt(new Uint8Array(10), 0, { timeout: 0 }));
      note(File.open(dir.file("missing"), { ring }));
      const moved = new Uint8Array(100);
      note(file.readAt(moved, 0));
      moved.buffer.transfer();
      if (i % 50 === 0) note(file.syncData());
    }
    controller.abort();
    note(file.close());
    note(readOnly.close());
    note(file.readAt(new Uint8Array(1), 0));
    await Promise.allSettled(calls);
    await ring.close();
    // Had anything settled twice or later, it would by now.
    await new Promise((resolve) => setImmediate(resolve));
    expect(settled.length).toBe(calls.length);
    expect(settled.every((count) => count === 1)).toBe(true);
    expect(ring.stats().inFlight).toBe(0);
    expect(ring.stats().staleEvents).toBe(0);
  },
);

for (const queueDepth of [1, 2, 16, 128, 4096]) {
  testUnless(
    undefined,
    `promise 2: twice the queue depth (${queueDepth}) of 4 KiB writes at once all succeed`,
    async () => {
      using dir = new TempDir();
      const path = dir.file("out");
      await using ring = Ring.open({ queueDepth });
      await using file = await File.open(path, { write: true, create: true, ring });
      const count = 2 * queueDepth;
      const buffers = Array.from({ length: count }, (_, i) =>
        (i % 2 === 0 ? new Uint8Array(4096) : allocBuffer(4096)).fill(i),
      );
      const writes = buffers.map((buffer, i) => file.writeAt(buffer, i * 4096));
      expect(await Promise.all(writes)).toEqual(Array(count).fill(4096));
      const written = fs.readFileSync(path);
      expect(written.length).toBe(count * 4096);
      for (let i = 0; i < count; i++) {
        const block = written.subarray(i * 4096, (i + 1) * 4096);
        if (Buffer.compare(block, buffers[i] ?? block.subarray(1)) !== 0)
          throw new Error(`block ${i}`);
      }
      expect(ring.stats().inKernelPeak).toBeLessThanOrEqual(queueDepth);
    },
  );
}

testUnless(
  undefined,
  "promise 2: 100,000 operations in flight at a queue depth of 128 all settle",
  async () => {
    using dir = new TempDir();
    const source = pattern(1 << 16);
    await using ring = Ring.open({ queueDepth: 128 });
    await using file = await File.open(dir.file("source", source), { write: true, ring });
    const count = 100_000;
    const foreign = new Uint8Array(count);
    const native = allocBuffer(count);
    const calls: Promise<number>[] = [];
    for (let i = 0; i < count; i++) {
      const buffer = i % 2 === 0 ? foreign : native;
      calls.push(file.readAt(buffer.subarray(i, i + 1), i & 0xffff));
    }
    expect(ring.stats().inFlight).toBe(count);
    let settled = 0;
    for (const call of calls) settled += await call;
    expect(settled).toBe(count);
    for (let i = 0; i < count; i++) {
      const got = (i % 2 === 0 ? foreign : native)[i];
      if (got !== source[i & 0xffff]) throw new Error(`operation ${i} read ${got}`);
    }
    const stats = ring.stats();
    expect(stats.reads).toBe(count);
    expect(stats.bytesRead).toBe(count);
    expect(stats.inFlight).toBe(0);
    expect(stats.inKernelPeak).toBeLessThanOrEqual(128);
  },
);

testUnless(
  undefined,
  "promise 2: more foreign memory in flight than the bounce memory holds",
  async () => {
    using dir = new TempDir();
    const MiB = 1 << 20;
    await using file = await File.open(dir.file("out"), { write: true, create: true });
    const blocks = Array.from({ length: 40 }, (_, i) => pattern(MiB, i * 7));
    expect(await Promise.all(blocks.map((block, i) => file.writeAt(block, i * MiB)))).toEqual(
      Array(40).fill(MiB),
    );
    // Vectors, opens and statistics want bounce memory as well.
    const vector = [new Uint8Array(3 * MiB), new Uint8Array(2 * MiB + 1)];
    const [, , size] = await Promise.all([
      file.readvAt(vector, 0),
      Promise.all(blocks.map((block, i) => file.readExactAt(block.fill(0), i * MiB))),
      file.size(),
    ]);
    expect(size).toBe(40 * MiB);
    blocks.forEach((block, i) => {
      expect(Buffer.compare(block, pattern(MiB, i * 7))).toBe(0);
    });
    expect(
      Buffer.compare(vector[0]?.subarray(MiB, 2 * MiB) ?? vector[1] ?? block0(), pattern(MiB, 7)),
    ).toBe(0);
  },
);

function block0(): Uint8Array {
  return new Uint8Array(0);
}

testUnless(undefined, "promise 1: close settles while thousands are in flight", async () => {
  using dir = new TempDir();
  const ring = Ring.open({ queueDepth: 8 });
  const file = await File.open(dir.file("out"), { write: true, create: true, ring });
  const writes = Array.from({ length: 3000 }, (_, i) => file.writeAt(new Uint8Array([i]), i));
  const closing = [ring.close(), file.close()];
  expect(await Promise.all(writes)).toEqual(Array(3000).fill(1));
  await Promise.all(closing);
  const written = fs.readFileSync(dir.file("out"));
  expect(written.every((byte, i) => byte === (i & 0xff))).toBe(true);
});
