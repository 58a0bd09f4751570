// Promise 8: a write that was aborted or timed out is reported once, to a caller that did not know of it.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { allocBuffer, type CopyOptions, copy, File, IoError, Ring } from "../../src/index.ts";
import { type SimulatedDevice, simulatedDevice } from "../../src/testing/index.ts";
import { testUnless } from "../support/conditions.ts";
import { Folder, LoopDevice, loopMissing, pattern, rejection, until } from "../support/control.ts";
import { ioError } from "../support/expect.ts";

const M = 1 << 20;

function toWrite(path: string, options: { direct?: boolean; ring?: Ring } = {}): Promise<File> {
  return File.open(path, { write: true, create: true, ...options });
}

/** Aborts a copy at its write number `after`, with others in flight. Returns how far it got. */
async function stopped(
  source: File,
  target: File,
  after: number,
  options: CopyOptions = {},
): Promise<number> {
  const controller = new AbortController();
  let calls = 0;
  target.writeAt = (data, offset, io) => {
    const writing = File.prototype.writeAt.call(target, data, offset, io);
    if (++calls === after) controller.abort("stop");
    return writing;
  };
  const { signal } = controller;
  const error = await rejection(copy(source, target, { chunkSize: 65_536, ...options, signal }));
  Reflect.deleteProperty(target, "writeAt");
  expect(error.code).toBe("ABORT_ERR");
  return error.result?.prefix ?? Number.NaN;
}

/** The documented way on. */
async function goneOn(source: File, target: File, done: number): Promise<void> {
  await copy(source, target, { sourceOffset: done, targetOffset: done });
}

function contents(path: string): number | bigint {
  return Bun.hash(readFileSync(path));
}

test("a copy that was aborted goes on from its prefix, to a file", async () => {
  using folder = new Folder();
  const bytes = pattern(4 * M + 777);
  for (const [direct, queueDepth] of [
    [false, 1],
    [false, 64],
    [true, 1],
    [true, 64],
  ] as const) {
    await using ring = Ring.open({ queueDepth });
    await using source = await File.open(folder.file("a", bytes), { ring });
    for (const after of [1, 2, 7, 30]) {
      const path = folder.file("b", pattern(100, after));
      await using target = await toWrite(path, { direct, ring });
      const done = await stopped(source, target, after);
      await goneOn(source, target, done);
      expect(contents(path)).toBe(Bun.hash(bytes));
      await target.syncAll();
    }
  }
});

test("a sparse copy and one from a stream go on, too; so does one that is stopped again", async () => {
  using folder = new Folder();
  const bytes = pattern(4 * M);
  bytes.fill(0, M, M + M / 2);
  await using ring = Ring.open({ queueDepth: 2 });
  await using source = await File.open(folder.file("a", bytes), { ring });
  const path = folder.file("b", pattern(4 * M, 9));
  await using target = await toWrite(path, { direct: true, ring });
  let done = await stopped(source, target, 6, { sparse: true });
  const at = (from: number): CopyOptions => ({ sourceOffset: from, targetOffset: from });
  done += await stopped(source, target, 3, at(done));
  const controller = new AbortController();
  const stream = source.readable({ start: done });
  const copying = copy(stream, target, {
    ...{ targetOffset: done, chunkSize: 65_536, signal: controller.signal },
    onProgress: () => controller.abort(),
  });
  done += (await rejection(copying)).result?.prefix ?? Number.NaN;
  await goneOn(source, target, done);
  expect(contents(path)).toBe(Bun.hash(bytes));
});

testUnless(loopMissing, "a copy that was aborted goes on from its prefix, to a disk", async () => {
  using folder = new Folder();
  const bytes = pattern(4 * M + 777);
  await using source = await File.open(folder.file("a", bytes));
  const image = folder.file("image", new Uint8Array(5 * M));
  using loop = new LoopDevice(image);
  await using target = await File.open(loop.path, { write: true, direct: true });
  for (const after of [1, 4, 20])
    await goneOn(source, target, await stopped(source, target, after));
  expect(Bun.hash(readFileSync(image).subarray(0, bytes.byteLength))).toBe(Bun.hash(bytes));
});

