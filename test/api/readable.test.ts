// `file.readable()`: order, boundaries, backpressure, BYOB, ends of all kinds.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";
import { File, Ring } from "../../src/index.ts";
import { Folder, pattern, rejection, turns, until } from "../support/control.ts";

async function collect(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return new Uint8Array(Buffer.concat(chunks));
}

interface ByobReader {
  read(view: Uint8Array): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
}

describe.each([false, true])("direct: %p", (direct) => {
  test.each([1, 511, 512, 513, 4096, 10_000])(
    "every boundary around chunks of %p",
    async (chunk) => {
      using folder = new Folder();
      for (const size of [0, 1, 2, chunk - 1, chunk, chunk + 1, 3 * chunk, 3 * chunk + 1]) {
        const contents = pattern(size, chunk);
        await using file = await File.open(folder.file("data", contents), { direct });
        const stream = file.readable({ chunkSize: chunk, concurrency: 3 });
        expect(Buffer.compare(await collect(stream), contents)).toBe(0);
      }
    },
  );

  test("start and end, at and around every boundary", async () => {
    using folder = new Folder();
    const contents = pattern(20_000);
    await using file = await File.open(folder.file("data", contents), { direct });
    for (const start of [0, 1, 511, 512, 4096, 5000, 19_999, 20_000, 30_000]) {
      for (const end of [start, start + 1, start + 4096, 12_288, 19_999, 20_000, 20_001, 40_000]) {
        if (end < start) continue;
        const stream = file.readable({ start: BigInt(start), end, chunkSize: 4096 });
        expect(Buffer.compare(await collect(stream), contents.subarray(start, end))).toBe(0);
      }
    }
  });

  test("BYOB readers of every size", async () => {
    using folder = new Folder();
    const contents = pattern(50_000);
    await using file = await File.open(folder.file("data", contents), { direct });
    for (const size of [1000, 4096, 7001, 60_000]) {
      const reader = file
        .readable({ chunkSize: 4096, concurrency: 2 })
        .getReader({ mode: "byob" }) as unknown as ByobReader;
      const got: Buffer[] = [];
      for (;;) {
        const { done, value } = await reader.read(new Uint8Array(size));
        if (done || value === undefined) break;
        expect(value.byteLength).toBeGreaterThan(0);
        got.push(Buffer.from(value));
      }
      expect(Buffer.compare(Buffer.concat(got), contents)).toBe(0);
    }
  });
});

test("chunks have the size asked for and are the reader's to keep", async () => {
  using folder = new Folder();
  const contents = pattern(100_000);
  await using file = await File.open(folder.file("data", contents));
  const chunks: Uint8Array[] = [];
  for await (const chunk of file.readable({ chunkSize: 30_000, concurrency: 2 }))
    chunks.push(chunk);
  expect(chunks.map((chunk) => chunk.byteLength)).toEqual([30_000, 30_000, 30_000, 10_000]);
  expect(Buffer.compare(Buffer.concat(chunks), contents)).toBe(0);
});

test("chunks stay the reader's, whatever becomes of others", async () => {
  using folder = new Folder();
  const contents = pattern(3_000_000);
  await using file = await File.open(folder.file("data", contents));
  const kept: { at: number; chunk: Uint8Array }[] = [];
  let at = 0;
  for await (const chunk of file.readable({ chunkSize: 65_536 })) {
    expect(chunk.byteOffset).toBe(0);
    expect(chunk.buffer.byteLength).toBe(chunk.byteLength);
    const turn = (at / 65_536) % 5;
    if (turn === 0) kept.push({ at, chunk });
    if (turn === 1) kept.push({ at, chunk: structuredClone(chunk) });
    if (turn === 2) kept.push({ at, chunk: new Uint8Array(chunk.buffer.transfer()) });
    if (turn === 3) kept.push({ at, chunk: new Uint8Array(chunk.buffer.transfer(1000)) });
    at += 65_536;
    if (turn === 4) Bun.gc(true);
  }
  for (const { at, chunk } of kept) {
    expect(Buffer.compare(chunk, contents.subarray(at, at + chunk.byteLength))).toBe(0);
  }
});

test("a stream keeps its file open, though nobody else has it", async () => {
  using folder = new Folder();
  const contents = pattern(1 << 20);
  const path = folder.file("data", contents);
  const open = async (): Promise<ReadableStream<Uint8Array>> =>
    (await File.open(path)).readable({ chunkSize: 4096 });
  const stream = await open();
  const collectOften = async (): Promise<void> => {
    for (let i = 0; i < 5; i++) {
      Bun.gc(true);
      await turns();
    }
  };
  await collectOften();
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) {
    chunks.push(chunk);
    if (chunks.length % 64 === 0) await collectOften();
  }
  expect(Buffer.compare(Buffer.concat(chunks), contents)).toBe(0);
});

