// `copy`: every pair of sides, every length, holes, verification, failures and how to resume after them.

import { describe, expect, test } from "bun:test";
import { readFileSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { gzipSync } from "node:zlib";
import {
  BufferPool,
  type CopyOptions,
  type CopyProgress,
  type CopyResult,
  copy,
  File,
  IoError,
  type OpenOptions,
  Ring,
} from "../../src/index.ts";
import { simulatedDevice } from "../../src/testing/index.ts";
import { noLinux, testUnless, without } from "../support/conditions.ts";
import { Folder, LoopDevice, loopMissing, pattern, rejection } from "../support/control.ts";
import { madeUpMissing } from "../support/made_up.ts";

function bytesAt(path: string): Uint8Array {
  return new Uint8Array(readFileSync(path));
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function streamOf(contents: Uint8Array, size: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= contents.byteLength) return controller.close();
      controller.enqueue(contents.slice(at, at + size));
      at += size;
    },
  });
}

/** What a call rejected with that was wrong from the beginning. */
async function refusal(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  try {
    await promise;
  } catch (error) {
    return error as Error & { code?: string };
  }
  throw new Error("expected a rejection");
}

const partitionsMissing = loopMissing ?? without("addpart");

/** A partition that stands in no table; in sectors of 512 bytes. */
class Partition implements Disposable {
  readonly #disk: string;

  constructor(disk: string, start: number, length: number) {
    this.#disk = disk;
    const { exitCode, stderr } = Bun.spawnSync(["addpart", disk, "1", `${start}`, `${length}`]);
    if (exitCode !== 0) throw new Error(`addpart: ${stderr}`);
  }