/** Waits until a ring has `count` operations under way. */
function underWay(ring: Ring, count: number): Promise<void> {
  return until(() => ring.stats().inFlight >= count);
}

/** A device on which writes to `offset` and behind it take for ever. */
async function slowFrom(offset: number): Promise<SimulatedDevice> {
  return simulatedDevice({
    size: 4 * M,
    faults: [{ operation: "write", offset, length: 4 * M - offset, latency: 600_000 }],
  });
}

test("writes in flight that a copy aborts are its own to tell of", async () => {
  await using device = await slowFrom(2 * M);
  using folder = new Folder();
  const bytes = pattern(3 * M);
  await using source = await File.open(folder.file("a", bytes));
  const controller = new AbortController();
  const { signal } = controller;
  const copying = rejection(copy(source, device, { signal, chunkSize: 256 * 1024 }));
  await until(() => device.ring.stats().bytesWritten >= 2 * M);
  controller.abort();
  expect((await copying).result?.prefix).toBe(2 * M);
  await device.syncAll();
});

test("the write of somebody else that was aborted meanwhile is told of by a sync, once", async () => {
  using folder = new Folder();
  await using source = await File.open(folder.file("a", pattern(M)));
  for (const order of ["copy first", "write first", "one signal"]) {
    await using device = await slowFrom(0);
    const [ours, theirs] = [new AbortController(), new AbortController()];
    const write = (): Promise<IoError> =>
      rejection(
        device.writeAt(allocBuffer(512), 2 * M, {
          signal: order === "one signal" ? ours.signal : theirs.signal,
        }),
      );
    const before = order === "write first" ? write() : undefined;
    const copying = rejection(copy(source, device, { signal: ours.signal, chunkSize: 65_536 }));
    await underWay(device.ring, before === undefined ? 8 : 9);
    const writing = before ?? write();
    await underWay(device.ring, 9);
    ours.abort("ours");
    theirs.abort("theirs");
    expect((await copying).code).toBe("ABORT_ERR");
    const aborted = await writing;
    expect(aborted.code).toBe("ABORT_ERR");
    const error = await ioError(device.syncAll(), "ERR_WRITE_ABORTED");
    expect(error.cause).toBe(aborted);
    expect(error).toMatchObject({ syscall: "fsync", errno: undefined });
    expect(error.hint).not.toContain("Reopen");
    await device.syncAll();
  }
});

test("a sync called while a copy runs is told of what the copy aborts, and the copy goes on", async () => {
  using folder = new Folder();
  const bytes = pattern(M);
  await using source = await File.open(folder.file("a", bytes));
  const device = await simulatedDevice({ size: 4 * M });
  await using _ = device;
  const slow = device.faults.add({ operation: "write", latency: 600_000 });
  const controller = new AbortController();
  const { signal } = controller;
  const copying = rejection(copy(source, device, { signal, chunkSize: 65_536 }));
  await underWay(device.ring, 8);
  const sync = rejection(device.syncData());
  const given = new AbortController();
  // It is aborted itself: what it had been told of is not told of again.
  const other = rejection(device.syncAll({ signal: given.signal }));
  controller.abort();
  const { result } = await copying;
  given.abort();
  expect(await sync).toMatchObject({ code: "ERR_WRITE_ABORTED", cause: { syscall: "write" } });
  expect(["ABORT_ERR", "ERR_WRITE_ABORTED"]).toContain((await other).code);
  slow[Symbol.dispose]();
  await goneOn(source, device, result?.prefix ?? Number.NaN);
  const read = allocBuffer(M);
  await device.readExactAt(read, 0);
  expect(Bun.hash(read)).toBe(Bun.hash(bytes));
});

test("a sync that is aborted leaves the report to the next one", async () => {
  await using device = await slowFrom(0);
  const [write, sync] = [new AbortController(), new AbortController()];
  const writing = rejection(device.writeAt(allocBuffer(512), 0, { signal: write.signal }));
  const first = rejection(device.syncAll({ signal: sync.signal }));
  sync.abort();
  expect((await first).code).toBe("ABORT_ERR");
  write.abort();
  const aborted = await writing;
  expect((await ioError(device.syncData(), "ERR_WRITE_ABORTED")).cause).toBe(aborted);
  await device.syncAll();
});

