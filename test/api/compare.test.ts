// `compare`: against `cmp`, with files, devices, streams, holes, ranges and faults.

import { describe, expect, test } from "bun:test";
import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import {
  type CompareOptions,
  type CompareResult,
  compare,
  File,
  type HashName,
  type Progress,
  Ring,
} from "../../src/index.ts";
import { simulatedDevice } from "../../src/testing/index.ts";
import { noLinux, testUnless, without } from "../support/conditions.ts";
import { pattern } from "../support/devices.ts";
import { ioError, rejection, wrong } from "../support/expect.ts";
import { TempDir } from "../support/temp.ts";

const MIB = 2 ** 20;
const TIB = 2 ** 40;

function sha256(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

/** `contents` with other bytes at `places`. */
function spoiled(contents: Uint8Array, ...places: number[]): Uint8Array {
  const copy = contents.slice();
  for (const at of places) copy[at] = (copy[at] ?? 0) ^ 0xff;
  return copy;
}

function sparse(dir: TempDir, name: string, size: number, data: [at: number, text: string][]) {
  const path = dir.file(name, "");
  truncateSync(path, size);
  const fd = openSync(path, "r+");
  for (const [at, text] of data) writeSync(fd, Buffer.from(text), 0, text.length, at);
  closeSync(fd);
  return path;
}

function aborting(): { readonly signal: AbortSignal; readonly abort: () => void } {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
}

/** What was asked of a stream. */
interface Account {
  given: number;
  isCancelled: boolean;
}

function streamOf(
  contents: Uint8Array,
  size: number,
  account: Account = { given: 0, isCancelled: false },
): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      if (account.given >= contents.byteLength) return controller.close();
      controller.enqueue(contents.slice(account.given, account.given + size));
      account.given += size;
    },
    cancel() {
      account.isCancelled = true;
    },
  });
}

async function comparePaths(
  a: string,
  b: string,
  options?: CompareOptions,
): Promise<CompareResult> {
  await using source = await File.open(a);
  await using target = await File.open(b);
  return await compare(source, target, options);
}

/** The first byte that differs, as cmp(1) says. */
function cmp(a: string, b: string, ...options: string[]): number | undefined {
  const { stdout, stderr, exitCode } = Bun.spawnSync(["cmp", ...options, a, b]);
  if (exitCode === 0) return undefined;
  const told = `${stdout}${stderr}`;
  const [, byte, eof] = /differ: (?:byte|char) (\d+)|EOF on .* after byte (\d+)/.exec(told) ?? [];
  return byte !== undefined ? Number(byte) - 1 : Number(eof);
}

