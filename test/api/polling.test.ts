// src/ring/polling.ts: when a ring polls for completions, and when it sleeps on the wake descriptor.

import { describe, expect, test } from "bun:test";
import { allocBuffer, BlockDevice, File, Ring } from "../../src/index.ts";
import { Polling } from "../../src/ring/polling.ts";
import { imageDevice, simulatedDevice } from "../../src/testing/index.ts";
import { noFaultFree, noIoUring, testUnless } from "../support/conditions.ts";
import {
  blockingRead,
  blockingReadMissing,
  openBlocking,
  rejection,
  ScopedAbort,
  sleep,
} from "../support/control.ts";
import { TempDir } from "../support/temp.ts";

describe("whether it pays", () => {
  /** Hands `held` operations over. Returns whether they will be looked for. */
  function starts(polling: Polling, now: number, held = 1): boolean {
    const promised = polling.begin(now, held, held, false);
    polling.end(now, held, 0, false);
    return promised;
  }

  /** A look, or a call that a ring has caused. Returns whether another look follows. */
  function call(polling: Polling, now: number, settled: number, rang = false): boolean {
    const promised = polling.begin(now, 0, 1, rang);
    polling.end(now, 0, settled, rang);
    return promised;
  }

  /** Looks in vain until it gives up, `ms` apart. Returns how many looks that took. */
  function giveUp(polling: Polling, start: number, ms = 0.01): number {
    if (!starts(polling, start)) return 0;
    let looks = 1;
    for (let now = start + ms; call(polling, now, 0); now += ms) looks++;
    return looks;
  }

  test("it begins with looking, for as long as was asked for", () => {
    const polling = new Polling(50);
    expect(giveUp(polling, 1000, 0.0125)).toBe(4);
    expect(starts(polling, 1001)).toBe(false);
  });

  test("0 is never", () => {
    const polling = new Polling(0);
    expect(starts(polling, 0)).toBe(false);
    for (let i = 0; i < 100; i++) call(polling, 0, 1, true);
    expect(starts(polling, 0)).toBe(false);
  });

  test("not for many operations at once", () => {
    const polling = new Polling(50);
    expect(starts(polling, 0, 8)).toBe(true);
    expect(starts(polling, 0, 9)).toBe(false);
  });

  test("answers that are told of soon bring it back, late ones do not", () => {
    const polling = new Polling(50);
    giveUp(polling, 0);
    starts(polling, 1);
    call(polling, 1.07, 1, true);
    for (let i = 2; i < 100; i++) {
      expect(starts(polling, i)).toBe(false);
      call(polling, i + 0.08, 1, true);
    }
    expect(starts(polling, 200)).toBe(false);
    call(polling, 200.07, 1, true);
    expect(starts(polling, 201)).toBe(true);
  });

  test("each failure in a row makes it rarer", () => {
    const polling = new Polling(50);
    const needed: number[] = [];
    for (let i = 0; i < 8; i++) {
      expect(giveUp(polling, i)).toBeGreaterThan(0);
      let rings = 0;
      for (; !starts(polling, i + 0.5); rings++) call(polling, i + 0.51, 1, true);
      needed.push(rings);
    }
    expect(needed).toEqual([2, 4, 8, 16, 32, 64, 64, 64]);
    // A look that finds something is the end of the row.
    for (const now of [9, 10]) {
      starts(polling, now);
      call(polling, now + 0.01, 1);
    }
    giveUp(polling, 11);
    expect(starts(polling, 12)).toBe(true);
  });

  test("after any luck three failures are the end", () => {
    const polling = new Polling(50);
    for (let i = 0; i < 1000; i++) {
      starts(polling, i);
      call(polling, i + 0.01, 1);
    }
    let failures = 0;
    while (giveUp(polling, 2000 + failures) > 0) failures++;
    expect(failures).toBe(3);
  });

  test("with nothing handed over a flush is a look, too, and ends", () => {
    const polling = new Polling(50);
    starts(polling, 0, 8);
    let looks = 0;
    // What waits for memory is tried again in every turn.
    for (let now = 0; looks < 100 && call(polling, now, 0); now += 0.01) looks++;
    expect(looks).toBe(5);
    expect(starts(polling, 10, 8)).toBe(false);
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
    const looked = (): number => ring.stats().polls - before;
    // Where the loop starves there is no tick, however long it reads; on a busy machine looking pays late.
    for (let reads = 0; (ticks < 20 || looked() === 0) && reads < 1_000_000; reads++) {
      await file.readExactAt(buffer, (reads % 256) * 4096);
    }
    done = true;
    clearInterval(timer);
    const polls = looked();
    expect(polls).toBeGreaterThan(0);
    expect(ticks).toBeGreaterThanOrEqual(20);
    // One look a turn: others have as many.
    expect(immediates).toBeGreaterThanOrEqual(polls - 2);
  },
);

testUnless(
  noIoUring ?? blockingReadMissing,
  "what takes long is not looked for in vain again and again",
  async () => {
    await using ring = Ring.open();
    await using file = await openBlocking(ring);
    const readInVain = async (): Promise<void> => {
      using controller = new ScopedAbort();
      const read = blockingRead(file, allocBuffer(1 << 20), { signal: controller.signal });
      // Longer than it is looked for.
      await sleep(3);
      controller.abort();
      await rejection(read);
    };
    for (let i = 0; i < 10; i++) await readInVain();
    const { polls } = ring.stats();
    expect(polls).toBeGreaterThan(0);
    for (let i = 0; i < 10; i++) await readInVain();
    expect(ring.stats().polls).toBe(polls);
  },
);

testUnless(
  noIoUring ?? blockingReadMissing,
  "while operations wait for bounce memory, the ring sleeps",
  async () => {
    await using ring = Ring.open();
    await using file = await openBlocking(ring);
    using controller = new ScopedAbort();
    const { signal } = controller;
    // Eight of them have all there is.
    const reads = Array.from({ length: 9 }, () =>
      rejection(blockingRead(file, new Uint8Array(1 << 20), { signal })),
    );
    // Looking in every turn would be thousands of calls.
    await sleep(50);
    const { flushes, polls } = ring.stats();
    expect(flushes + polls).toBeLessThan(100);
    controller.abort();
    await Promise.all(reads);
  },
);

test("a clock that a test puts in the place of the system's does not stop a ring", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  await using file = await File.open(dir.file("a", "0123456789"), { ring });
  const { setImmediate, setTimeout, clearTimeout } = globalThis;
  const never = (() => 0) as never;
  Object.assign(globalThis, { setImmediate: never, setTimeout: never, clearTimeout: never });
  try {
    const data = new Uint8Array(10);
    for (let i = 0; i < 100; i++) {
      expect(await file.size()).toBe(10);
      await file.readExactAt(data, 0);
      await file.syncAll();
    }
  } finally {
    Object.assign(globalThis, { setImmediate, setTimeout, clearTimeout });
  }
});