test("a write whose time was over when it was called is told of like one that timed out later", async () => {
  await using device = await simulatedDevice({ size: M });
  const data = allocBuffer(512);
  for (const write of [
    () => device.writeAt(data, 0, { timeout: 0 }),
    () => device.writevAt([data, data], 512, { timeout: 0 }),
  ]) {
    const refused = await rejection(write());
    const error = await ioError(device.syncAll(), "ERR_WRITE_ABORTED");
    expect(error.cause).toBe(refused);
    await device.syncAll();
  }
});

test("a write that timed out has the code, too, whether it was awaited or not", async () => {
  await using device = await slowFrom(0);
  for (const awaited of [true, false]) {
    const writing = rejection(device.writeAt(allocBuffer(512), 0, { timeout: 1 }));
    if (awaited) await writing;
    const error = await ioError(device.syncAll(), "ERR_WRITE_ABORTED");
    expect(error.cause).toMatchObject({ code: "ERR_TIMEOUT", offset: 0, length: 512 });
    expect(await writing).toBe(error.cause as IoError);
    await device.syncAll();
  }
});

test("a stream that is aborted tells of its writes itself: the next one on the file is synced", async () => {
  for (const how of ["abort", "signal", "pipe"] as const) {
    const device = await simulatedDevice({ size: 4 * M });
    await using _ = device;
    const slow = device.faults.add({ operation: "write", latency: 600_000 });
    const controller = new AbortController();
    const { signal } = controller;
    const writable = device.writable({ sync: true, ...(how === "signal" ? { signal } : {}) });
    if (how === "pipe") {
      let chunks = 0;
      const source = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (chunks++ === 4) return new Promise(() => {});
          controller.enqueue(pattern(256 * 1024, chunks));
        },
      });
      const piping = source.pipeTo(writable, { signal });
      piping.catch(() => {});
      await underWay(device.ring, 4);
      controller.abort(new Error("enough"));
      expect(await piping.catch((error) => error)).toEqual(new Error("enough"));
    } else {
      const writer = writable.getWriter();
      const closed = writer.closed.catch((error) => error);
      for (let i = 0; i < 4; i++) await writer.write(pattern(256 * 1024, i));
      await underWay(device.ring, 4);
      if (how === "abort") await writer.abort("enough");
      else controller.abort("enough");
      const error = await closed;
      if (how === "signal") expect(error).toBeInstanceOf(IoError);
    }
    slow[Symbol.dispose]();
    const writer = device.writable({ sync: true }).getWriter();
    await writer.write(pattern(M));
    await writer.close();
    await device.syncAll();
  }
});

test("the medium's own failure is not hidden behind a write that was aborted", async () => {
  const device = await slowFrom(0);
  await using _ = device;
  const controller = new AbortController();
  const writing = rejection(device.writeAt(allocBuffer(512), 0, { signal: controller.signal }));
  controller.abort();
  await writing;
  device.faults.add({ operation: "sync", error: "EIO", times: 1 });
  expect(await rejection(device.syncAll())).toMatchObject({ code: "EIO", syscall: "fsync" });
  const next = await rejection(device.syncAll());
  expect(next.code).toBe("EIO");
  expect(next.hint).toContain("Reopen");
});

test("a copy onto a file that cannot be synced any more is refused before it writes", async () => {
  using folder = new Folder();
  await using source = await File.open(folder.file("a", pattern(M)));
  await using device = await simulatedDevice({
    size: 4 * M,
    faults: [{ operation: "write", nth: 2, error: "EIO" }],
  });
  const failed = await rejection(copy(source, device, { chunkSize: 65_536 }));
  expect(failed).toMatchObject({ code: "EIO", syscall: "write" });
  const written = device.ring.stats().writes;
  const refused = await rejection(copy(source, device));
  expect(refused).toMatchObject({ code: "EIO", syscall: "fsync" });
  expect(refused.result).toBeUndefined();
  expect(refused.hint).toContain("Reopen");
  expect(device.ring.stats().writes).toBe(written);
  expect((await copy(source, device, { sync: false })).prefix).toBe(M);
});
