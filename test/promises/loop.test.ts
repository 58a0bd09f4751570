// Promise 9: no operation blocks the JavaScript thread for long. Times are in the benchmark; these tests detect an
// event loop that starves.

import { expect, spyOn } from "bun:test";
import { allocBuffer, File, Ring } from "../../src/index.ts";
import { describeUnless, noFaultFree, testUnless } from "../support/conditions.ts";
import {
  blockingRead,
  blockingReadMissing,
  blockingTest,
  endlessFusePath,
  letGoUntilSettled,
  untilBlocked,
} from "../support/endless.ts";
import { TempDir } from "../support/temp.ts";

async function cachedFile(dir: TempDir, bytes: number): Promise<File> {
  const file = await File.open(dir.file("cached"), { write: true, create: true });
  const buffer = allocBuffer(1 << 20);
  for (let offset = 0; offset < bytes; offset += buffer.length) await file.writeAt(buffer, offset);
  return file;
}

testUnless(
  noFaultFree,
  "promise 9: an interval ticks beside awaited cached reads",
  async () => {
    using dir = new TempDir();
    await using file = await cachedFile(dir, 1 << 20);
    const buffer = allocBuffer(4096);
    let ticks = 0;
    const interval = setInterval(() => {
      ticks++;
    }, 5);
    // Where the loop starves there is none, however long it reads.
    for (let reads = 0; ticks < 50 && reads < 1_000_000; reads++) {
      await file.readAt(buffer, (reads & 255) * 4096);
    }
    clearInterval(interval);
    expect(ticks).toBeGreaterThanOrEqual(50);
  },
  120_000,
);

testUnless(
  noFaultFree,
  "promise 9: 1 MiB cached reads at depth 128 leave turns to others",
  async () => {
    using dir = new TempDir();
    const bytes = 64 << 20;
    await using file = await cachedFile(dir, bytes);
    const buffers = Array.from({ length: 128 }, () => allocBuffer(1 << 20));
    const total = 600;
    let next = 0;
    const turns = await turnsDuring(() =>
      Promise.all(
        buffers.map(async (buffer) => {
          while (next < total) await file.readAt(buffer, (next++ << 20) % bytes);
        }),
      ),
    );
    // A turn hands 4 MiB to the kernel at most: 150 turns and more.
    expect(turns).toBeGreaterThan(100);
  },
);

/** An event loop that reads the wake descriptor until it is empty, beside a kernel that rings after every drain. */
function ringsAtOnce(ring: Ring): Disposable {
  let drains = -1;
  const read = async (): Promise<{ done: boolean }> => {
    await undefined;
    if (ring.stats().drains === drains) await new Promise(setImmediate);
    drains = ring.stats().drains;
    return { done: false };
  };
  const reader = { read, cancel: (): Promise<void> => Promise.resolve() };
  const stream = { stream: () => ({ getReader: () => reader }) };
  return spyOn(Bun, "file").mockImplementation(() => stream as unknown as Bun.BunFile);
}

/** Turns of the event loop until `work` has settled. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  let running = true;
  const count = (): void => {
    turns++;
    if (running) setImmediate(count);
  };
  setImmediate(count);
  await work();
  running = false;
  return turns;
}

testUnless(
  noFaultFree,
  "promise 9: rings of the wake descriptor, one after another, leave turns to others",
  async () => {
    using dir = new TempDir();
    // Threads wake this one on every system.
    await using ring = Ring.open({ backend: "threads" });
    await using file = await File.open(dir.file("out"), { write: true, create: true, ring });
    const buffer = allocBuffer(64 << 20);
    using _ = ringsAtOnce(ring);
    // The descriptor is watched from the first one on.
    await file.writeAt(buffer, 0);
    expect(await turnsDuring(() => file.writeAt(buffer, 0))).toBeGreaterThan(2);
  },
);

testUnless(noFaultFree, "promise 9: one huge foreign transfer is done in slices", async () => {
  using dir = new TempDir();
  await using file = await cachedFile(dir, 64 << 20);
  const view = new Uint8Array(64 << 20);
  const turns = await turnsDuring(async () => {
    expect(await file.readAt(view, 0)).toBe(view.length);
    expect(await file.writeAt(view, 0)).toBe(view.length);
  });
  expect(turns).toBeGreaterThan(10);
});

testUnless(noFaultFree, "promise 9: a sync and an open leave turns to others", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  await using file = await File.open(dir.file("out"), { write: true, create: true, ring });
  await file.writeAt(allocBuffer(8 << 20), 0);
  const turns = await turnsDuring(async () => {
    for (let i = 0; i < 20; i++) {
      await file.writeAt(allocBuffer(4096), i * 4096);
      await file.syncAll();
      await (await File.open(dir.file("out"), { ring })).close();
    }
  });
  expect(turns).toBeGreaterThan(0);
});

describeUnless(blockingReadMissing, "promise 9, a file of FUSE", () => {
  blockingTest("whose server does not answer keeps nobody else waiting", async () => {
    await using ring = Ring.open();
    await using file = await File.open(endlessFusePath(), { ring });
    const data = allocBuffer(64);
    const read = blockingRead(file, data, {});
    // In turns of the event loop, of which there are none while a submission waits for the server.
    await untilBlocked();
    await letGoUntilSettled(read);
    expect(await read).toBe(64);
    expect(data).not.toContain(0);
  });
});
