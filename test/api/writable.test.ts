// `file.writable()`: gathering, copies, exact lengths, errors at once.

import { describe, expect, test } from "bun:test";
import { getEventListeners } from "node:events";
import { readFileSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";
import { allocBuffer, BlockDevice, File, type IoData, Ring } from "../../src/index.ts";
import { simulatedDevice, trackLeaks } from "../../src/testing/index.ts";
import { testUnless } from "../support/conditions.ts";
import {
  Folder,
  LoopDevice,
  loopMissing,
  pattern,
  rejection,
  turns,
  until,
} from "../support/control.ts";

type Writer = WritableStreamDefaultWriter<IoData>;

function bytesAt(path: string): Uint8Array {
  return new Uint8Array(readFileSync(path));
}

function chunks(contents: Uint8Array, size: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= contents.byteLength) return controller.close();
      controller.enqueue(contents.slice(at, at + size));
      at += size;
    },
  });
}

describe.each([false, true])("direct: %p", (direct) => {
  const BLOCK = 256 * 1024;

  test.each([1, 511, 4096, 100_000, BLOCK, BLOCK + 1, 3 * BLOCK])(
    "chunks of %p bytes, every length around a block",
    async (size) => {
      using folder = new Folder();
      for (const length of [0, 1, 511, 512, 4097, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 513]) {
        if (length / size > 5000) continue;
        const contents = pattern(length, size);
        const path = folder.file(`${length}`);
        await using file = await File.open(path, { write: true, create: true, direct });
        await chunks(contents, size).pipeTo(file.writable({ concurrency: 2 }));
        expect(Buffer.compare(bytesAt(path), contents)).toBe(0);
      }
    },
  );

  test("start anywhere: what lies before and behind stays", async () => {
    using folder = new Folder();
    const path = folder.file("data");
    for (const start of [0, 1, 511, 512, 4095, 5000, BLOCK - 1, BLOCK + 1, 600_000]) {
      for (const length of [1, 511, 4096, 4097, 50_000, BLOCK, BLOCK + 1]) {
        const before = pattern(400_000, 3);
        folder.file("data", before);
        const contents = pattern(length, start + length);
        await using file = await File.open(path, { write: true, direct });
        await chunks(contents, 30_000).pipeTo(file.writable({ start }));
        const expected = new Uint8Array(Math.max(before.byteLength, start + length));
        expected.set(before);
        expected.set(contents, start);
        const label = `start ${start}, length ${length}`;
        expect(`${label}: ${Buffer.compare(bytesAt(path), expected)}`).toBe(`${label}: 0`);
      }
    }
  });
});

test("chunks are copied before write() resolves", async () => {
  using folder = new Folder();
  const path = folder.file("data");
  await using file = await File.open(path, { write: true, create: true });
  const writer = file.writable().getWriter();
  const buffer = new Uint8Array(10_000);
  for (let i = 1; i <= 100; i++) {
    buffer.fill(i);
    await writer.write(buffer);
  }
  buffer.fill(0xee);
  await writer.close();
  const written = bytesAt(path);
  expect(written.byteLength).toBe(1_000_000);
  for (let i = 0; i < 100; i++) {
    expect(written[i * 10_000]).toBe(i + 1);
    expect(written[i * 10_000 + 9999]).toBe(i + 1);
  }
});

test("every kind of view", async () => {
  using folder = new Folder();
  const path = folder.file("data");
  await using file = await File.open(path, { write: true, create: true });
  const writer = file.writable().getWriter();
  const shared = new SharedArrayBuffer(2);
  new Uint8Array(shared).fill(3);
  const pinned = allocBuffer(2);
  pinned.fill(5);
  const all: IoData[] = [
    new Uint8Array([1, 1]),
    new Uint8Array([2, 2]).buffer,
    shared,
    new DataView(new Uint8Array([0, 4, 4, 0]).buffer, 1, 2),
    pinned,
    new Uint16Array([0x0606]),
    Buffer.alloc(0),
  ];
  for (const data of all) await writer.write(data);
  await writer.close();
  expect([...bytesAt(path)]).toEqual([1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]);
});

