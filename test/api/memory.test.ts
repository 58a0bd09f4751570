// Promise 3: a buffer belongs to the kernel until the promise settles, and never afterwards, whatever happens to
// the view meanwhile: collected, transferred, shrunk, grown.

import { expect, test } from "bun:test";
import { getEventListeners } from "node:events";
import fs from "node:fs";
import { allocBuffer, BufferPool, File, Ring } from "../../src/index.ts";
import { simulatedDevice } from "../../src/testing/index.ts";
import { noLinux, testUnless, times } from "../support/conditions.ts";
import { descriptorsBelow } from "../support/descriptors.ts";
import { ioError, rejection } from "../support/expect.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const KiB = 1024;
const content = pattern(256 * KiB);

async function source(dir: TempDir): Promise<File> {
  return File.open(dir.file("source", content), { write: true });
}

function expectContent(data: Uint8Array, offset: number): void {
  expect(Buffer.compare(data, content.subarray(offset, offset + data.length))).toBe(0);
}

test("garbage collection while operations run takes no buffer away", async () => {
  using dir = new TempDir();
  await using file = await source(dir);
  for (let round = 0; round < times(30); round++) {
    const sums: Promise<number>[] = [];
    for (let i = 0; i < 64; i++) {
      const length = [100, 1000, 4096, 70_000][i % 4] ?? 1;
      const offset = (i * 1777) % 180_000;
      // Nobody keeps these views but the operation.
      const data = i % 2 === 0 ? new Uint8Array(length) : allocBuffer(length);
      const reading = file.readAt(data, offset);
      const weak = new WeakRef(data);
      sums.push(
        reading.then((count) => {
          const alive = weak.deref();
          if (alive !== undefined) expectContent(alive, offset);
          return count;
        }),
      );
      sums.push(file.writeAt(content.slice(offset, offset + length), offset));
    }
    Bun.gc(true);
    const garbage = Array.from({ length: 100 }, () => new Uint8Array(4096).fill(0xee));
    await Promise.all(sums);
    expect(garbage.every((bytes) => bytes.every((byte) => byte === 0xee))).toBe(true);
  }
  expect(Buffer.compare(fs.readFileSync(dir.file("source")), content)).toBe(0);
});

test("small views, which the collector may move, get their bytes", async () => {
  using dir = new TempDir();
  await using file = await source(dir);
  const reads: Promise<number>[] = [];
  const views: Uint8Array[] = [];
  for (let i = 0; i < 2000; i++) {
    // At most 1000 bytes: they live in the heap of the collector until `.buffer` is touched.
    const view = new Uint8Array(1 + (i % 1000));
    views.push(view);
    reads.push(file.readAt(view, i));
    if (i % 500 === 0) Bun.gc(true);
  }
  Bun.gc(true);
  await Promise.all(reads);
  for (const [i, view] of views.entries()) expectContent(view, i);
});

