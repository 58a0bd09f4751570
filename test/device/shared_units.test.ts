// Streams and copies that begin or end within a unit (a sector of a device, the unit of `direct`) read, modify and
// write back that unit. Concurrent writers of its other bytes, or of a growing file, lose nothing.

import { describe, expect, test } from "bun:test";
import { linkSync, readFileSync, symlinkSync } from "node:fs";
import { allocBuffer, BlockDevice, copy, File, type IoData, Ring } from "../../src/index.ts";
import { simulatedDevice } from "../../src/testing/index.ts";
import { testUnless } from "../support/conditions.ts";
import { Folder, LoopDevice, loopMissing, pattern, rejection } from "../support/control.ts";

const UNIT = 512;

interface Target {
  readonly file: File;
  read(): Promise<Uint8Array>;
}

function streamOf(contents: Uint8Array): ReadableStream<Uint8Array> {
  return new Response(contents.slice()).body as ReadableStream<Uint8Array>;
}

async function writeStream(file: File, contents: Uint8Array, start: number): Promise<void> {
  const writer: WritableStreamDefaultWriter<IoData> = file.writable({ start }).getWriter();
  await writer.write(contents);
  await writer.close();
}

async function copyInto(file: File, contents: Uint8Array, start: number): Promise<void> {
  await copy(streamOf(contents), file, { targetOffset: start });
}

/** Writes of neighbours that share units, all at once. */
async function writeNeighbours(
  { file, read }: Target,
  size: number,
  ways: readonly (typeof writeStream)[],
): Promise<void> {
  for (let round = 0; round < 8; round++) {
    const contents = pattern(size, round);
    const step = 333 + 97 * round;
    const running: Promise<void>[] = [];
    for (let at = 0, index = 0; at < size; at += step, index++) {
      const way = ways[index % ways.length] as typeof writeStream;
      running.push(way(file, contents.subarray(at, Math.min(at + step, size)), at));
    }
    await Promise.all(running);
    const answer = await read();
    expect(answer.byteLength).toBe(size);
    expect(Buffer.compare(answer, contents)).toBe(0);
  }
}

async function readAll(file: File): Promise<Uint8Array> {
  const answer = new Uint8Array(await file.size());
  await file.readExactAt(answer, 0);
  return answer;
}