  [Symbol.dispose](): void {
    Bun.spawnSync(["delpart", this.#disk, "1"]);
  }
}

function open(path: string, options: OpenOptions = {}): Promise<File> {
  return File.open(path, { write: true, create: true, ...options });
}

/** Lets the nth call of a file's method fail, without the file. */
function failing(file: File, name: "readAt" | "writeAt", nth: number, code: string): () => number {
  let calls = 0;
  const original = file[name].bind(file);
  file[name] = (data, offset, options) => {
    calls++;
    if (calls !== nth) return original(data, offset, options);
    return Promise.reject(new IoError(code, { syscall: name, reason: "injected" }));
  };
  return () => calls;
}

/** Lets reads fail that touch a bad range. */
function badRange(file: File, from: number, to: number, code = "EIO"): void {
  const original = file.readAt.bind(file);
  file.readAt = (data, offset, options) => {
    const begin = Number(offset);
    if (begin < to && begin + data.byteLength > from) {
      return Promise.reject(new IoError(code, { syscall: "read", reason: "injected" }));
    }
    return original(data, offset, options);
  };
}

describe.each([
  [false, false],
  [true, false],
  [false, true],
  [true, true],
])("direct source %p, direct target %p", (from, to) => {
  test("every length around a chunk and a sector", async () => {
    using folder = new Folder();
    const chunkSize = 8192;
    for (const length of [0, 1, 511, 512, 513, 4096, 8191, 8192, 8193, 50_000, 81_920]) {
      const contents = pattern(length, length);
      await using source = await File.open(folder.file("a", contents), { direct: from });
      const path = folder.file(`b${length}`);
      await using target = await open(path, { direct: to });
      const result = await copy(source, target, { chunkSize, concurrency: 3 });
      expect(result).toMatchObject({
        bytesCopied: length,
        bytesSkipped: 0,
        prefix: length,
        verified: false,
        digest: undefined,
        readErrors: [],
      });
      expect(same(bytesAt(path), contents)).toBe(true);
    }
  });

  test("offsets and lengths anywhere; what lies around stays", async () => {
    using folder = new Folder();
    const contents = pattern(60_000, 5);
    await using source = await File.open(folder.file("a", contents), { direct: from });
    for (const sourceOffset of [0, 1, 4096, 5000]) {
      for (const targetOffset of [0, 511, 4096, 33_333, 50_000]) {
        for (const length of [1, 4096, 10_001, 30_000]) {
          const before = pattern(40_000, 77);
          const path = folder.file("b", before);
          await using target = await open(path, { direct: to });
          const options = { sourceOffset, targetOffset: BigInt(targetOffset), length };
          await copy(source, target, { ...options, chunkSize: 4096, concurrency: 2 });
          const expected = new Uint8Array(Math.max(40_000, targetOffset + length));
          expected.set(before);
          expected.set(contents.subarray(sourceOffset, sourceOffset + length), targetOffset);
          const label = `${sourceOffset} -> ${targetOffset}, ${length} bytes`;
          expect(`${label}: ${same(bytesAt(path), expected)}`).toBe(`${label}: true`);
        }
      }
    }
  });

  test("sparse: what is skipped reads as zeroes, whatever was there", async () => {
    using folder = new Folder();
    const K = 65_536;
    // Data, holes, and a hole at the end that is no multiple of anything.
    const contents = new Uint8Array(20 * K + 1234);
    for (const at of [0, 3, 4, 9, 15]) contents.set(pattern(K, at), at * K);
    contents[12 * K + 777] = 1;
    await using source = await File.open(folder.file("a", contents), { direct: from });
    for (const before of [0, 5 * K, 12 * K + 99, 20 * K, 30 * K]) {
      for (const targetOffset of [0, 4096, 1000]) {
        const path = folder.file("b", new Uint8Array(before).fill(0xff));
        await using target = await open(path, { direct: to });
        const options = { sparse: true, verify: true, chunkSize: 4 * K, targetOffset };
        const result = await copy(source, target, options);
        expect(result.bytesCopied + result.bytesSkipped).toBe(contents.byteLength);
        expect(result.prefix).toBe(contents.byteLength);
        expect(result.bytesSkipped).toBeGreaterThan(8 * K);
        expect(result.verified).toBe(true);
        const expected = new Uint8Array(Math.max(before, targetOffset + contents.byteLength));
        expected.fill(0xff, 0, before);
        expected.set(contents, targetOffset);
        if (!same(bytesAt(path), expected)) throw new Error(`before ${before} at ${targetOffset}`);
      }
    }
  });
});

test("holes are holes", async () => {
  using folder = new Folder();
  const contents = new Uint8Array(4 << 20);
  contents[0] = 1;
  await using source = await File.open(folder.file("a", contents));
  const path = folder.file("b");
  await using target = await open(path);
  const result = await copy(source, target, { sparse: true });
  expect(result.bytesCopied).toBe(65_536);
  expect(statSync(path).size).toBe(4 << 20);
  expect(statSync(path).blocks * 512).toBeLessThan(1 << 20);
});

describe("streams as source", () => {
  test.each([1000, 65_536, 1_000_000])("chunks of %p", async (size) => {
    using folder = new Folder();
    const contents = pattern(1_234_567);
    const path = folder.file("b");
    await using target = await open(path, { direct: true });
    const options = { chunkSize: 65_536, verify: true, hash: "sha256" } as const;
    const result = await copy(streamOf(contents, size), target, options);
    expect(result.prefix).toBe(contents.byteLength);
    expect(result.verified).toBe(true);
    expect(result.digest).toBe(new Bun.CryptoHasher("sha256").update(contents).digest("hex"));
    expect(same(bytesAt(path), contents)).toBe(true);
  });

  test("a compressed image", async () => {
    using folder = new Folder();
    const contents = pattern(3_000_000);
    const image = new Blob([gzipSync(contents)]).stream();
    const path = folder.file("b");
    await using target = await open(path);
    await copy(image.pipeThrough(new DecompressionStream("gzip")), target);
    expect(same(bytesAt(path), contents)).toBe(true);
  });

  test("another file's readable, from an offset, with a length", async () => {
    using folder = new Folder();
    const contents = pattern(500_000);
    await using source = await File.open(folder.file("a", contents));
    const path = folder.file("b");
    await using target = await open(path);
    const options = { sourceOffset: 12_345, length: 200_000, chunkSize: 10_000 };
    const result = await copy(source.readable({ chunkSize: 7000 }), target, options);
    expect(result.bytesCopied).toBe(200_000);
    expect(same(bytesAt(path), contents.subarray(12_345, 212_345))).toBe(true);
  });

  test("of whole chunks: the digest is of all of them", async () => {
    await using target = await File.open("/dev/null", { write: true });
    const contents = pattern(32 << 20);
    const chunkSize = 16 << 20;
    const options = { chunkSize, hash: "sha256", sync: false } as const;
    const { digest } = await copy(streamOf(contents, chunkSize), target, options);
    expect(digest).toBe(new Bun.CryptoHasher("sha256").update(contents).digest("hex"));
  });

  test("an empty one", async () => {
    using folder = new Folder();
    await using target = await open(folder.file("b"));
    expect((await copy(streamOf(new Uint8Array(0), 1), target)).prefix).toBe(0);
  });

  test("one that ends too early, fails, or gives what is no memory", async () => {
    using folder = new Folder();
    await using target = await open(folder.file("b"));
    const short = await rejection(copy(streamOf(pattern(1000), 100), target, { length: 2000 }));
    expect(short.code).toBe("ERR_END_OF_FILE");
    expect(short.result?.prefix).toBe(1000);
    const cause = new Error("line is down");
    let sent = 0;
    const broken = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (sent++ < 10) controller.enqueue(new Uint8Array(4096));
        else controller.error(cause);
      },
    });
    const failed = await rejection(copy(broken, target, { chunkSize: 8192 }));
    expect(failed.code).toBe("ERR_COPY");
    expect(failed.cause).toBe(cause);
    expect(failed.result?.prefix).toBe(40_960);
    const wrong = new ReadableStream({
      start(controller) {
        controller.enqueue("text");
      },
    });
    const refused = await rejection(copy(wrong, target));
    expect((refused.cause as { code?: string }).code).toBe("ERR_INVALID_ARG_TYPE");
  });