test("what is no memory errors the stream", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data"), { write: true, create: true });
  const writer = file.writable().getWriter();
  writer.closed.catch(() => {});
  await expect(writer.write("text" as never)).rejects.toMatchObject({
    code: "ERR_INVALID_ARG_TYPE",
  });
});

test("small chunks are gathered into few writes", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using file = await File.open(folder.file("data"), { write: true, create: true, ring });
  const writer = file.writable().getWriter();
  for (let i = 0; i < 4096; i++) await writer.write(new Uint8Array(128));
  await writer.close();
  expect(ring.stats().writes).toBe(2);
});

test("writes run at once, no more than `concurrency` and one buffer ahead", async () => {
  using folder = new Folder();
  await using ring = Ring.open({ queueDepth: 1 });
  await using file = await File.open(folder.file("data"), { write: true, create: true, ring });
  const writer = file.writable({ concurrency: 2 }).getWriter();
  let peak = 0;
  for (let i = 0; i < 20; i++) {
    await writer.write(new Uint8Array(256 * 1024));
    peak = Math.max(peak, ring.stats().inFlight);
  }
  await writer.close();
  expect(peak).toBeLessThanOrEqual(3);
  expect(await file.size()).toBe(20 * 256 * 1024);
});

test("sync: close resolves when all is on the medium", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using file = await File.open(folder.file("data"), { write: true, create: true, ring });
  await chunks(pattern(1000), 100).pipeTo(file.writable({ sync: true }));
  expect(ring.stats().syncs).toBe(1);
  await chunks(pattern(1000), 100).pipeTo(file.writable());
  expect(ring.stats().syncs).toBe(1);
});

test("a failed write errors the stream at once", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", "x"));
  const writer = file.writable().getWriter();
  const closed = rejection(writer.closed);
  await writer.write(new Uint8Array(256 * 1024));
  const error = await closed;
  expect(error.code).toBe("EBADF");
  expect(error.syscall).toBe("write");
  expect(await rejection(writer.write(new Uint8Array(1)))).toBe(error);
});

test("a failed tail fails close", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", "x"));
  const writer = file.writable().getWriter();
  const closed = rejection(writer.closed);
  await writer.write(new Uint8Array(5));
  expect((await rejection(writer.close())).code).toBe("EBADF");
  expect((await closed).code).toBe("EBADF");
});

test("abort and signals end the writes", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  const file = await File.open(folder.file("data"), { write: true, create: true, ring });
  const writer = file.writable().getWriter();
  writer.closed.catch(() => {});
  await writer.write(new Uint8Array(1 << 20));
  await writer.abort("enough");
  expect(ring.stats().inFlight).toBe(0);
  const controller = new AbortController();
  const other = file.writable({ signal: controller.signal }).getWriter();
  const closed = rejection(other.closed);
  await other.write(new Uint8Array(10));
  controller.abort("stop");
  const error = await closed;
  expect(error.name).toBe("AbortError");
  expect(error.cause).toBe("stop");
  const never = file.writable({ signal: AbortSignal.abort("no") }).getWriter();
  expect((await rejection(never.closed)).cause).toBe("no");
  await file.close();
});

test("a gzip image unpacked onto a file, a file zipped into another", async () => {
  using folder = new Folder();
  const contents = pattern(3_000_001);
  const path = folder.file("image");
  await using file = await File.open(path, { write: true, create: true, direct: true });
  const image = new Blob([gzipSync(contents)]).stream();
  await image.pipeThrough(new DecompressionStream("gzip")).pipeTo(file.writable({ sync: true }));
  expect(Buffer.compare(bytesAt(path), contents)).toBe(0);
  const zip = folder.file("zip");
  await using target = await File.open(zip, { write: true, create: true });
  await file.readable().pipeThrough(new CompressionStream("gzip")).pipeTo(target.writable());
  expect(Buffer.compare(gunzipSync(bytesAt(zip)), contents)).toBe(0);
});