describe("files", () => {
  testUnless(without("cmp"), "the first difference is exact, wherever it is", async () => {
    using dir = new TempDir();
    const contents = pattern(2 * MIB + 77, 3);
    const a = dir.file("a", contents);
    const last = contents.byteLength - 1;
    for (const at of [0, 1, 4095, 4096, 524_287, 524_288, MIB + 5, last]) {
      const b = dir.file("b", at === last ? spoiled(contents, at) : spoiled(contents, at, last));
      expect(cmp(a, b)).toBe(at);
      expect(await comparePaths(a, b)).toMatchObject({
        identical: false,
        firstDifference: at,
        bytesCompared: at,
        differences: [],
        digest: undefined,
      });
    }
    dir.file("b", contents);
    const same = await comparePaths(a, dir.file("b", contents), { hash: "sha256" });
    expect(same).toMatchObject({
      identical: true,
      bytesCompared: contents.byteLength,
      firstDifference: undefined,
      differences: [],
      digest: sha256(contents),
    });
    expect(same.durationMs).toBeGreaterThan(0);
  });

  test("all differences, to the byte; neighbours are one", async () => {
    using dir = new TempDir();
    const contents = pattern(2 * MIB, 4);
    const a = dir.file("a", contents);
    const places = [7, 9, 10, 11, 4095, 4096, 524_287, 524_288, 2 * MIB - 1];
    const result = await comparePaths(a, dir.file("b", spoiled(contents, ...places)), {
      all: true,
    });
    expect(result).toMatchObject({ identical: false, firstDifference: 7, bytesCompared: 2 * MIB });
    expect(result.differences).toEqual([
      { offset: 7, length: 1 },
      { offset: 9, length: 3 },
      { offset: 4095, length: 2 },
      { offset: 524_287, length: 2 },
      { offset: 2 * MIB - 1, length: 1 },
    ]);
  });

  test("a million differences are listed in bounded memory, and cover all", async () => {
    using dir = new TempDir();
    const contents = new Uint8Array(4 * MIB);
    const other = contents.map((_, index) => (index % 4 === 1 ? 1 : 0));
    const [a, b] = [dir.file("a", contents), dir.file("b", other)];
    const { differences, firstDifference } = await comparePaths(a, b, { all: true });
    expect(firstDifference).toBe(1);
    expect(differences.length).toBeLessThanOrEqual(2 ** 18);
    expect(differences.at(0)?.offset).toBe(1);
    const last = differences.at(-1) as { offset: number; length: number };
    expect(last.offset + last.length).toBe(4 * MIB - 2);
  });

  test("a longer target is fine, a shorter one differs from its end on", async () => {
    using dir = new TempDir();
    const contents = pattern(100_000, 6);
    const [long, short] = [
      dir.file("long", contents),
      dir.file("short", contents.subarray(0, 70_001)),
    ];
    expect(await comparePaths(short, long)).toMatchObject({
      identical: true,
      bytesCompared: 70_001,
    });
    const rest = { offset: 70_001, length: 29_999 };
    for (const hash of [undefined, "sha256"] as const) {
      const first = await comparePaths(long, short, { hash });
      expect(first).toMatchObject({
        ...{ identical: false, firstDifference: 70_001, bytesCompared: 70_001 },
        ...{ differences: [], digest: hash && sha256(contents) },
      });
      const all = await comparePaths(long, short, { hash, all: true });
      expect(all).toMatchObject({
        ...{ identical: false, firstDifference: 70_001, bytesCompared: 70_001 },
        ...{ differences: [rest], digest: hash && sha256(contents) },
      });
    }
    const empty = dir.file("empty", "");
    expect(await comparePaths(empty, long)).toMatchObject({ identical: true, bytesCompared: 0 });
    expect(await comparePaths(empty, empty, { hash: "sha256" })).toMatchObject({
      identical: true,
      digest: sha256(new Uint8Array(0)),
    });
    expect(await comparePaths(long, empty, { all: true })).toMatchObject({
      firstDifference: 0,
      differences: [{ offset: 0, length: 100_000 }],
    });
  });

  test("offsets and length: positions are those of the source", async () => {
    using dir = new TempDir();
    const contents = pattern(300_000, 8);
    const a = dir.file("a", contents);
    const b = dir.file("b", Buffer.concat([Buffer.alloc(77), spoiled(contents, 150_000, 250_000)]));
    const where = { sourceOffset: 100, targetOffset: 177 };
    const length = 149_900;
    expect(await comparePaths(a, b, { ...where, length })).toMatchObject({
      identical: true,
      bytesCompared: length,
    });
    expect(await comparePaths(a, b, { ...where, length: length + 1, all: true })).toMatchObject({
      firstDifference: 150_000,
      differences: [{ offset: 150_000, length: 1 }],
      bytesCompared: length + 1,
    });
    const big = { sourceOffset: 100n, targetOffset: 177n, hash: "md5", all: true } as const;
    const { differences, digest } = await comparePaths(a, b, big);
    expect(differences.map(({ offset }) => offset)).toEqual([150_000, 250_000]);
    expect(digest).toBe(new Bun.CryptoHasher("md5").update(contents.subarray(100)).digest("hex"));
    expect(await comparePaths(a, b, { sourceOffset: 300_000 })).toMatchObject({ identical: true });
  });

  test("a source that ends before length or ranges is an error of the source", async () => {
    using dir = new TempDir();
    const a = dir.file("a", pattern(1000, 1));
    const b = dir.file("b", pattern(2000, 1));
    const early = await ioError(comparePaths(a, b, { length: 1001 }), "ERR_END_OF_FILE");
    expect(early).toMatchObject({ path: a, length: 1001, transferred: 1000 });
    const ranges = [
      { offset: 10, length: 10 },
      { offset: 990, length: 20 },
    ];
    await ioError(comparePaths(a, b, { ranges }), "ERR_END_OF_FILE");
  });

  test("ranges", async () => {
    using dir = new TempDir();
    const contents = pattern(2 * MIB, 2);
    const a = dir.file("a", contents);
    const b = dir.file("b", spoiled(contents, 5, 1000, 600_000, 2 * MIB - 1));
    const ranges = [
      { offset: 6, length: 900 },
      { offset: 599_999, length: 3 },
      { offset: MIB, length: MIB - 1 },
    ];
    const parts = ranges.map(({ offset, length }) => contents.subarray(offset, offset + length));
    const all = await comparePaths(a, b, { ranges, all: true, hash: "sha256" });
    expect(all).toMatchObject({
      ...{ identical: false, firstDifference: 600_000, bytesCompared: 903 + MIB - 1 },
      ...{ differences: [{ offset: 600_000, length: 1 }], digest: sha256(Buffer.concat(parts)) },
    });
    const first = await comparePaths(a, b, { ranges });
    expect(first).toMatchObject({ firstDifference: 600_000, bytesCompared: 901 });
    const moved = { ranges, sourceOffset: 599_000, targetOffset: 599_000 };
    expect(await comparePaths(a, b, moved)).toMatchObject({ firstDifference: 600_000 });
    expect(await comparePaths(a, b, { ranges: [] })).toMatchObject({ identical: true });
    expect(await rejection(comparePaths(a, b, { ranges: wrong([{ offset: 1 }]) }))).toMatchObject({
      name: "TypeError",
    });
  });

  test("what is on the medium is compared, not what is cached", async () => {
    using dir = new TempDir();
    const contents = pattern(100_000, 1);
    await using source = await File.open(dir.file("a", contents));
    await using target = await File.open(dir.file("b", contents));
    const dropped: string[] = [];
    for (const [name, file] of Object.entries({ source, target })) {
      const drop = file.invalidateCache.bind(file);
      file.invalidateCache = () => {
        dropped.push(name);
        return drop();
      };
    }
    await compare(source, target);
    expect(dropped.sort()).toEqual(["source", "target"]);
  });

  testUnless(noLinux, "a file that is made as it is read, and one that never ends", async () => {
    using dir = new TempDir();
    const version = await Bun.file("/proc/version").bytes();
    const same = dir.file("a", version);
    expect(await comparePaths("/proc/version", same)).toMatchObject({ identical: true });
    expect(await comparePaths(same, "/proc/version")).toMatchObject({ identical: true });
    expect(
      await comparePaths("/proc/version", dir.file("b", version.subarray(0, 5))),
    ).toMatchObject({
      firstDifference: 5,
    });
    const zeroes = dir.file("zeroes", new Uint8Array(MIB));
    expect(await comparePaths(zeroes, "/dev/zero")).toMatchObject({ bytesCompared: MIB });
    expect(await comparePaths("/dev/zero", zeroes)).toMatchObject({ firstDifference: MIB });
  });
});