  test("an abort cancels a stream that waits", async () => {
    using folder = new Folder();
    await using target = await open(folder.file("b"));
    let cancelled: unknown;
    const controller = new AbortController();
    const stalled = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(new Uint8Array(100));
      },
      pull() {
        // What was there has been taken, and nothing comes.
        setImmediate(() => controller.abort("enough"));
        return new Promise(() => {});
      },
      cancel(reason) {
        cancelled = reason;
      },
    });
    const error = await rejection(copy(stalled, target, { signal: controller.signal }));
    expect(error.name).toBe("AbortError");
    expect(error.cause).toBe("enough");
    expect((cancelled as IoError).code).toBe("ABORT_ERR");
  });

  test("however it ends, the stream is unlocked", async () => {
    using folder = new Folder();
    await using target = await open(folder.file("b"));
    const sources: [string, ReadableStream<Uint8Array>, CopyOptions][] = [
      ["its end", streamOf(pattern(1000), 100), {}],
      ["the length", streamOf(pattern(1000), 100), { length: 150 }],
      ["its error", new ReadableStream({ pull: (c) => c.error(new Error("no")) }), {}],
      ["a wrong chunk", new ReadableStream({ pull: (c) => c.enqueue("text" as never) }), {}],
      [
        "an abort, with a cancel that hangs",
        new ReadableStream({
          pull: () => new Promise(() => {}),
          cancel: () => new Promise(() => {}),
        }),
        { signal: AbortSignal.timeout(10) },
      ],
    ];
    for (const [how, source, options] of sources) {
      await copy(source, target, options).catch(() => {});
      expect([how, source.locked]).toEqual([how, false]);
    }
  });
});

test("an aborted signal: no I/O, no look at the files, and the stream is left alone", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using target = await open(folder.file("b"), { ring });
  const before = ring.stats().completions;
  const source = streamOf(pattern(100), 100);
  const error = await rejection(copy(source, target, { signal: AbortSignal.abort("no") }));
  expect([error.code, error.cause]).toEqual(["ABORT_ERR", "no"]);
  expect(error.result).toMatchObject({ prefix: 0, bytesCopied: 0, readErrors: [] });
  expect(ring.stats().completions).toBe(before);
  expect(source.locked).toBe(false);
  expect((await copy(source, target)).bytesCopied).toBe(100);
});

describe("onto devices", () => {
  const M = 1 << 20;

  testUnless(
    loopMissing,
    "sparse over 0xFF, with a tail shorter than a sector, verified",
    async () => {
      using folder = new Folder();
      const image = folder.file("image", new Uint8Array(8 * M).fill(0xff));
      for (const sector of [512, 4096]) {
        writeFileSync(image, new Uint8Array(8 * M).fill(0xff));
        using loop = new LoopDevice(image, sector);
        const contents = new Uint8Array(5 * M + 1111);
        for (const at of [0, 1_500_000, 4 * M]) contents.set(pattern(200_000, at), at);
        contents.fill(7, 5 * M);
        await using source = await File.open(folder.file("a", contents));
        for (const direct of [true, false]) {
          await using target = await File.open(loop.path, { write: true, direct });
          const options = { sparse: true, verify: true, hash: "sha256" } as const;
          const result = await copy(source, target, options);
          expect(result.bytesSkipped).toBeGreaterThan(3 * M);
          expect(result.verified).toBe(true);
          expect(result.digest).toBe(new Bun.CryptoHasher("sha256").update(contents).digest("hex"));
          const expected = new Uint8Array(8 * M).fill(0xff);
          expected.set(contents);
          const readBack = new Uint8Array(8 * M);
          await target.readAt(readBack, 0);
          expect(same(readBack, expected)).toBe(true);
          const cmp = Bun.spawnSync([
            "cmp",
            "-n",
            `${contents.byteLength}`,
            folder.file("a"),
            loop.path,
          ]);
          expect(cmp.exitCode).toBe(0);
        }
      }
    },
  );

  testUnless(
    loopMissing,
    "a target that is too small is refused before anything is written",
    async () => {
      using folder = new Folder();
      const before = new Uint8Array(M).fill(0xff);
      const image = folder.file("image", before);
      using loop = new LoopDevice(image);
      await using source = await File.open(folder.file("a", pattern(M + 1)));
      await using target = await File.open(loop.path, { write: true, direct: true });
      const error = await rejection(copy(source, target));
      expect(error.code).toBe("ENOSPC");
      expect(error.result).toBeUndefined();
      expect((await rejection(copy(source, target, { length: M, targetOffset: 512 }))).code).toBe(
        "ENOSPC",
      );
      const readBack = new Uint8Array(M);
      await target.readAt(readBack, 0);
      expect(same(readBack, before)).toBe(true);
      const stream = streamOf(pattern(M + 1), 100_000);
      const late = await rejection(copy(stream, target, { chunkSize: M }));
      expect(late.code).toBe("ENOSPC");
      expect(late.result?.prefix).toBe(M);
      expect((await copy(source, target, { length: M })).prefix).toBe(M);
    },
  );

  testUnless(
    loopMissing,
    "a medium whose end cannot be read: skip tells what is lost",
    async () => {
      using folder = new Folder();
      const contents = pattern(M);
      const image = folder.file("image", contents);
      using loop = new LoopDevice(image);
      // The device keeps its size; what lies behind the end of its file is EIO or zeroes.
      await using source = await File.open(loop.path, { direct: true });
      badRange(source, 300_032, 300_544);
      const path = folder.file("b");
      await using target = await open(path);
      const options = { onReadError: "skip", chunkSize: 65_536 } as const;
      const result = await copy(source, target, options);
      expect(result.readErrors).toEqual([{ offset: 300_032, length: 512, code: "EIO" }]);
      contents.fill(0, 300_032, 300_544);
      expect(same(bytesAt(path), contents)).toBe(true);
    },
  );
});