describe.each(["reject", "rmw"] as const)("unalignedWrites: %p", (unalignedWrites) => {
  const options = { unalignedWrites };
  const direct = { write: true, create: true, direct: true, unalignedWrites };
  const ways = [writeStream, copyInto];
  if (unalignedWrites === "rmw") {
    ways.push(async (file, contents, start) => {
      await file.writeAt(contents, start);
    });
  }

  test("neighbours within a unit lose nothing of one another: a simulated device", async () => {
    const size = 32 * UNIT;
    await using file = await simulatedDevice({ size, ...options });
    await writeNeighbours({ file, read: () => readAll(file) }, size, ways);
  });

  test("neighbours within a unit lose nothing of one another: a direct file", async () => {
    using folder = new Folder();
    await using file = await File.open(folder.file("data"), direct);
    await writeNeighbours({ file, read: () => readAll(file) }, 20_011, ways);
  });

  testUnless(loopMissing, "neighbours within a unit: a disk of 4096-byte sectors", async () => {
    using folder = new Folder();
    using loop = new LoopDevice(folder.file("image", new Uint8Array(64 * 4096)), 4096);
    await using file = await File.open(loop.path, { ...direct, create: false });
    await writeNeighbours({ file, read: () => readAll(file) }, 64 * 4096, ways);
  });

  test("neighbours within a unit, through several Files, rings and names of one file", async () => {
    using folder = new Folder();
    const path = folder.file("data");
    await using first = await File.open(path, direct);
    symlinkSync(path, folder.file("symbolic"));
    linkSync(path, folder.file("hard"));
    await using ring = Ring.open();
    await using second = await File.open(folder.file("symbolic"), { ...direct, ring });
    await using third = await File.open(folder.file("hard"), direct);
    const files = [first, second, third, second];
    const over = files.flatMap((file) =>
      ways.map(
        (way): typeof way =>
          (_, contents, start) =>
            way(file, contents, start),
      ),
    );
    await writeNeighbours({ file: first, read: () => readAll(second) }, 20_011, over);
    await third.close();
    await writeNeighbours({ file: first, read: () => readAll(second) }, 20_011, over.slice(0, 2));
  });

  test("a whole unit written through another File loses nothing to one that ends in it", async () => {
    using folder = new Folder();
    const path = folder.file("data", new Uint8Array(1 << 16));
    await using first = await File.open(path, direct);
    await using second = await File.open(path, { ...direct, unalignedWrites: "reject" });
    const unit = Math.max(first.alignment.offset, 512);
    const buffer = allocBuffer(unit);
    for (let round = 1; round <= 60; round++) {
      buffer.fill(round);
      const tail = pattern(unit + 100, round);
      const turns = async (count: number): Promise<void> => {
        for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
      };
      await Promise.all([
        turns(round % 3).then(() => second.writeAt(buffer, unit)),
        turns(round % 4).then(() => (ways[round % 2] as typeof writeStream)(first, tail, 0)),
      ]);
      const answer = await readAll(second);
      expect(answer.subarray(unit + 100, 2 * unit).every((byte) => byte === round)).toBe(true);
      expect(Buffer.compare(answer.subarray(0, unit), tail.subarray(0, unit))).toBe(0);
    }
  });

  test("a file made longer while a stream ends within a unit keeps its length", async () => {
    using folder = new Folder();
    const tail = pattern(5000, 1);
    const rest = pattern(4096, 2);
    for (let round = 0; round < 40; round++) {
      const path = folder.file(`data${round}`);
      await using file = await File.open(path, direct);
      const extending = async (): Promise<void> => {
        for (let turn = 0; turn < round % 8; turn++) await new Promise(setImmediate);
        await file.writeAt(rest, 8192);
      };
      const way = ways[round % 2] as typeof writeStream;
      await Promise.all([way(file, tail, 0), extending()]);
      const answer = await readAll(file);
      expect(answer.byteLength).toBe(8192 + 4096);
      expect(Buffer.compare(answer.subarray(0, 5000), tail)).toBe(0);
      expect(Buffer.compare(answer.subarray(8192), rest)).toBe(0);
    }
  });
});

test.each(["reject", "rmw"] as const)(
  "sectors of an image that its file system does not know: %p",
  async (unalignedWrites) => {
    using folder = new Folder();
    const size = 16 * 4096;
    const path = folder.file("image", new Uint8Array(size));
    await using ring = Ring.open();
    const options = { write: true, direct: false, sectorSize: 4096, unalignedWrites, ring };
    await using image = await BlockDevice.open(path, options);
    expect(image.alignment).toMatchObject({ offset: 4096, length: 4096 });
    const { reads } = ring.stats();
    const contents = pattern(size, 1);
    if (unalignedWrites === "reject") {
      const error = await rejection(image.writeAt(contents.subarray(0, 100), 50));
      expect(error.code).toBe("ERR_MISALIGNED");
    } else {
      const pieces = Array.from({ length: Math.ceil(size / 333) }, (_, i) => i * 333);
      await Promise.all(pieces.map((at) => image.writeAt(contents.subarray(at, at + 333), at)));
      expect(Buffer.compare(readFileSync(path), contents)).toBe(0);
    }
    // The kernel takes any range: no sector is read for a write.
    expect(ring.stats().reads).toBe(reads);
  },
);