describe("holes", () => {
  test("are not read: 8 TiB with a byte of data in an instant", async () => {
    using dir = new TempDir();
    await using ring = await Ring.open({});
    const a = sparse(dir, "a", 8 * TIB, [[5 * TIB, "x"]]);
    const b = sparse(dir, "b", 8 * TIB, [[5 * TIB, "x"]]);
    const c = sparse(dir, "c", 8 * TIB, [[7 * TIB + 3, "y"]]);
    await using source = await File.open(a, { ring });
    await using same = await File.open(b, { ring });
    await using other = await File.open(c, { ring });
    const started = performance.now();
    const equal = await compare(source, same);
    expect(equal).toMatchObject({ identical: true, bytesCompared: 8 * TIB });
    const different = await compare(source, other, { all: true });
    expect(performance.now() - started).toBeLessThan(2000);
    expect(ring.stats().bytesRead).toBeLessThan(MIB);
    expect(different.differences).toEqual([
      { offset: 5 * TIB, length: 1 },
      { offset: 7 * TIB + 3, length: 1 },
    ]);
  });

  test("data is compared with the zeroes of a hole, on either side", async () => {
    using dir = new TempDir();
    const zeroes = dir.file("zeroes", new Uint8Array(3 * MIB));
    const hole = sparse(dir, "hole", 3 * MIB, []);
    const data = dir.file("data", spoiled(new Uint8Array(3 * MIB), 2 * MIB + 9));
    expect(await comparePaths(zeroes, hole)).toMatchObject({ identical: true });
    expect(await comparePaths(hole, zeroes, { hash: "sha1" })).toMatchObject({
      identical: true,
      digest: new Bun.CryptoHasher("sha1").update(new Uint8Array(3 * MIB)).digest("hex"),
    });
    for (const [a, b] of [
      [data, hole],
      [hole, data],
    ] as const) {
      expect(await comparePaths(a, b, { all: true })).toMatchObject({
        firstDifference: 2 * MIB + 9,
        differences: [{ offset: 2 * MIB + 9, length: 1 }],
      });
    }
  });
});