describe("verify", () => {
  test("a byte that changed meanwhile is found", async () => {
    using folder = new Folder();
    const contents = pattern(1_000_001);
    for (const at of [0, 65_535, 65_536, 500_000, 1_000_000]) {
      const path = folder.file("b");
      await using source = await File.open(folder.file("a", contents));
      await using target = await open(path);
      const spoil = (progress: CopyProgress): void => {
        if (progress.phase === "verify" || progress.bytes < contents.byteLength) return;
        for (const position of [at, 1_000_000]) {
          writeSync(target.fd, new Uint8Array([(contents[position] ?? 0) ^ 1]), 0, 1, position);
        }
      };
      const options = { verify: true, chunkSize: 100_000, onProgress: spoil, targetOffset: 0 };
      const error = await rejection(copy(source, target, options));
      expect(error.code).toBe("ERR_VERIFY");
      expect(error.offset).toBe(at);
      expect(error.path).toBe(path);
      expect(error.result).toMatchObject({ verified: false, prefix: at, bytesCopied: 1_000_001 });
    }
  });

  test("of a stream, the block is told", async () => {
    using folder = new Folder();
    const contents = pattern(300_000);
    await using target = await open(folder.file("b"));
    const spoil = (progress: CopyProgress): void => {
      if (progress.phase === "verify" || progress.bytes < contents.byteLength) return;
      writeSync(target.fd, new Uint8Array([(contents[200_000] ?? 0) ^ 1]), 0, 1, 200_000);
    };
    const options = { verify: true, onProgress: spoil };
    const error = await rejection(copy(streamOf(contents, 1000), target, options));
    expect(error.code).toBe("ERR_VERIFY");
    expect(error.offset).toBe(3 * 65_536);
  });

  test("a target that has become shorter", async () => {
    using folder = new Folder();
    const contents = pattern(300_000);
    const path = folder.file("b");
    await using source = await File.open(folder.file("a", contents));
    await using target = await open(path);
    const spoil = (progress: CopyProgress): void => {
      if (progress.phase === "copy" && progress.bytes === contents.byteLength) {
        truncateSync(path, 100_000);
      }
    };
    const error = await rejection(copy(source, target, { verify: true, onProgress: spoil }));
    expect(error.code).toBe("ERR_VERIFY");
  });

  test("nothing cached is believed: the cache is dropped first", async () => {
    using folder = new Folder();
    await using ring = Ring.open();
    await using source = await File.open(folder.file("a", pattern(10)), { ring });
    await using target = await open(folder.file("b"), { ring });
    const order: string[] = [];
    for (const name of ["syncAll", "invalidateCache", "readAt"] as const) {
      const original = target[name].bind(target) as (...args: unknown[]) => Promise<never>;
      Object.assign(target, {
        [name]: (...args: unknown[]) => {
          order.push(name);
          return original(...args);
        },
      });
    }
    await copy(source, target, { verify: true });
    expect(order).toEqual(["syncAll", "invalidateCache", "readAt"]);
    order.length = 0;
    await copy(source, target, { sync: false });
    expect(order).toEqual([]);
    await copy(source, target);
    expect(order).toEqual(["syncAll"]);
  });
});