test("zeroes that a copy leaves out lose nothing of a neighbour, and nothing of themselves", async () => {
  using folder = new Folder();
  await using source = await File.open(folder.file("zeroes", new Uint8Array(128)));
  const path = folder.file("data");
  const options = { write: true, direct: true, unalignedWrites: "rmw" } as const;
  for (let trial = 0; trial < 60; trial++) {
    folder.file("data", new Uint8Array(4096).fill(0xaa));
    await using file = await File.open(path, options);
    let stopped = false;
    const writing = (async () => {
      while (!stopped) await file.writeAt(new Uint8Array(100).fill(0xbb), 64);
    })();
    await copy(source, file, { targetOffset: 300, sparse: true, sync: false });
    stopped = true;
    await writing;
    const expected = new Uint8Array(4096).fill(0xaa).fill(0xbb, 64, 164).fill(0, 300, 428);
    expect(Buffer.compare(readFileSync(path), expected)).toBe(0);
  }
});

test.each([false, true])(
  "a copy that ends with a hole cuts nothing behind it: direct %p",
  async (direct) => {
    using folder = new Folder();
    const contents = new Uint8Array(2 * 65_536).fill(1, 0, 65_536);
    await using source = await File.open(folder.file("source", contents));
    const options = { write: true, create: true, direct };
    for (let trial = 0; trial < 200; trial++) {
      await using file = await File.open(folder.file(`${trial}`), options);
      const behind = async (): Promise<void> => {
        for (let turn = 0; turn < trial; turn += 4) await new Promise(setImmediate);
        await file.writeAt(new Uint8Array(4096).fill(9), 262_144);
      };
      await Promise.all([copy(source, file, { sparse: true, sync: false }), behind()]);
      expect(await file.size()).toBe(262_144 + 4096);
      const answer = await readAll(file);
      expect(Buffer.compare(answer.subarray(0, contents.byteLength), contents)).toBe(0);
      expect(answer[262_144]).toBe(9);
    }
  },
);

test("what waits for a neighbour in its unit can be aborted, and times out", async () => {
  const faults = [{ operation: "write", offset: 0, length: 512, latency: 1000, times: 1 }] as const;
  await using file = await simulatedDevice({ size: 65_536, faults, unalignedWrites: "reject" });
  const slow = writeStream(file, new Uint8Array(50).fill(1), 100);
  // It has read its unit, and writes it.
  while (file.ring.stats().reads === 0) await new Promise(setImmediate);
  const abort = new AbortController();
  const timed = rejection(file.writeAt(allocBuffer(512), 0, { timeout: 20 }));
  const aborted = rejection(file.writeAt(allocBuffer(512), 0, { signal: abort.signal }));
  abort.abort();
  expect((await aborted).code).toBe("ABORT_ERR");
  expect((await timed).code).toBe("ERR_TIMEOUT");
  expect((await timed).message).toContain("write");
  // Others come later than those that gave up, and after the neighbour.
  const later = file.writeAt(allocBuffer(512).fill(2), 0);
  await Promise.all([slow, later]);
  const answer = await readAll(file);
  expect(answer[100]).toBe(2);
});

test("a write past the end that is aborted while it waits for the end leaves the lock free", async () => {
  using folder = new Folder();
  const options = { write: true, create: true, direct: true, unalignedWrites: "rmw" } as const;
  await using file = await File.open(folder.file("data", new Uint8Array(100)), options);
  for (let round = 0; round < 50; round++) {
    const abort = new AbortController();
    const { signal } = abort;
    const writes = Array.from({ length: 8 }, (_, i) =>
      file.writeAt(new Uint8Array([i]), 100 + 700 * round + i, { signal }),
    );
    for (let turn = 0; turn < round % 10; turn++) await new Promise(setImmediate);
    abort.abort();
    for (const result of await Promise.allSettled(writes)) {
      if (result.status === "rejected") expect(result.reason.code).toBe("ABORT_ERR");
    }
    expect(await file.writeAt(new Uint8Array([9]), 700 * round)).toBe(1);
  }
});