test("nothing is read before somebody asks, and no more than `concurrency` ahead", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using file = await File.open(folder.file("data", pattern(1 << 20)), { ring });
  const stream = file.readable({ chunkSize: 4096, concurrency: 3 });
  const reads = async (count: number): Promise<void> => {
    await until(() => ring.stats().reads >= count && ring.stats().inFlight === 0);
    // And no more.
    await turns();
    expect(ring.stats().reads).toBe(count);
  };
  await reads(0);
  const reader = stream.getReader();
  await reader.read();
  await reads(4);
  await reader.read();
  await reads(5);
  await reader.cancel();
  expect(ring.stats().inFlight).toBe(0);
});

test("Response, pipeTo, Bun.write and compression", async () => {
  using folder = new Folder();
  const contents = pattern(300_000);
  await using file = await File.open(folder.file("data", contents));
  const response = await new Response(file.readable({ chunkSize: 10_000 })).bytes();
  expect(Buffer.compare(response, contents)).toBe(0);
  const zipped = file.readable().pipeThrough(new CompressionStream("gzip"));
  expect(Buffer.compare(gunzipSync(await new Response(zipped).bytes()), contents)).toBe(0);
  const copy = folder.file("copy");
  await Bun.write(copy, new Response(file.readable()));
  expect(Buffer.compare(await Bun.file(copy).bytes(), contents)).toBe(0);
  const gz = folder.file("gz", gzipSync(contents));
  await using packed = await File.open(gz);
  const unzipped = packed.readable({ chunkSize: 999 }).pipeThrough(new DecompressionStream("gzip"));
  expect(Buffer.compare(await new Response(unzipped).bytes(), contents)).toBe(0);
  const [a, b] = file.readable().tee();
  const both = await Promise.all([new Response(a).bytes(), new Response(b).bytes()]);
  for (const bytes of both) expect(Buffer.compare(bytes, contents)).toBe(0);
});

test("cancel ends the reads; the file is free afterwards", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  const file = await File.open(folder.file("data", pattern(1 << 20)), { ring });
  const stream = file.readable({ chunkSize: 65536, concurrency: 8 });
  const reader = stream.getReader();
  await reader.read();
  await reader.cancel("enough");
  expect((await reader.read()).done).toBe(true);
  await file.close();
  expect(ring.stats().inFlight).toBe(0);
});

test("leaving a loop cancels", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", pattern(1 << 20)));
  for await (const chunk of file.readable({ chunkSize: 4096 })) {
    expect(chunk.byteLength).toBe(4096);
    break;
  }
});

test("an aborted signal errors the stream, between reads too", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using file = await File.open(folder.file("data", pattern(1 << 20)), { ring });
  const reason = new Error("stop");
  const aborted = file.readable({ signal: AbortSignal.abort(reason) }).getReader();
  const first = await rejection(aborted.read());
  expect(first.name).toBe("AbortError");
  expect(first.cause).toBe(reason);
  expect(ring.stats().reads).toBe(0);
  const controller = new AbortController();
  const reader = file.readable({ chunkSize: 4096, signal: controller.signal }).getReader();
  await reader.read();
  controller.abort(reason);
  const error = await rejection(reader.read());
  expect(error.code).toBe("ABORT_ERR");
  expect(error.cause).toBe(reason);
});

test("a stream that is over listens no more", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", pattern(10)));
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: unknown[]) => {
    listeners++;
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    listeners--;
    Reflect.apply(removeEventListener, signal, args);
  };
  await collect(file.readable({ signal }));
  await file.readable({ signal }).cancel();
  expect(listeners).toBe(0);
});

test("a failed read errors the stream, behind the bytes before it", async () => {
  using folder = new Folder();
  const file = await File.open(folder.file("data", pattern(100_000)));
  const reader = file.readable({ chunkSize: 4096, concurrency: 2 }).getReader();
  await reader.read();
  await file.close();
  const got: number[] = [];
  const error = await rejection(
    (async () => {
      for (;;) {
        const { value } = await reader.read();
        got.push(value?.byteLength ?? 0);
      }
    })(),
  );
  expect(error.code).toBe("EBADF");
  expect(got.length).toBeLessThanOrEqual(2);
  expect(got.every((bytes) => bytes === 4096)).toBe(true);
});

test("a file that grows while it is read ends where its end was met", async () => {
  using folder = new Folder();
  const path = folder.file("data", pattern(5000));
  await using ring = Ring.open();
  await using file = await File.open(path, { ring });
  const reader = file.readable({ chunkSize: 4096, concurrency: 1 }).getReader();
  expect((await reader.read()).value?.byteLength).toBe(4096);
  // The one that meets the end runs ahead.
  await until(() => ring.stats().reads === 2 && ring.stats().inFlight === 0);
  writeFileSync(path, pattern(50_000));
  expect((await reader.read()).value?.byteLength).toBe(904);
  expect((await reader.read()).done).toBe(true);
});

test.each([
  [{ start: -1 }, "options.start"],
  [{ start: 5, end: 4 }, "options.end"],
  [{ chunkSize: 0 }, "options.chunkSize"],
  [{ concurrency: 0 }, "options.concurrency"],
  [{ concurrency: 1.5 }, "options.concurrency"],
  [{ signal: 1 }, "options.signal"],
  [{ chunksize: 5 }, "options.chunksize"],
])("refuses %p", async (options, named) => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", "x"));
  expect(() => file.readable(options as never)).toThrow(named);
});