describe("failures", () => {
  const SIZE = 40_000;
  const chunkSize = 4096;

  test("a write fault at every position: prefix, and going on from there", async () => {
    using folder = new Folder();
    const contents = pattern(SIZE);
    for (let nth = 1; nth <= 10; nth++) {
      const path = folder.file("b", "");
      await using source = await File.open(folder.file("a", contents));
      await using target = await open(path);
      failing(target, "writeAt", nth, "ENOSPC");
      const error = await rejection(copy(source, target, { chunkSize, concurrency: 3 }));
      expect(error.code).toBe("ENOSPC");
      const { prefix = Number.NaN } = error.result ?? {};
      expect(prefix % chunkSize).toBe(0);
      expect(prefix).toBeLessThan(SIZE);
      expect(same(bytesAt(path).subarray(0, prefix), contents.subarray(0, prefix))).toBe(true);
      const rest = await copy(source, target, {
        sourceOffset: prefix,
        targetOffset: prefix,
        chunkSize,
        sync: false,
      });
      expect(prefix + rest.prefix).toBe(SIZE);
      expect(same(bytesAt(path), contents)).toBe(true);
    }
  });

  test("a read fault at every position, failing and skipping", async () => {
    using folder = new Folder();
    const contents = pattern(SIZE);
    for (let bad = 0; bad < SIZE; bad += 4096) {
      const path = folder.file("b", "");
      await using source = await File.open(folder.file("a", contents));
      badRange(source, bad, bad + 1);
      await using target = await open(path);
      const options = { chunkSize: 16_384, concurrency: 2 };
      const error = await rejection(copy(source, target, options));
      expect(error.code).toBe("EIO");
      expect(error.result?.prefix).toBeLessThanOrEqual(bad);
      const result = await copy(source, target, { ...options, onReadError: "skip" });
      const length = Math.min(4096, SIZE - bad);
      expect(result.readErrors).toEqual([{ offset: bad, length, code: "EIO" }]);
      const expected = contents.slice();
      expected.fill(0, bad, bad + 4096);
      expect(same(bytesAt(path), expected)).toBe(true);
    }
  });

  test("neighbouring bad places are one range; what is no bad place is not skipped", async () => {
    using folder = new Folder();
    await using source = await File.open(folder.file("a", pattern(SIZE)));
    await using target = await open(folder.file("b"));
    badRange(source, 5000, 20_000, "ENODATA");
    const { readErrors } = await copy(source, target, { onReadError: "skip", chunkSize });
    expect(readErrors).toEqual([{ offset: 4096, length: 16_384, code: "ENODATA" }]);
    badRange(source, 30_000, 30_001, "ERR_DEVICE_GONE");
    const error = await rejection(copy(source, target, { onReadError: "skip", chunkSize }));
    expect(error.code).toBe("ERR_DEVICE_GONE");
    expect(error.result?.readErrors.length).toBe(1);
  });

  // A few bytes of the page that stat tells of; none; the same, and more than one chunk of it.
  const madeUp = ["/sys/devices/system/cpu/possible", "/proc/version", "/proc/kallsyms"];
  for (const path of madeUp) {
    testUnless(
      madeUpMissing(path),
      `${path}, whose size says nothing, is copied and verified to its end`,
      async () => {
        using folder = new Folder();
        const expected = readFileSync(path);
        await using source = await File.open(path);
        await using target = await open(folder.file("b"));
        const totals: unknown[] = [];
        const onProgress = ({ phase, total }: CopyProgress): void => {
          if (phase === "copy") totals.push(total);
        };
        const options: CopyOptions = { verify: true, chunkSize: 2 ** 20, onProgress };
        const result = await copy(source, target, options);
        expect(result).toMatchObject({ prefix: expected.byteLength, verified: true });
        expect(new Set(totals)).toEqual(new Set([undefined]));
        expect(same(bytesAt(folder.file("b")), expected)).toBe(true);
        // From somewhere on; a length is a promise of the caller's.
        await copy(source, target, { sourceOffset: 2 });
        expect(same(bytesAt(folder.file("b")).subarray(0, -2), expected.subarray(2))).toBe(true);
        const length = expected.byteLength + 1;
        const error = await rejection(copy(source, target, { length }));
        expect(error).toMatchObject({ code: "ERR_END_OF_FILE", transferred: length - 1 });
      },
    );
  }

  test("a file that is one hole has a known end", async () => {
    using folder = new Folder();
    const path = folder.file("a", "");
    truncateSync(path, 300_000);
    await using source = await File.open(path);
    await using target = await open(folder.file("b"));
    const totals: unknown[] = [];
    await copy(source, target, { onProgress: ({ total }) => totals.push(total) });
    expect(new Set(totals)).toEqual(new Set([300_000]));
    expect(statSync(folder.file("b")).size).toBe(300_000);
  });

  test("the source shrinks", async () => {
    using folder = new Folder();
    const path = folder.file("a", pattern(SIZE));
    await using source = await File.open(path);
    await using target = await open(folder.file("b"));
    const copying = copy(source, target, { length: SIZE + 1 });
    const error = await rejection(copying);
    expect(error.code).toBe("ERR_END_OF_FILE");
    expect(error.result?.prefix).toBe(SIZE);
  });

  test("an abort on the way: the result tells, and nothing is in flight", async () => {
    using folder = new Folder();
    await using ring = Ring.open();
    const contents = pattern(4 << 20);
    await using source = await File.open(folder.file("a", contents), { ring });
    const path = folder.file("b");
    await using target = await open(path, { ring });
    for (const after of [0, 1, 5, 20]) {
      const controller = new AbortController();
      let calls = 0;
      const original = File.prototype.writeAt;
      target.writeAt = (data, offset, options) => {
        if (calls++ === after) controller.abort("stop");
        return Reflect.apply(original, target, [data, offset, options]);
      };
      const { signal } = controller;
      const error = await rejection(copy(source, target, { signal, chunkSize: 65_536 }));
      expect(error.name).toBe("AbortError");
      expect(error.cause).toBe("stop");
      expect(ring.stats().inFlight).toBe(0);
      const { prefix } = error.result as CopyResult;
      expect(same(bytesAt(path).subarray(0, prefix), contents.subarray(0, prefix))).toBe(true);
    }
    const before = ring.stats().completions;
    const never = await rejection(copy(source, target, { signal: AbortSignal.abort() }));
    expect(never.code).toBe("ABORT_ERR");
    expect(never.result?.prefix).toBe(0);
    // The sizes are asked for; nothing is read or written.
    expect(ring.stats().completions - before).toBeLessThanOrEqual(4);
  });

  test("onProgress tells what was moved before the source stalled; what it throws then ends the copy", async () => {
    using folder = new Folder();
    await using target = await open(folder.file("b"));
    for (const throws of [false, true]) {
      // Goes on only when it has been told of the first part.
      const told = Promise.withResolvers<void>();
      const source = new ReadableStream<Uint8Array>({
        async start(controller) {
          controller.enqueue(pattern(65_536));
          await told.promise;
          controller.enqueue(pattern(1));
          controller.close();
        },
      });
      const onProgress = ({ bytes }: CopyProgress): void => {
        if (bytes !== 65_536) return;
        told.resolve();
        if (throws) throw new Error("enough");
      };
      const done = copy(source, target, { chunkSize: 65_536, onProgress });
      if (throws) expect((await rejection(done)).message).toContain("enough");
      else expect((await done).bytesCopied).toBe(65_537);
    }
  });

  test("what onProgress throws ends the copy", async () => {
    using folder = new Folder();
    await using source = await File.open(folder.file("a", pattern(SIZE)));
    await using target = await open(folder.file("b"));
    const cause = new Error("no more");
    const onProgress = (): void => {
      throw cause;
    };
    const error = await rejection(copy(source, target, { onProgress }));
    expect(error.code).toBe("ERR_COPY");
    expect(error.cause).toBe(cause);
    expect(error.result?.prefix).toBe(SIZE);
  });
});