for (const kind of ["foreign", "native"] as const) {
  const make = (length: number): Uint8Array<ArrayBuffer> =>
    kind === "native" ? allocBuffer(length) : new Uint8Array(length);

  for (const after of ["at once", "after the flush"] as const) {
    for (const size of ["the same size", "another size", "none, by structuredClone"] as const) {
      test(`${kind} memory transferred ${after}, ${size}: the read rejects and nothing else changes`, async () => {
        using dir = new TempDir();
        await using file = await source(dir);
        const data = make(64 * KiB).fill(0x55);
        const reading = file.readAt(data, 0);
        const vector = file.readvAt([data.subarray(0, 100), data.subarray(100, 200)], 0);
        reading.catch(() => {});
        vector.catch(() => {});
        if (after === "after the flush") await Promise.resolve();
        const moved =
          size === "the same size"
            ? data.buffer.transfer()
            : size === "another size"
              ? data.buffer.transfer(100)
              : structuredClone(data.buffer, { transfer: [data.buffer] });
        const outcomes = await Promise.allSettled([reading, vector]);
        for (const outcome of outcomes) {
          // Inline completions settle before any of this.
          if (outcome.status === "fulfilled") continue;
          expect(outcome.reason.code).toBe("ERR_BUFFER_DETACHED");
          expect(outcome.reason.message).toContain("was transferred or has shrunk");
          expect(outcome.reason.hint).toContain("Do not transfer or shrink the buffer");
          expect(outcome.reason.path).toBe(dir.file("source"));
        }
        if (after === "at once") {
          expect(outcomes.map((outcome) => outcome.status)).toEqual(["rejected", "rejected"]);
          expect(new Uint8Array(moved).every((byte) => byte === 0x55)).toBe(true);
        }
        // The ring goes on.
        const again = make(1000);
        expect(await file.readAt(again, 5)).toBe(1000);
        expectContent(again, 5);
      });
    }
  }

  test(`${kind} memory transferred at once: the write rejects and writes nothing`, async () => {
    using dir = new TempDir();
    await using file = await source(dir);
    const data = make(8 * KiB).fill(0x55);
    const writes = [file.writeAt(data, 0), file.writevAt([data], 10_000)];
    data.buffer.transfer();
    for (const writing of writes) {
      const error = await ioError(writing, "ERR_BUFFER_DETACHED");
      expect(error).toMatchObject({ path: dir.file("source"), transferred: 0 });
    }
    expect(Buffer.compare(fs.readFileSync(dir.file("source")), content)).toBe(0);
  });

  test(`${kind} memory of no bytes, detached in flight, settles`, async () => {
    using dir = new TempDir();
    await using file = await source(dir);
    const buffer = make(8).buffer;
    const view = new Uint8Array(buffer, 4, 0);
    const outcomes = [
      file.readAt(view, 0),
      file.writeAt(view, 0),
      file.readvAt([view], 0),
      file.writevAt([view], 0),
    ].map((call) => call.catch((error) => error.code));
    buffer.transfer();
    for (const outcome of await Promise.all(outcomes))
      expect([0, "ERR_BUFFER_DETACHED"]).toContain(outcome);
    expect(await file.readAt(make(1), 0)).toBe(1);
  });
}

test("a write's memory may be transferred once the kernel has it", async () => {
  using dir = new TempDir();
  await using file = await source(dir);
  for (const make of [allocBuffer, (size: number) => new Uint8Array(size)]) {
    const data = make(2 << 20).fill(0x41);
    const vector = make(2 << 20).fill(0x42);
    const writes = [file.writeAt(data, 0), file.writevAt([vector], 2 << 20)];
    await Promise.resolve();
    await Promise.resolve();
    for (const moved of [data, vector]) moved.buffer.transfer(10);
    // Each part that goes later finds the memory gone; what was taken is written as it was.
    for (const outcome of await Promise.allSettled(writes)) {
      if (outcome.status === "rejected") expect(outcome.reason.code).toBe("ERR_BUFFER_DETACHED");
    }
    const written = fs.readFileSync(dir.file("source"));
    expect(
      written
        .subarray(0, 2 << 20)
        .every((byte, i) => byte === 0x41 || byte === content[i] || byte === 0),
    ).toBe(true);
  }
});

test("a resizable buffer that shrinks in flight rejects, one that grows does not matter", async () => {
  using dir = new TempDir();
  await using file = await source(dir);
  const shrinking = new ArrayBuffer(64 * KiB, { maxByteLength: 128 * KiB });
  const part = new Uint8Array(shrinking, 0, 1000);
  const late = new Uint8Array(shrinking, 60_000, 1000);
  const tracking = new Uint8Array(shrinking, 100);
  const calls = [
    file.readAt(shrinking, 0),
    file.readAt(late, 0),
    file.readAt(tracking, 0),
    file.writeAt(late, 0),
    file.readvAt([part, late], 0),
    file.writevAt([part, late], 0),
  ].map((call) => call.catch((error) => error.code));
  const fine = file.readAt(part, 0);
  shrinking.resize(2000);
  expect(await Promise.all(calls)).toEqual(Array(6).fill("ERR_BUFFER_DETACHED"));
  expect(await fine).toBe(1000);
  expectContent(part, 0);
  const end = file.readAt(new Uint8Array(shrinking), content.length - 10);
  shrinking.resize(1000);
  expect(await rejection(end)).toMatchObject({ code: "ERR_BUFFER_DETACHED" });
  const growing = new ArrayBuffer(1000, { maxByteLength: 64 * KiB });
  const whole = new Uint8Array(growing);
  const reading = [file.readAt(whole, 7), file.readvAt([whole], 7)];
  growing.resize(64 * KiB);
  expect(await Promise.all(reading)).toEqual([1000, 1000]);
  expectContent(whole.subarray(0, 1000), 7);
  expect(whole.subarray(1000).every((byte) => byte === 0)).toBe(true);
});

