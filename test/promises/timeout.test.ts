// Timeouts cancel operations as aborts do, with ERR_TIMEOUT; all share one timer.

import { expect, test } from "bun:test";
import { allocBuffer, File, Ring } from "../../src/index.ts";
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
  untilBlocked,
} from "../support/control.ts";
import { indexPath } from "../support/under_test.ts";

test("a generous timeout changes nothing", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", "abc"), { write: true, timeout: 10_000 });
  expect(await file.readAt(new Uint8Array(3), 0, { timeout: 10_000 })).toBe(3);
  expect(await file.writeAt(new Uint8Array(3), 0, { timeout: 10_000 })).toBe(3);
  await file.syncAll({ timeout: 10_000 });
  await file.truncate(1, { timeout: 10_000 });
});

test("a timeout of 0 has passed already: no I/O", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using file = await File.open(folder.file("data", "abc"), { ring });
  const before = ring.stats().completions;
  const error = await rejection(file.readAt(new Uint8Array(3), 0, { timeout: 0 }));
  expect(error.code).toBe("ERR_TIMEOUT");
  expect(error.name).toBe("IoError");
  expect(error.syscall).toBe("read");
  expect(error.transferred).toBe(0);
  expect(ring.stats().completions).toBe(before);
});

test.each([-1, Number.NaN, 2 ** 31, Infinity])("%p ms are out of range", async (timeout) => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", "abc"));
  await expect(file.readAt(new Uint8Array(3), 0, { timeout })).rejects.toMatchObject({
    name: "RangeError",
    code: "ERR_OUT_OF_RANGE",
    message: expect.stringContaining("options.timeout"),
  });
});

test("a timeout that is no number is refused by name", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", "abc"));
  const options = { timeout: "5" as unknown as number };
  await expect(file.readAt(new Uint8Array(3), 0, options)).rejects.toMatchObject({
    code: "ERR_INVALID_ARG_TYPE",
  });
});

describeUnless(blockingReadMissing, "with a read that blocks in the kernel", () => {
  blockingTest("in the kernel, and queued behind it", async () => {
    using folder = new Folder();
    await using ring = Ring.open({ queueDepth: 1 });
    await using file = await openBlocking(ring);
    await using other = await File.open(folder.file("data", pattern(10)), { write: true, ring });
    const buffer = allocBuffer(1 << 20);
    const started = performance.now();
    const blocked = blockingRead(file, buffer, { timeout: 60 });
    await untilBlocked();
    const queued = rejection(other.writeAt(new Uint8Array(4), 0, { timeout: 10 }));
    const held = rejection(other.syncAll({ timeout: 20 }));
    expect((await queued).code).toBe("ERR_TIMEOUT");
    // Where a thread makes the sync it is not queued, and tells of the write.
    expect((await held).code).toBeOneOf(["ERR_TIMEOUT", "ERR_WRITE_ABORTED"]);
    // A thread inside a system call cannot be called back: it settles when the call returns.
    if (ring.backend !== "io_uring") {
      while (ring.stats().cancelRequests === 0) await new Promise(setImmediate);
      await letGoUntilSettled(blocked);
    }
    expect((await rejection(blocked)).code).toBe("ERR_TIMEOUT");
    expect(performance.now() - started).toBeGreaterThanOrEqual(59);
  });

  blockingTest("a thousand deadlines in any order all come, never early", async () => {
    await using ring = Ring.open({ queueDepth: 1 });
    await using file = await openBlocking(ring);
    using first = new ScopedAbort();
    const blocker = blockingRead(file, allocBuffer(1 << 20), { signal: first.signal });
    await untilBlocked();
    const started = performance.now();
    const reads = Array.from({ length: 1000 }, async (_, index) => {
      const timeout = 5 + ((index * 7919) % 100);
      const error = await rejection(file.readAt(new Uint8Array(1), 0, { timeout }));
      expect(error.code).toBe("ERR_TIMEOUT");
      expect(performance.now() - started).toBeGreaterThanOrEqual(timeout - 1);
    });
    await Promise.all(reads);
    first.abort();
    await letGoUntilSettled(blocker);
    await rejection(blocker);
  });

  blockingTest("what came first decides: signal or timeout", async () => {
    await using ring = Ring.open({ queueDepth: 1 });
    await using file = await openBlocking(ring);
    using first = new ScopedAbort();
    const blocker = blockingRead(file, allocBuffer(1 << 20), { signal: first.signal });
    await untilBlocked();
    const { signal } = first;
    using early = new ScopedAbort();
    setTimeout(() => early.abort(), 5);
    const aborted = rejection(
      file.readAt(new Uint8Array(1), 0, { signal: early.signal, timeout: 60_000 }),
    );
    const timedOut = rejection(file.readAt(new Uint8Array(1), 0, { signal, timeout: 5 }));
    expect((await aborted).code).toBe("ABORT_ERR");
    expect((await timedOut).code).toBe("ERR_TIMEOUT");
    first.abort();
    await letGoUntilSettled(blocker);
    await rejection(blocker);
  });
});

test("a pending deadline keeps no process alive", () => {
  using folder = new Folder();
  const path = folder.file("data", "abc");
  const program = `
    import { File } from ${JSON.stringify(indexPath)};
    const file = await File.open(${JSON.stringify(path)});
    await file.readAt(new Uint8Array(3), 0, { timeout: 2 ** 31 - 1 });
    console.log("read");`;
  // Held by the deadline, it would be killed here.
  const child = Bun.spawnSync([process.execPath, "-e", program], { timeout: 300_000 });
  expect(child.stdout.toString()).toBe("read\n");
  expect(child.exitCode).toBe(0);
});