test("progress: at most ten times a second, and the last figures", async () => {
  using folder = new Folder();
  const contents = pattern(16 << 20);
  await using source = await File.open(folder.file("a", contents));
  await using target = await open(folder.file("b"));
  const told: CopyProgress[] = [];
  const { durationMs } = await copy(source, target, {
    chunkSize: 65_536,
    verify: true,
    onProgress: (progress) => told.push(progress),
  });
  expect(told.length).toBeLessThanOrEqual(durationMs / 100 + 2);
  for (const phase of ["copy", "verify"] as const) {
    const last = told.filter((progress) => progress.phase === phase).at(-1);
    expect(last?.bytes).toBe(contents.byteLength);
    expect(last?.total).toBe(contents.byteLength);
    expect(last?.secondsLeft).toBe(0);
    expect(last?.bytesPerSecond).toBeGreaterThan(0);
  }
});

test("progress: the last figures of a copy come after its sync, before those of the verification", async () => {
  await using source = await simulatedDevice({ size: 1 << 20 });
  await using target = await simulatedDevice({ size: 1 << 20 });
  // The last byte is reported at once, since nothing was for so long; then nothing changes until the sync ends.
  using _write = target.faults.add({ operation: "write", latency: 150 });
  using _sync = target.faults.add({ operation: "sync", latency: 400 });
  const told: { phase: string; at: number }[] = [];
  const started = performance.now();
  await copy(source, target, {
    verify: true,
    onProgress: ({ phase }) => told.push({ phase, at: performance.now() - started }),
  });
  const verifying = told.findIndex(({ phase }) => phase === "verify");
  expect(told[verifying - 1]).toMatchObject({ phase: "copy" });
  expect(told[verifying - 1]?.at).toBeGreaterThan(500);
});

describe("expectedLength", () => {
  const SIZE = 300_000;
  const FIRST = 65_536;

  /** The first chunk of 64 KiB arrives, is reported, and then comes the rest. Returns all reports. */
  async function reports(options: CopyOptions): Promise<CopyProgress[]> {
    const all: CopyProgress[] = [];
    const first = Promise.withResolvers<void>();
    const contents = pattern(SIZE);
    const source = new ReadableStream<Uint8Array>({
      async start(controller) {
        controller.enqueue(contents.subarray(0, FIRST));
        await first.promise;
        controller.enqueue(contents.subarray(FIRST));
        controller.close();
      },
    });
    await using target = await File.open("/dev/null", { write: true });
    const onProgress = (step: CopyProgress): void => {
      all.push(step);
      first.resolve();
    };
    const { prefix } = await copy(source, target, {
      ...{ chunkSize: FIRST, sync: false, onProgress },
      ...options,
    });
    expect(prefix).toBe(all.at(-1)?.bytes ?? 0);
    return all;
  }

  test.each([
    ["as long as expected", SIZE, SIZE],
    ["shorter", SIZE + 1, SIZE + 1],
    ["longer", FIRST - 1, undefined],
  ])("a stream that is %s: a total, and in the end the true one", async (_, bytes, total) => {
    const all = await reports({ expectedLength: bytes });
    expect(all[0]).toMatchObject({ phase: "copy", bytes: FIRST, total });
    expect(typeof all[0]?.secondsLeft).toBe(typeof total);
    const last = { phase: "copy", bytes: SIZE, total: SIZE, secondsLeft: 0 } as const;
    expect(all.at(-1)).toEqual({ ...last, bytesPerSecond: expect.any(Number) });
    expect(all.at(-1)?.bytesPerSecond).toBeGreaterThan(0);
  });

  test("it includes what sourceOffset skips", async () => {
    const options = { expectedLength: SIZE, sourceOffset: 500, chunkSize: FIRST - 500 };
    const all = await reports(options);
    expect(new Set(all.map(({ total }) => total))).toEqual(new Set([SIZE - 500]));
  });

  test("what is known counts more", async () => {
    for (const options of [{ length: 1000 }, { ranges: [{ offset: 0, length: 1000 }] }]) {
      const all = await reports({ ...options, expectedLength: 5 });
      expect(new Set(all.map(({ total }) => total))).toEqual(new Set([1000]));
    }
    using folder = new Folder();
    await using file = await File.open(folder.file("a", pattern(1000)));
    const all: CopyProgress[] = [];
    await using target = await open(folder.file("b"));
    await copy(file, target, { expectedLength: 5, onProgress: (step) => all.push(step) });
    expect(all.at(-1)?.total).toBe(1000);
  });

  test("a target without room for it is refused, and the stream left alone", async () => {
    await using target = await simulatedDevice({ size: 65_536 });
    const source = streamOf(pattern(1000), 100);
    const error = await rejection(copy(source, target, { expectedLength: 65_537 }));
    expect([error.code, error.result, source.locked]).toEqual(["ENOSPC", undefined, false]);
    expect(error.message).toContain("room for 65536 of 65537 bytes; nothing was written");
    await copy(source, target, { expectedLength: 65_536 });
  });
});