test("an unaligned end waits for nothing but its own unit", async () => {
  const faults = [{ operation: "write", offset: 32_768, length: 512, latency: 60_000 }] as const;
  await using file = await simulatedDevice({ size: 65_536, faults });
  const abort = new AbortController();
  const far = file.writeAt(allocBuffer(512), 32_768, { signal: abort.signal });
  await writeStream(file, new Uint8Array(50), 100);
  await file.writeAt(allocBuffer(512), 0);
  expect(Bun.peek.status(far)).toBe("pending");
  abort.abort();
  expect((await rejection(far)).code).toBe("ABORT_ERR");
});

test("who gave up waiting keeps nobody else waiting", async () => {
  const faults = [{ operation: "write", offset: 0, length: 512, latency: 60_000 }] as const;
  await using file = await simulatedDevice({ size: 65_536, faults, unalignedWrites: "rmw" });
  const abort = new AbortController();
  const slow = file.writeAt(allocBuffer(512), 0, { signal: abort.signal });
  const wide = rejection(file.writeAt(new Uint8Array(60_000), 200, { timeout: 10 }));
  expect((await wide).code).toBe("ERR_TIMEOUT");
  await file.writeAt(allocBuffer(512), 32_768);
  expect(Bun.peek.status(slow)).toBe("pending");
  abort.abort();
  expect((await rejection(slow)).code).toBe("ABORT_ERR");
});

test("of thousands that wait, one gives up in the middle: the others write what they should", async () => {
  const count = 1000;
  const faults = [{ operation: "read", latency: 50, times: 200 }] as const;
  const size = count * 4096;
  await using file = await simulatedDevice({ size, faults, unalignedWrites: "rmw" });
  const abort = new AbortController();
  const writes = (value: number, past: number): Promise<number>[] =>
    Array.from({ length: count }, (_, i) =>
      file.writeAt(new Uint8Array(16).fill(value), i * 4096 + past),
    );
  const before = writes(1, 100);
  const long = rejection(
    file.writeAt(new Uint8Array(size - 200).fill(9), 100, { signal: abort.signal }),
  );
  const after = writes(2, 108);
  abort.abort();
  expect((await long).code).toBe("ABORT_ERR");
  expect(Bun.peek.status(Promise.all(after))).toBe("pending");
  await Promise.all([...before, ...after]);
  const expected = new Uint8Array(size);
  for (let at = 0; at < size; at += 4096) {
    expected.fill(1, at + 100, at + 108).fill(2, at + 108, at + 124);
  }
  expect(Buffer.compare(await readAll(file), expected)).toBe(0);
});

test("thousands that wait for a neighbour, and have one signal, have one listener", async () => {
  const faults = [{ operation: "write", latency: 60_000 }] as const;
  await using file = await simulatedDevice({ size: 65_536, faults, unalignedWrites: "rmw" });
  const holder = new AbortController();
  const slow = rejection(file.writeAt(allocBuffer(65_536), 0, { signal: holder.signal }));
  const abort = new AbortController();
  const { signal } = abort;
  let listeners = 0;
  let most = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: unknown[]) => {
    most = Math.max(most, ++listeners);
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    listeners--;
    Reflect.apply(removeEventListener, signal, args);
  };
  const write = (_: unknown, i: number): Promise<Error> =>
    rejection(file.writeAt(new Uint8Array(10), i, { signal }));
  const waiting = Array.from({ length: 3000 }, write);
  await new Promise(setImmediate);
  let settled = 0;
  for (const one of waiting) void one.then(() => settled++);
  abort.abort();
  await new Promise(setImmediate);
  // They take turns: other work comes between.
  expect(settled).toBeLessThan(waiting.length);
  for (const error of await Promise.all(waiting))
    expect(error).toMatchObject({ code: "ABORT_ERR" });
  expect({ most, listeners }).toEqual({ most: 1, listeners: 0 });
  holder.abort();
  expect((await slow).code).toBe("ABORT_ERR");
});