describe("streams", () => {
  test("the same as a file, and cancelled when nothing more is wanted", async () => {
    using dir = new TempDir();
    const contents = pattern(1_500_001, 5);
    await using target = await File.open(dir.file("b", spoiled(contents, 700_000)));
    for (const size of [1, 4096, 100_000, 1_000_000]) {
      const part = size === 1 ? contents.subarray(690_000, 710_000) : contents;
      const targetOffset = size === 1 ? 690_000 : 0;
      const at = 700_000 - targetOffset;
      const all = await compare(streamOf(part, size), target, {
        ...{ targetOffset, all: true, hash: "sha256" },
      });
      expect(all).toMatchObject({
        ...{ firstDifference: at, differences: [{ offset: at, length: 1 }] },
        ...{ digest: sha256(part), bytesCompared: part.byteLength },
      });
      const stream = streamOf(part, size);
      expect(await compare(stream, target, { targetOffset })).toMatchObject({
        firstDifference: at,
      });
      expect(stream.locked).toBeFalse();
    }
    const account: Account = { given: 0, isCancelled: false };
    const stream = streamOf(contents, 10_000, account);
    const part = { sourceOffset: 600_000, targetOffset: 600_000, length: 50_000 };
    expect(await compare(stream, target, part)).toMatchObject({ identical: true });
    expect(account.isCancelled).toBeTrue();
    expect(account.given).toBeLessThan(700_000);
    const ranges = [
      { offset: 5, length: 5 },
      { offset: 699_999, length: 2 },
    ];
    const ranged = await compare(streamOf(contents, 10_000), target, { ranges });
    expect(ranged).toMatchObject({ firstDifference: 700_000, bytesCompared: 6 });
  });

  test("shorter and longer than the target", async () => {
    using dir = new TempDir();
    const contents = pattern(100_000, 5);
    await using target = await File.open(dir.file("b", contents.subarray(0, 60_000)));
    expect(await compare(streamOf(contents.subarray(0, 50_000), 7000), target)).toMatchObject({
      identical: true,
      bytesCompared: 50_000,
    });
    expect(await compare(streamOf(contents, 7000), target, { all: true })).toMatchObject({
      firstDifference: 60_000,
      differences: [{ offset: 60_000, length: 40_000 }],
    });
    const cut = compare(streamOf(contents.subarray(0, 50_000), 7000), target, { length: 60_000 });
    expect(await ioError(cut, "ERR_END_OF_FILE")).toMatchObject({ transferred: 50_000 });
    const last = compare(streamOf(contents.subarray(0, 59_999), 7000), target, { length: 60_000 });
    expect(await ioError(last, "ERR_END_OF_FILE")).toMatchObject({ transferred: 59_999 });
  });

  test("an error of the stream, and of what a callback throws", async () => {
    using dir = new TempDir();
    await using target = await File.open(dir.file("b", pattern(100_000, 5)));
    const failure = new Error("the server went away");
    const stream = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.error(failure),
    });
    const error = await ioError(compare(stream, target), "ERR_COMPARE");
    expect(error.cause).toBe(failure);
    expect(error.message).toContain("the server went away");
    const onProgress = (): void => {
      throw failure;
    };
    const told = await ioError(
      compare(streamOf(pattern(100_000, 5), 999), target, { onProgress }),
      "ERR_COMPARE",
    );
    expect(told.cause).toBe(failure);
  });

  test("aborted while the stream gives nothing", async () => {
    using dir = new TempDir();
    await using target = await File.open(dir.file("b", pattern(100_000, 5)));
    const controller = new AbortController();
    let cancelled: unknown;
    const stream = new ReadableStream<Uint8Array>({
      pull: () => {
        queueMicrotask(() => controller.abort("enough"));
        return new Promise(() => {});
      },
      cancel: (reason) => {
        cancelled = reason;
      },
    });
    const error = await ioError(
      compare(stream, target, { signal: controller.signal }),
      "ABORT_ERR",
    );
    expect(error).toMatchObject({ name: "AbortError", cause: "enough" });
    expect(cancelled).toBe("enough");
  });

  test("aborted, and the stream fails because of that: it is an AbortError", async () => {
    using dir = new TempDir();
    await using target = await File.open(dir.file("b", pattern(100_000, 5)));
    const { signal, abort } = aborting();
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        const fail = (): void => controller.error(new Error("the connection was closed"));
        signal.addEventListener("abort", fail);
      },
      pull: () => {
        queueMicrotask(abort);
        return new Promise(() => {});
      },
    });
    await ioError(compare(stream, target, { signal }), "ABORT_ERR");
  });

  test("what a callback throws ends it, though the stream gives nothing", async () => {
    using dir = new TempDir();
    await using target = await File.open(dir.file("b", pattern(100_000, 5)));
    const failure = new Error("enough");
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(pattern(100_000, 5).slice(0, 10)),
      pull: () => new Promise(() => {}),
    });
    const onProgress = (): void => {
      throw failure;
    };
    const error = await ioError(compare(stream, target, { onProgress }), "ERR_COMPARE");
    expect(error.cause).toBe(failure);
  });
});