test("a character device without end, up to a length; one of unknown size to its end", async () => {
  using folder = new Folder();
  await using zero = await File.open("/dev/zero");
  const path = folder.file("b");
  await using target = await open(path);
  const result = await copy(zero, target, { length: 300_000, chunkSize: 65_536 });
  expect(result.bytesCopied).toBe(300_000);
  expect(bytesAt(path).byteLength).toBe(300_000);
});

testUnless(noLinux, "a file of /proc, whose size says nothing", async () => {
  using folder = new Folder();
  await using proc = await File.open("/proc/self/status");
  const text = folder.file("status");
  await using status = await open(text);
  expect((await copy(proc, status)).prefix).toBeGreaterThan(100);
  expect(readFileSync(text, "utf8")).toContain("Name:");
});

test("onto itself: refused where the ranges overlap", async () => {
  using folder = new Folder();
  const contents = pattern(10_000);
  const path = folder.file("a", contents);
  await using file = await open(path);
  await using again = await open(path);
  await expect(copy(file, file)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_VALUE" });
  await expect(copy(file, again, { targetOffset: 9999 })).rejects.toMatchObject({
    code: "ERR_INVALID_ARG_VALUE",
  });
  await copy(file, again, { targetOffset: 10_000 });
  const twice = new Uint8Array(20_000);
  twice.set(contents);
  twice.set(contents, 10_000);
  expect(same(bytesAt(path), twice)).toBe(true);
});

test("sparse, ended before the hole at its end is made: the prefix is what the target has", async () => {
  using folder = new Folder();
  const contents = new Uint8Array(300_000);
  contents.set(pattern(100_000));
  await using source = await File.open(folder.file("source", contents));
  for (const [before, targetOffset] of [
    [0, 0],
    [0, 5000],
    [200_000, 0],
  ] as const) {
    const path = folder.file(`${before} ${targetOffset}`, pattern(before));
    await using target = await open(path, {});
    const controller = new AbortController();
    // First to see what is there, then, when all is written, whether the length is right.
    let asked = 0;
    target.size = () => {
      if (++asked === 2) controller.abort();
      return File.prototype.size.call(target);
    };
    const { signal } = controller;
    const options = { sparse: true, targetOffset, chunkSize: 65_536, signal };
    const error = await rejection(copy(source, target, options));
    const { prefix = 0 } = error.result ?? {};
    expect([error.code, prefix]).toEqual(["ABORT_ERR", statSync(path).size - targetOffset]);
    const rest = { sparse: true, sourceOffset: prefix, targetOffset: targetOffset + prefix };
    await copy(source, target, rest);
    expect(same(bytesAt(path).subarray(targetOffset), contents)).toBe(true);
  }
});

test("sparse, onto a direct file that is open for writing only, with a hole at the end", async () => {
  using folder = new Folder();
  const contents = new Uint8Array(2 * 65_536 + 100).fill(1, 0, 65_536);
  await using source = await File.open(folder.file("a", contents));
  const path = folder.file("b");
  await using target = await open(path, { read: false, direct: true });
  await copy(source, target, { sparse: true });
  expect(same(bytesAt(path), contents)).toBe(true);
});

test("from one simulated device to another", async () => {
  const contents = pattern(64 * 1024);
  await using source = await simulatedDevice({ image: contents });
  await using target = await simulatedDevice({ size: contents.byteLength });
  await copy(source, target, { verify: true });
  const answer = new Uint8Array(contents.byteLength);
  await target.readExactAt(answer, 0);
  expect(same(answer, contents)).toBe(true);
  await expect(copy(source, source)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_VALUE" });
});

testUnless(loopMissing, "an image and the loop device over it are the same bytes", async () => {
  using folder = new Folder();
  const image = folder.file("image", new Uint8Array(2 ** 20));
  using loop = new LoopDevice(image);
  using over = new LoopDevice(loop.path);
  await using file = await File.open(image, { write: true });
  await using device = await File.open(loop.path, { write: true });
  await using second = await File.open(over.path, { write: true });
  for (const [source, target] of [
    [file, device],
    [device, file],
    [device, second],
    [second, file],
  ] as const) {
    const error = await refusal(copy(source, target));
    expect(error.code).toBe("ERR_INVALID_ARG_VALUE");
    expect(error.message).toContain(`shares bytes with ${source.path}`);
  }
  await copy(file, device, { length: 2 ** 19, targetOffset: 2 ** 19 });
});

testUnless(loopMissing, "a deleted image is rescued to a file of its name", async () => {
  using folder = new Folder();
  const contents = pattern(2 ** 20);
  const image = folder.file("image", contents);
  using loop = new LoopDevice(image);
  rmSync(image);
  await using source = await File.open(loop.path);
  await using target = await File.open(image, { write: true, createNew: true });
  await copy(source, target);
  expect(same(bytesAt(image), contents)).toBe(true);
});

testUnless(partitionsMissing, "a partition is a part of its disk", async () => {
  using folder = new Folder();
  using loop = new LoopDevice(folder.file("image", new Uint8Array(4 * 2 ** 20)));
  // The second mebibyte.
  using _part = new Partition(loop.path, 2048, 2048);
  await using disk = await File.open(loop.path, { write: true });
  await using part = await File.open(`${loop.path}p1`, { write: true });
  const MiB = 2 ** 20;
  for (const [source, target, options] of [
    [disk, part, { length: MiB, sourceOffset: MiB + 512 }],
    [part, disk, { targetOffset: MiB / 2 }],
    [part, disk, { targetOffset: 2 * MiB - 512 }],
  ] as const) {
    const error = await refusal(copy(source, target, options));
    expect(error.code).toBe("ERR_INVALID_ARG_VALUE");
    expect(error.message).toContain("the ranges overlap");
  }
  await copy(part, disk, { targetOffset: 0 });
  await copy(part, disk, { targetOffset: 2 * MiB });
  await copy(disk, part, { length: MiB, sourceOffset: 2 * MiB });
});

test.each<[string, unknown]>([
  ["options.length", { length: -1 }],
  ["options.expectedLength", { expectedLength: "1" }],
  ["options.expectedLength", { expectedLength: -1 }],
  ["options.chunkSize", { chunkSize: 0 }],
  ["options.concurrency", { concurrency: 5000 }],
  ["options.sparse", { sparse: "yes" }],
  ["options.onReadError", { onReadError: "ignore" }],
  ["options.hash", { hash: "md6" }],
  ["options.onProgress", { onProgress: 1 }],
  ["options.signal", { signal: {} }],
  ["options.targetOffset", { targetOffset: -1 }],
  ["options.bs", { bs: 512 }],
])("refuses %s", async (name, options) => {
  using folder = new Folder();
  await using source = await File.open(folder.file("a", "x"));
  await using target = await open(folder.file("b"));
  await expect(copy(source, target, options as never)).rejects.toThrow(name);
});

test("refuses sides that cannot be read or written", async () => {
  using folder = new Folder();
  await using reading = await File.open(folder.file("a", "x"));
  await using writing = await open(folder.file("b"), { read: false });
  await expect(copy("a" as never, writing)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
  await expect(copy(reading, "b" as never)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
  await expect(copy(reading, reading)).rejects.toThrow("reading only");
  await expect(copy(writing, writing)).rejects.toThrow("writing only");
  await expect(copy(reading, writing, { verify: true })).rejects.toThrow("to verify it");
  const stream = new ReadableStream<Uint8Array>();
  stream.getReader();
  await expect(copy(stream, writing)).rejects.toThrow("locked");
});

test("a source that throws when it is cancelled keeps nobody from being told of the abort", async () => {
  using folder = new Folder();
  await using target = await open(folder.file("b"));
  using pool = new BufferPool({ size: 1, count: 1 });
  using _held = await pool.acquire();
  for (const method of ["cancel", "releaseLock"] as const) {
    const controller = new AbortController();
    const { signal } = controller;
    const source = new ReadableStream<Uint8Array>();
    const { promise, resolve } = Promise.withResolvers<{ done: true }>();
    let reads = 0;
    const reader = {
      read: () => {
        reads++;
        return promise;
      },
      cancel: async () => resolve({ done: true }),
      releaseLock: () => resolve({ done: true }),
      [method]: () => {
        throw new Error("not now");
      },
    };
    Object.defineProperty(source, "getReader", { value: () => reader });
    const copying = rejection(copy(source, target, { signal }));
    while (reads === 0) await new Promise(setImmediate);
    const waiting = rejection(pool.acquire({ signal }));
    controller.abort(method);
    const aborted = { code: "ABORT_ERR", cause: method };
    expect([await waiting, await copying]).toMatchObject([aborted, aborted]);
  }
});