test("a shared buffer may grow in flight", async () => {
  using dir = new TempDir();
  await using file = await source(dir);
  const shared = new SharedArrayBuffer(4 * KiB, { maxByteLength: 64 * KiB });
  const reading = [file.readAt(shared, 3), file.readAt(new Uint8Array(shared), 3)];
  shared.grow(64 * KiB);
  expect(await Promise.all(reading)).toEqual([4 * KiB, 4 * KiB]);
  expectContent(new Uint8Array(shared, 0, 4 * KiB), 3);
});

test("WebAssembly memory that grows in flight rejects, and the new memory is untouched", async () => {
  using dir = new TempDir();
  await using file = await source(dir);
  const memory = new WebAssembly.Memory({ initial: 1 });
  const view = new Uint8Array(memory.buffer);
  const calls = [file.readAt(view, 0), file.readvAt([view], 0), file.writeAt(view, 0)].map((call) =>
    call.catch((error) => error.code),
  );
  memory.grow(16);
  expect(await Promise.all(calls)).toEqual(Array(3).fill("ERR_BUFFER_DETACHED"));
  expect(new Uint8Array(memory.buffer).every((byte) => byte === 0)).toBe(true);
  const grown = new Uint8Array(memory.buffer, 65_000, 4096);
  expect(await file.readAt(grown, 9)).toBe(4096);
  expectContent(grown, 9);
});

test("bytes outside the view are left alone", async () => {
  using dir = new TempDir();
  await using file = await source(dir);
  for (const buffer of [new ArrayBuffer(8 * KiB), allocBuffer(8 * KiB).buffer]) {
    const all = new Uint8Array(buffer).fill(0x77);
    expect(await file.readAt(new Uint8Array(buffer, 1001, 3000), 11)).toBe(3000);
    expectContent(all.subarray(1001, 4001), 11);
    expect(all.subarray(0, 1001).every((byte) => byte === 0x77)).toBe(true);
    expect(all.subarray(4001).every((byte) => byte === 0x77)).toBe(true);
  }
});

test("a foreign view's bytes are those at the end of the turn, not later ones", async () => {
  using dir = new TempDir();
  await using file = await source(dir);
  const data = new Uint8Array(4096).fill(1);
  const writing = file.writeAt(data, 0);
  await new Promise((resolve) => setImmediate(resolve));
  data.fill(2);
  await writing;
  const written = fs.readFileSync(dir.file("source")).subarray(0, 4096);
  expect(written.every((byte) => byte === 1)).toBe(true);
});

testUnless(noLinux, "a dropped File finishes its operations, closes and warns once", async () => {
  using dir = new TempDir();
  const warnings: Error[] = [];
  const listener = (warning: Error): void => {
    warnings.push(warning);
  };
  process.on("warning", listener);
  const path = dir.file("dropped");
  const writes: Promise<number>[] = [];
  // In a function of its own, so that no stack slot keeps a File.
  await (async () => {
    for (let i = 0; i < 20; i++) {
      const file = await File.open(`${path}${i}`, { write: true, create: true });
      writes.push(file.writeAt(content, 0), file.writevAt([content, content], content.length));
    }
  })();
  Bun.gc(true);
  for (const written of await Promise.all(writes))
    expect(written).toBeGreaterThanOrEqual(content.length);
  const deadline = performance.now() + 20_000;
  // A conservative collector may keep the last one or two for ever.
  while (descriptorsBelow(dir.path) > 3 && performance.now() < deadline) {
    Bun.gc(true);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(descriptorsBelow(dir.path)).toBeLessThanOrEqual(3);
  const ours = warnings.filter(
    (warning) => Reflect.get(warning, "code") === "BUN_AIO_UNCLOSED_FILE",
  );
  expect(ours.length).toBeLessThanOrEqual(1);
  process.off("warning", listener);
  expect(fs.statSync(`${path}0`).size).toBe(3 * content.length);
});

test("a buffer of the pool in a vector is not lent again before the vector settles", async () => {
  using dir = new TempDir();
  await using ring = Ring.open({ queueDepth: 1 });
  await using file = await File.open(dir.file("source", content), { ring });
  const pool = new BufferPool({ size: 4096, count: 2 });
  const a = await pool.acquire();
  const b = await pool.acquire();
  const reading = file.readvAt([a, b], 0);
  pool.release(a);
  b[Symbol.dispose]();
  expect(pool.available).toBe(0);
  let lent = false;
  const waiting = pool.acquire().then((lease) => {
    lent = true;
    return lease;
  });
  await Promise.resolve();
  expect(lent).toBe(false);
  expect(await reading).toBe(8192);
  const lease = await waiting;
  expect(lease.length).toBe(4096);
  pool.release(lease);
  expect(pool.available).toBe(2);
});

test("a buffer of the pool that was in flight is lent again", async () => {
  using dir = new TempDir();
  await using file = await source(dir);
  const pool = new BufferPool({ size: 4096, count: 1 });
  for (let round = 0; round < 3; round++) {
    const lease = await pool.acquire();
    expect(await file.readAt(lease, round)).toBe(4096);
    pool.release(lease);
    expect(pool.available).toBe(1);
  }
});

test("writes whose memory went away keep none of the ring's", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  await using file = await File.open(dir.file("out"), { write: true, create: true, ring });
  for (let round = 0; round < 20; round++) {
    const many = Array.from({ length: 9 }, () => new Uint8Array(3 << 20));
    const writes = many.map((data) => rejection(file.writeAt(data, 0)));
    // What waits behind them gets it, though nothing is in flight that would say so.
    const behind = file.writeAt(new Uint8Array(1 << 20), 0);
    for (const data of many) data.buffer.transfer();
    for (const write of writes) expect((await write).code).toBe("ERR_BUFFER_DETACHED");
    expect(await behind).toBe(1 << 20);
  }
  const blocks = Array.from({ length: 8 }, (_, index) => pattern(1 << 20, index));
  await Promise.all(blocks.map((block, index) => file.writeAt(block, index << 20)));
  await Promise.all(
    blocks.map(async (block, index) => {
      const data = new Uint8Array(1 << 20);
      await file.readExactAt(data, index << 20);
      expect(Buffer.compare(data, block)).toBe(0);
    }),
  );
});

