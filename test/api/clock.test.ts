// `jest.useFakeTimers()` stops every clock and timer of JavaScript, including setTimeout, performance.now and
// Bun.nanoseconds. The kernel and the library must continue.

import { afterEach, beforeEach, describe, expect, jest, test } from "bun:test";
import { allocBuffer, BufferPool, type CopyProgress, copy, File, Ring } from "../../src/index.ts";
import { simulatedDevice, trackLeaks } from "../../src/testing/index.ts";
import { pattern } from "../support/control.ts";
import { ioError, rejection } from "../support/expect.ts";
import { TempDir } from "../support/temp.ts";

/** Turns of the event loop, until `done`. */
async function turnsUntil(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setImmediate(resolve));
}

describe("under fake timers", () => {
  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  test("a latency rule takes its time and ends, in the order of the times due", async () => {
    await using device = await simulatedDevice({
      size: 4096,
      faults: [
        { operation: "read", offset: 0, length: 512, latency: 40 },
        { operation: "read", offset: 512, length: 512, latency: 10 },
        { operation: "sync", latency: 5 },
      ],
    });
    const order: string[] = [];
    const read = (offset: number, name: string): Promise<unknown> =>
      device.readAt(new Uint8Array(512), offset).then(() => order.push(name));
    await Promise.all([read(0, "slow"), read(512, "middle"), read(1024, "fast")]);
    expect(order).toEqual(["fast", "middle", "slow"]);
    await device.writeAt(allocBuffer(512), 0);
    await device.syncAll();
    // As the ring measured it.
    expect(device.ring.stats().latency.read.percentile(1)).toBeGreaterThan(39);
  });

  test("timeouts are of real time, in the kernel and in the queue for a neighbour's lock", async () => {
    await using device = await simulatedDevice({
      size: 4096,
      unalignedWrites: "rmw",
      faults: [{ operation: "read", latency: 60_000, times: 2 }],
    });
    await ioError(device.readAt(allocBuffer(512), 0, { timeout: 20 }), "ERR_TIMEOUT");
    // Reads what is around it first.
    const controller = new AbortController();
    const holder = device.writeAt(new Uint8Array(7), 5, { signal: controller.signal });
    const waiting = [20, 10].map((timeout) => device.writeAt(new Uint8Array(7), 50, { timeout }));
    await Promise.all(waiting.map((write) => ioError(write, "ERR_TIMEOUT")));
    controller.abort();
    await ioError(holder, "ABORT_ERR");
    expect(await device.readAt(allocBuffer(512), 0, { timeout: 60_000 })).toBe(512);
  });

  test("a clock that is moved on by a test moves no timeout", async () => {
    await using device = await simulatedDevice({
      size: 4096,
      faults: [{ operation: "read", latency: 30 }],
    });
    const reading = device.readAt(allocBuffer(512), 0, { timeout: 30_000 });
    jest.advanceTimersByTime(60_000);
    expect(await reading).toBe(512);
  });

  test("everything a file does", async () => {
    using dir = new TempDir();
    const data = pattern(3 * 2 ** 20 + 77);
    await using ring = Ring.open();
    const file = await File.open(dir.file("x"), { write: true, create: true, ring });
    const parts = Array.from({ length: 64 }, (_, i) => data.subarray(i * 50_000, (i + 1) * 50_000));
    await Promise.all(parts.map((part, i) => file.writeAt(part, i * 50_000)));
    await file.syncAll({ timeout: 60_000 });
    await file.invalidateCache();
    const back = new Uint8Array(data.byteLength);
    await file.readAt(back, 0, { timeout: 60_000 });
    expect(Buffer.compare(back.subarray(0, 3_000_000), data.subarray(0, 3_000_000))).toBe(0);
    await file.truncate(10);
    expect((await file.stat()).size).toBe(10);
    await file.close();
  });

  test("a copy is verified, tells its progress on the way and how long it took", async () => {
    await using source = await simulatedDevice({
      size: 16 * 2 ** 20,
      faults: [{ operation: "read", latency: 40 }],
    });
    using dir = new TempDir();
    await using target = await File.open(dir.file("x"), { write: true, create: true });
    const told: CopyProgress[] = [];
    const options = { verify: true, concurrency: 1, onProgress: (p: CopyProgress) => told.push(p) };
    const result = await copy(source, target, options);
    expect(result).toMatchObject({ bytesCopied: 16 * 2 ** 20, verified: true });
    expect(result.durationMs).toBeGreaterThan((8 * 39) / 2);
    // At the end of each phase it is told in any case.
    expect(told.filter(({ phase }) => phase === "copy").length).toBeGreaterThan(1);
  });

  test("a pool is waited for, and leaks are found", async () => {
    const leaks = trackLeaks();
    const pool = new BufferPool({ size: 4096, count: 1 });
    const held = await pool.acquire();
    const next = pool.acquire();
    pool.release(held);
    const lease = await next;
    const error = await rejection(Promise.resolve(leaks[Symbol.asyncDispose]()));
    expect(error.code).toBe("ERR_LEAKS");
    pool.release(lease);
    pool[Symbol.dispose]();
  });

  test("what began before is finished under it, and what begins under it without", async () => {
    jest.useRealTimers();
    const rule = { operation: "read", latency: 30 } as const;
    await using device = await simulatedDevice({ size: 4096, faults: [rule] });
    const before = device.readAt(allocBuffer(512), 0);
    await turnsUntil(() => device.ring.stats().inFlight === 1);
    jest.useFakeTimers();
    expect(await before).toBe(512);
    const within = device.readAt(allocBuffer(512), 0);
    await turnsUntil(() => device.ring.stats().inFlight === 1);
    jest.useRealTimers();
    expect(await within).toBe(512);
  });
});