describe("a write that never began is told of by one sync, and no other", () => {
  async function oneSyncTells(file: File, error: Error): Promise<void> {
    expect((await rejection(file.syncAll())).cause).toBe(error);
    await file.syncAll();
    await file.writeAt(allocBuffer(512), 0);
    await file.syncData();
  }

  test("a file opened for writing only: the error says what to do", async () => {
    using folder = new Folder();
    const path = folder.file("data", new Uint8Array(4096));
    await using file = await File.open(path, { read: false, write: true, direct: true });
    if (file.alignment.offset === 1) {
      // Nothing has to be read: FreeBSD, and a tmpfs of Linux.
      await writeStream(file, new Uint8Array(50).fill(7), 100);
      expect(readFileSync(path).subarray(99, 151)).toEqual(
        Buffer.concat([Buffer.of(0), Buffer.alloc(50, 7), Buffer.of(0)]),
      );
      return;
    }
    const error = await rejection(writeStream(file, new Uint8Array(50), 100));
    expect(error.code).toBe("EBADF");
    expect(error.syscall).toBe("read");
    expect(error.message).toContain("{ read: true }");
    // The stream has told of it.
    await file.syncAll();
  });

  test("the unit around it cannot be read: the error is of that read", async () => {
    const faults = [{ operation: "read", error: "EIO", times: 1 }] as const;
    await using file = await simulatedDevice({ size: 65_536, faults, unalignedWrites: "rmw" });
    const error = await rejection(file.writeAt(new Uint8Array(50), 600));
    expect(error).toMatchObject({ code: "EIO", syscall: "read", offset: 512, length: 512 });
    await oneSyncTells(file, error);
  });

  test("the same, under zeroes", async () => {
    const faults = [{ operation: "read", error: "EIO", times: 1 }] as const;
    await using file = await simulatedDevice({ size: 65_536, faults, unalignedWrites: "rmw" });
    await oneSyncTells(file, await rejection(file.writeZeroes(600, 50)));
  });

  test("its memory was given away", async () => {
    using folder = new Folder();
    await using file = await File.open(folder.file("data"), { write: true, create: true });
    const views = [new Uint8Array(100), allocBuffer(100)];
    const write = rejection(file.writevAt(views, 0));
    for (const view of views) structuredClone(view.buffer, { transfer: [view.buffer] });
    const error = await write;
    expect(error.code).toBe("ERR_BUFFER_DETACHED");
    await oneSyncTells(file, error);
  });

  test("a sync called before it failed", async () => {
    const faults = [{ operation: "read", error: "EIO", times: 1 }] as const;
    await using file = await simulatedDevice({ size: 65_536, faults, unalignedWrites: "rmw" });
    const write = rejection(file.writeAt(new Uint8Array(50), 600));
    const sync = rejection(file.syncAll());
    expect((await sync).cause).toBe(await write);
    await file.syncAll();
  });
});

test("a write that times out while its unit is read is named as it was called", async () => {
  const faults = [{ operation: "read", latency: 200 }] as const;
  await using file = await simulatedDevice({ size: 65_536, faults, unalignedWrites: "rmw" });
  const error = await rejection(file.writeAt(new Uint8Array(5000), 100, { timeout: 20 }));
  const call = { syscall: "write", offset: 100, length: 5000 };
  expect(error).toMatchObject({ code: "ERR_TIMEOUT", ...call });
});

test("zeroes of a copy that fail are told of by syncs", async () => {
  const faults = [{ operation: "write", error: "EIO", times: 1 }] as const;
  await using file = await simulatedDevice({ size: 2 ** 20, faults });
  await using source = await simulatedDevice({ size: 2 ** 20 });
  const error = await rejection(copy(source, file, { sparse: true, sync: false }));
  expect(error.code).toBe("EIO");
  for (let i = 0; i < 2; i++) expect((await rejection(file.syncAll())).cause).toBeDefined();
});
