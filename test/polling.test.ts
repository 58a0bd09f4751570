// src/polling.ts: when a ring looks for completions by itself, and when it lets itself be told.

import { describe, expect, test } from "bun:test";
import { allocBuffer, BlockDevice, File, Ring } from "../src/index.ts";
import { Polling } from "../src/polling.ts";
import { imageDevice, simulatedDevice } from "../src/testing/index.ts";
import { noFaultFree, noIoUring, testUnless } from "./support/conditions.ts";
import {
  blockingRead,
  blockingReadMissing,
  openBlocking,
  rejection,
  ScopedAbort,
  sleep,
  unlessOthersLog,
} from "./support/control.ts";
import { TempDir } from "./support/temp.ts";

describe("whether it pays", () => {
  /** Looks until it gives up, `ms` apart. Returns how many looks that took. */
  function giveUp(polling: Polling, now: number, ms = 0.01): number {
    polling.started(now);
    let looks = 1;
    for (; !polling.isOver(now); looks++) now += ms;
    polling.failed();
    return looks;
  }

  test("it begins with looking, for as long as was asked for", () => {
    const polling = new Polling(50);
    expect(polling.wants(1)).toBe(true);
    expect(giveUp(polling, 1000, 0.0125)).toBe(5);
    expect(polling.wants(1)).toBe(false);
  });

  test("0 is never", () => {
    const polling = new Polling(0);
    expect(polling.wants(1)).toBe(false);
    for (let i = 0; i < 100; i++) polling.rang(0);
    expect(polling.wants(1)).toBe(false);
  });

  test("not for many operations at once", () => {
    const polling = new Polling(50);
    expect(polling.wants(8)).toBe(true);
    expect(polling.wants(9)).toBe(false);
  });

  test("answers that are told of soon bring it back, late ones do not", () => {
    const polling = new Polling(50);
    giveUp(polling, 0);
    polling.started(1);
    polling.rang(1.07);
    expect(polling.wants(1)).toBe(false);
    for (let i = 0; i < 100; i++) {
      polling.started(i + 2);
      polling.rang(i + 2.08);
    }
    expect(polling.wants(1)).toBe(false);
    polling.started(200);
    polling.rang(200.07);
    expect(polling.wants(1)).toBe(true);
  });

  test("each failure in a row makes it rarer", () => {
    const polling = new Polling(50);
    const needed: number[] = [];
    for (let i = 0; i < 8; i++) {
      giveUp(polling, i);
      let rings = 0;
      for (; !polling.wants(1); rings++) {
        polling.started(i);
        polling.rang(i + 0.01);
      }
      needed.push(rings);
    }
    expect(needed).toEqual([2, 4, 8, 16, 32, 64, 64, 64]);
    polling.found(10);
    polling.found(10);
    giveUp(polling, 11);
    expect(polling.wants(1)).toBe(true);
  });

  test("after any luck three failures are the end", () => {
    const polling = new Polling(50);
    for (let i = 0; i < 1000; i++) polling.found(i);
    let failures = 0;
    for (; polling.wants(1); failures++) giveUp(polling, failures);
    expect(failures).toBe(3);
  });
});

test("a ring looks, and with pollMicroseconds: 0 it does not", async () => {
  using dir = new TempDir();
  const path = dir.file("a", "0123456789");
  for (const [pollMicroseconds, least, most] of [
    [undefined, 1, Infinity],
    [1000, 1, Infinity],
    [0, 0, 0],
  ] as const) {
    await using ring = Ring.open({ pollMicroseconds });
    await using file = await File.open(path, { ring });
    const data = new Uint8Array(10);
    await file.readExactAt(data, 0);
    // A thread may be done before the flush is: then there is nothing to look for.
    for (let i = 0; i < 1000 && ring.stats().polls < least; i++) await file.stat();
    for (let i = 0; i < 10; i++) await file.stat();
    expect(data.toString()).toBe([48, 49, 50, 51, 52, 53, 54, 55, 56, 57].toString());
    const { polls, inFlight } = ring.stats();
    expect(polls).toBeGreaterThanOrEqual(least);
    expect(polls).toBeLessThanOrEqual(most);
    expect(inFlight).toBe(0);
  }
});

test("a simulated device keeps its own time", async () => {
  await using device = await simulatedDevice({
    size: 65_536,
    faults: [{ operation: "read", latency: 2 }],
  });
  await device.readExactAt(allocBuffer(512), 0);
  expect(device.ring.stats().polls).toBe(0);
});

testUnless(
  imageDevice.unavailable() ?? noFaultFree,
  "promise 9: timers have their turns while a ring looks",
  async () => {
    await using device = await imageDevice({ size: 2 ** 20 });
    await using ring = Ring.open({ pollMicroseconds: 1000 });
    await using file = await BlockDevice.open(device.path as string, { ring });
    const buffer = allocBuffer(4096);
    let ticks = 0;
    let immediates = 0;
    const timer = setInterval(() => ticks++, 2);
    const turn = (): void => {
      immediates++;
      if (!done) setImmediate(turn);
    };
    let done = false;
    const before = ring.stats().polls;
    setImmediate(turn);
    const until = performance.now() + 200;
    let reads = 0;
    for (; performance.now() < until; reads++) await file.readExactAt(buffer, (reads % 256) * 4096);
    done = true;
    clearInterval(timer);
    const polls = ring.stats().polls - before;
    expect(polls).toBeGreaterThan(0);
    expect(ticks).toBeGreaterThan(20);
    // One look a turn: others have as many.
    expect(immediates).toBeGreaterThanOrEqual(polls - 2);
  },
);

testUnless(
  noIoUring ?? blockingReadMissing,
  "what takes long is not looked for in vain again and again",
  () =>
    unlessOthersLog(async () => {
      await using ring = Ring.open();
      await using file = await openBlocking(ring);
      const readInVain = async (): Promise<void> => {
        using controller = new ScopedAbort();
        const read = blockingRead(file, allocBuffer(1 << 20), { signal: controller.signal });
        await sleep(3);
        controller.abort();
        await rejection(read);
      };
      for (let i = 0; i < 10; i++) await readInVain();
      const { polls } = ring.stats();
      expect(polls).toBeGreaterThan(0);
      for (let i = 0; i < 10; i++) await readInVain();
      expect(ring.stats().polls).toBe(polls);
    }),
);