testUnless(loopMissing, "a gzip image unpacked onto a disk of 4096-byte sectors", async () => {
  using folder = new Folder();
  const before = new Uint8Array(4 << 20).fill(0xff);
  const image = folder.file("image", before);
  using loop = new LoopDevice(image, 4096);
  await using disk = await BlockDevice.open(loop.path, { write: true });
  expect(disk.alignment.offset).toBe(4096);
  // Begins and ends within a sector: what lies around stays.
  for (const [start, length] of [
    [0, 3_000_001],
    [5000, 300],
    [1_000_003, 1_234_567],
  ] as const) {
    const contents = pattern(length, start);
    const packed = new Response(gzipSync(contents)).body;
    if (packed === null) throw new Error("no body");
    await packed
      .pipeThrough(new DecompressionStream("gzip"))
      .pipeTo(disk.writable({ start, sync: true }));
    before.set(contents, start);
    await disk.invalidateCache();
    const after = allocBuffer(before.byteLength);
    await disk.readExactAt(after, 0);
    expect([start, Buffer.compare(after, before)]).toEqual([start, 0]);
  }
});

test.each([
  [{ start: -1 }, "options.start"],
  [{ concurrency: 0 }, "options.concurrency"],
  [{ sync: 1 }, "options.sync"],
  [{ end: 5 }, "options.end"],
])("refuses %p", async (options, named) => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", "x"));
  expect(() => file.writable(options as never)).toThrow(named);
});

test("a stream that was left alone costs nothing at exit", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data"), { write: true, create: true });
  const writer = file.writable().getWriter();
  await writer.write(new Uint8Array(10));
  await turns();
  expect(await file.size()).toBe(0);
});

test("a stream that failed in any way holds nothing and listens no more", async () => {
  using folder = new Folder();
  const readOnly = folder.file("data", "x");
  const broken = await simulatedDevice({
    size: 1 << 20,
    faults: [{ operation: "sync", error: "EIO" }],
  });
  const ends: [string, () => Promise<File>, (writer: Writer) => Promise<unknown>][] = [
    [
      "a chunk that is none",
      () => File.open(readOnly, { write: true }),
      async (writer) => {
        await writer.write(new Uint8Array(5));
        return writer.write("text" as never);
      },
    ],
    [
      "a write at close",
      () => File.open(readOnly),
      async (writer) => {
        await writer.write(new Uint8Array(5));
        return writer.close();
      },
    ],
    [
      "the sync",
      () => Promise.resolve(broken),
      async (writer) => {
        await writer.write(new Uint8Array(512));
        return writer.close();
      },
    ],
    [
      "abort",
      () => File.open(readOnly, { write: true }),
      async (writer) => {
        await writer.write(new Uint8Array(5));
        await writer.abort(new Error("enough"));
        return writer.write(new Uint8Array(5));
      },
    ],
  ];
  for (const [how, open, fail] of ends) {
    const file = await open();
    const leaks = trackLeaks();
    const { signal } = new AbortController();
    const writer = file.writable({ signal, sync: true }).getWriter();
    writer.closed.catch(() => {});
    const error = await fail(writer).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect([how, error]).toEqual([how, expect.any(Error)]);
    expect([how, getEventListeners(signal, "abort").length]).toEqual([how, 0]);
    await leaks[Symbol.asyncDispose]();
    await file.close();
  }
});

test("an abort ends a large chunk on its way, not only the next one", async () => {
  await using device = await simulatedDevice({
    size: 64 << 20,
    faults: [{ operation: "write", latency: 20 }],
  });
  const writer = device.writable({ concurrency: 1 }).getWriter();
  writer.closed.catch(() => {});
  const writing = writer.write(new Uint8Array(32 << 20)).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  await until(() => device.ring.stats().inFlight > 0);
  await writer.abort("enough");
  expect(await writing).toBe("enough");
  const { bytesWritten, inFlight } = device.ring.stats();
  expect(inFlight).toBe(0);
  expect(bytesWritten).toBeLessThan(8 << 20);
});

test("a stream keeps its file open, though nobody else has it", async () => {
  using folder = new Folder();
  const path = folder.file("data");
  const begin = async (): Promise<Writer> =>
    (await File.open(path, { write: true, create: true })).writable().getWriter();
  const writer = await begin();
  const contents = pattern(3 << 20);
  for (let at = 0; at < contents.byteLength; at += 1 << 18) {
    await writer.write(contents.subarray(at, at + (1 << 18)));
    Bun.gc(true);
    await turns();
  }
  await writer.close();
  expect(Buffer.compare(bytesAt(path), contents)).toBe(0);
});