describe("devices", () => {
  const contents = pattern(16_384, 11);

  test("a difference at each sector of a small image", async () => {
    await using source = await simulatedDevice({ image: contents });
    for (let at = 100; at < contents.byteLength; at += 512) {
      await using target = await simulatedDevice({ image: spoiled(contents, at) });
      expect(await compare(source, target)).toMatchObject({ firstDifference: at });
    }
    await using larger = await simulatedDevice({ size: 65_536 });
    await larger.writeAt(contents, 0);
    expect(await compare(source, larger)).toMatchObject({ identical: true });
    expect(await compare(larger, source)).toMatchObject({ firstDifference: 16_384 });
  });

  test("a fault at each sector, on either side, is that side's IoError", async () => {
    await using a = await simulatedDevice({ image: contents });
    await using b = await simulatedDevice({ image: contents });
    for (let offset = 0; offset < contents.byteLength; offset += 512) {
      for (const device of [a, b]) {
        using _ = device.faults.add({ operation: "read", offset, length: 512, error: "EIO" });
        for (const all of [false, true]) {
          const error = await ioError(compare(a, b, { all, hash: "md5" }), "EIO");
          expect(error.syscall).toBe("read");
        }
      }
    }
    expect(await compare(a, b, { hash: "sha256" })).toMatchObject({
      identical: true,
      digest: sha256(contents),
    });
  });

  test("short reads are no differences; a device that is pulled out is an error", async () => {
    const faults = [{ operation: "read", every: 2, short: 512 }] as const;
    await using a = await simulatedDevice({ image: contents, faults: [...faults] });
    await using b = await simulatedDevice({ image: contents, strictAlignment: true });
    expect(await compare(a, b)).toMatchObject({ identical: true });
    expect(await compare(b, a, { sourceOffset: 7, targetOffset: 7 })).toMatchObject({
      identical: true,
    });
    b.faults.add({ operation: "read", unplug: true });
    await ioError(compare(a, b), "ERR_DEVICE_GONE");
  });

  test("aborted while a read takes long", async () => {
    await using a = await simulatedDevice({ image: contents });
    await using b = await simulatedDevice({ image: contents });
    b.faults.add({ operation: "read", latency: 60_000 });
    const controller = new AbortController();
    const comparing = compare(a, b, { signal: controller.signal });
    setTimeout(() => controller.abort(), 5);
    await ioError(comparing, "ABORT_ERR");
  });
});

test("progress, and wrong arguments", async () => {
  using dir = new TempDir();
  const path = dir.file("a", pattern(2_000_000, 1));
  const told: Progress<"compare">[] = [];
  await comparePaths(path, path, { onProgress: (progress) => told.push(progress) });
  expect(told.at(-1)).toMatchObject({ phase: "compare", bytes: 2_000_000, total: 2_000_000 });
  await using file = await File.open(path);
  const refused: [unknown, unknown, unknown, string][] = [
    [path, file, {}, '"source"'],
    [file, path, {}, '"target"'],
    [file, file, { length: -1 }, '"options.length"'],
    [file, file, { sourceOffset: 0.5 }, '"options.sourceOffset"'],
    [file, file, { all: 1 }, '"options.all"'],
    [file, file, { hash: "sha257" }, '"options.hash"'],
    [file, file, { verify: true }, '"options.verify"'],
    [
      file,
      file,
      {
        ranges: [
          { offset: 5, length: 5 },
          { offset: 7, length: 1 },
        ],
      },
      "options.ranges[1]",
    ],
    [file, file, { onProgress: 1 }, '"options.onProgress"'],
    [file, file, { signal: 1 }, '"options.signal"'],
  ];
  for (const [source, target, options, name] of refused) {
    const error = await rejection(compare(wrong(source), wrong(target), wrong(options)));
    expect(`${error.code} ${error.message}`).toStartWith("ERR_");
    expect(error.message).toContain(name);
  }
  const signal = AbortSignal.abort("before");
  expect(await ioError(compare(file, file, { signal }), "ABORT_ERR")).toMatchObject({
    cause: "before",
  });
  await using writeOnly = await File.open(path, { read: false, write: true });
  expect((await rejection(compare(writeOnly, file))).message).toContain("writing only");
  expect((await rejection(compare(file, writeOnly))).message).toContain("reading");
  const names: HashName[] = ["sha512", "blake2b256"];
  for (const hash of names)
    expect((await compare(file, file, { hash })).digest).toBe(await file.hash(hash));
  writeFileSync(path, "");
  await file.close();
  await ioError(compare(file, file), "EBADF");
});