test("a buffer of the pool is free at once, whatever is in flight on its neighbours", async () => {
  await using device = await simulatedDevice({ faults: [{ operation: "read", hang: true }] });
  const pool = new BufferPool({ size: 4096, count: 3 });
  const leases = await Promise.all([pool.acquire(), pool.acquire(), pool.acquire()]);
  const reading = rejection(device.readAt(leases[1] as Uint8Array, 0));
  pool.release(leases[0] as Uint8Array<ArrayBuffer>);
  pool.release(leases[2] as Uint8Array<ArrayBuffer>);
  expect(pool.available).toBe(2);
  await device.crash();
  await reading;
});

test("a signal that outlives its waits for a pool's buffer is left alone by them", async () => {
  const pool = new BufferPool({ size: 4096, count: 1 });
  const { signal } = new AbortController();
  const lease = await pool.acquire();
  const waiting = pool.acquire({ signal });
  expect(getEventListeners(signal, "abort")).toHaveLength(1);
  pool.release(lease);
  await waiting;
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
});

test("questions about a device do not wait for data that takes all of the bounce memory", async () => {
  await using device = await simulatedDevice({ faults: [{ operation: "read", hang: true }] });
  const reads = Array.from({ length: 8 }, (_, index) =>
    rejection(device.readAt(new Uint8Array(1 << 20), index << 20)),
  );
  expect(await device.size()).toBe(16 << 20);
  await device.crash();
  await Promise.all(reads);
});

test("a view that grows while it waits writes what it had, and into nobody else's bytes", async () => {
  using dir = new TempDir();
  // A ring of its own: which blocks lie beside each other depends on what came before.
  await using ring = Ring.open();
  await using file = await File.open(dir.file("grows"), { write: true, create: true, ring });
  const size = 4096;
  const blocks = 32;
  for (let round = 0; round < 8; round++) {
    const growing = new ArrayBuffer(size, { maxByteLength: 4 * size });
    const views = Array.from({ length: blocks }, (_, i) =>
      i === blocks / 2 ? new Uint8Array(growing) : new Uint8Array(size),
    );
    for (const [i, view] of views.entries()) view.fill(i + 1);
    const writes = views.map((view, i) => file.writeAt(view, i * size));
    growing.resize(4 * size);
    new Uint8Array(growing).fill(0xee, size);
    for (const written of await Promise.all(writes)) expect(written).toBe(size);
    const back = new Uint8Array(blocks * size);
    await file.readExactAt(back, 0);
    const wrong = back.findIndex((byte, at) => byte !== Math.floor(at / size) + 1);
    expect(`${round}: ${wrong}`).toBe(`${round}: -1`);
  }
});
