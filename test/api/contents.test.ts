// `file.dataRanges`, `file.bytes` and `file.hash`: where data is, and all of it.

import { describe, expect, test } from "bun:test";
import {
  closeSync,
  openSync,
  readFileSync,
  readSync,
  statfsSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import {
  type ByteRange,
  compare,
  copy,
  File,
  type HashName,
  type Progress,
  Ring,
} from "../../src/index.ts";
import { simulatedDevice } from "../../src/testing/index.ts";
import { noLinux, testUnless, unless, without } from "../support/conditions.ts";
import { pattern } from "../support/devices.ts";
import { ioError, rejection, wrong } from "../support/expect.ts";
import { TempDir } from "../support/temp.ts";

const KIB = 1024;
const TIB = 2 ** 40;
/** linux/magic.h */
const TMPFS_MAGIC = 0x01021994;

/** A file of `size` bytes with holes around `data`: on every file system here, whole units of 64 KiB. */
function sparse(dir: TempDir, name: string, size: number, data: [at: number, text: string][]) {
  const path = dir.file(name, "");
  truncateSync(path, size);
  const fd = openSync(path, "r+");
  for (const [at, text] of data) writeSync(fd, Buffer.from(text), 0, text.length, at);
  closeSync(fd);
  return path;
}

function rangesOf(file: File, options?: { start?: number | bigint; end?: number | bigint }) {
  return Array.fromAsync(file.dataRanges(options));
}

/** Whether `ranges` are ascending, apart from one another, and cover every position. */
function cover(ranges: readonly ByteRange[], positions: readonly number[]): boolean {
  const apart = ranges.every(({ offset, length }, index) => {
    const next = ranges[index + 1];
    return length > 0 && (next === undefined || offset + length < next.offset);
  });
  return (
    apart && positions.every((at) => ranges.some((r) => at >= r.offset && at < r.offset + r.length))
  );
}

/** Bytes of data, for "most of it is holes". */
function total(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { length }) => sum + length, 0);
}

describe("dataRanges", () => {
  test("data between holes, cut to start and end", async () => {
    using dir = new TempDir();
    const path = sparse(dir, "f", 10 * 2 ** 20, [
      [2 ** 20, "one"],
      [5 * 2 ** 20, "two"],
    ]);
    await using file = await File.open(path);
    const all = await rangesOf(file);
    expect(cover(all, [2 ** 20, 5 * 2 ** 20 + 2])).toBeTrue();
    expect(all.length).toBe(2);
    expect(total(all)).toBeLessThan(2 ** 20);
    const first = all[0] as ByteRange;
    const start = first.offset + 1;
    expect(await rangesOf(file, { start, end: start + 10 })).toEqual([
      { offset: start, length: 10 },
    ]);
    expect(await rangesOf(file, { start: 3 * 2 ** 20, end: 4 * 2 ** 20 })).toEqual([]);
    expect(await rangesOf(file, { start: 20 * 2 ** 20 })).toEqual([]);
    expect(await rangesOf(file, { start: BigInt(start), end: 2n ** 62n })).toEqual([
      { offset: start, length: first.length - 1 },
      all[1] as ByteRange,
    ]);
  });

  test("an empty file has none, one hole has none, a full file is one", async () => {
    using dir = new TempDir();
    await using empty = await File.open(dir.file("empty", ""));
    expect(await rangesOf(empty)).toEqual([]);
    await using hole = await File.open(sparse(dir, "hole", 8 * TIB, []));
    expect(await rangesOf(hole)).toEqual([]);
    await using full = await File.open(dir.file("full", pattern(100_000, 1)));
    expect(await rangesOf(full)).toEqual([{ offset: 0, length: 100_000 }]);
  });

  test("more ranges than one answer of the system holds", async () => {
    using dir = new TempDir();
    const places = Array.from({ length: 600 }, (_, i): [number, string] => [i * 256 * KIB, "x"]);
    await using file = await File.open(sparse(dir, "f", 600 * 256 * KIB, places));
    const ranges = await rangesOf(file);
    expect(ranges.length).toBe(600);
    const positions = places.map(([at]) => at);
    expect(cover(ranges, positions)).toBeTrue();
  });

  test("data that is not on the disk yet, in space that was only reserved", async () => {
    using dir = new TempDir();
    await using file = await File.open(dir.file("f", ""), { write: true });
    await file.allocate(0, 4 * 2 ** 20);
    await file.writeAt(new Uint8Array([1]), 2 ** 21);
    expect(cover(await rangesOf(file), [2 ** 21])).toBeTrue();
    const fd = openSync(file.path as string, "r");
    await using borrowed = await File.fromFd(fd);
    expect(cover(await rangesOf(borrowed), [2 ** 21])).toBeTrue();
    closeSync(fd);
  });

  test("the offset of the descriptor stays where it is", async () => {
    using dir = new TempDir();
    const path = sparse(dir, "f", 10 * 2 ** 20, [[5 * 2 ** 20, "data"]]);
    for (const ownsFd of [false, true]) {
      const fd = openSync(path, "r");
      await using file = await File.fromFd(fd, { ownsFd });
      const byte = new Uint8Array(1);
      readSync(fd, byte, 0, 1, null);
      const looks = await Promise.all(Array.from({ length: 20 }, () => rangesOf(file)));
      for (const ranges of looks) expect(cover(ranges, [5 * 2 ** 20])).toBeTrue();
      truncateSync(path, 10 * 2 ** 20);
      const at1 = Buffer.alloc(5 * 2 ** 20);
      readSync(fd, at1, 0, at1.length, null);
      expect(at1.at(-1)).toBe("d".charCodeAt(0));
      if (!ownsFd) closeSync(fd);
    }
  });

  testUnless(
    noLinux ?? unless(statfsSync(tmpdir()).type !== TMPFS_MAGIC, "tmpfs knows no FIEMAP"),
    "a borrowed descriptor knows its holes where its offset is not needed for that",
    async () => {
      using dir = new TempDir();
      const data: [number, string][] = [
        [2 ** 20, "one"],
        [8 * TIB - 5, "two"],
      ];
      const path = sparse(dir, "f", 8 * TIB, data);
      const fd = openSync(path, "r");
      {
        await using file = await File.fromFd(fd);
        const ranges = await rangesOf(file);
        expect(ranges.length).toBe(2);
        expect(cover(ranges, [2 ** 20, 8 * TIB - 5])).toBeTrue();
        expect(total(ranges)).toBeLessThan(2 ** 20);
        // More extents than fit one request of the kernel.
        for (let i = 0; i < 100; i++) {
          const file = openSync(path, "r+");
          writeSync(file, "x", (4 + i) * 2 ** 20);
          closeSync(file);
        }
        expect((await rangesOf(file)).length).toBe(102);
      }
      closeSync(fd);
    },
  );

  test("one range where nobody can say", async () => {
    await using device = await simulatedDevice({ size: 2 ** 20 });
    expect(await rangesOf(device)).toEqual([{ offset: 0, length: 2 ** 20 }]);
    expect(await rangesOf(device, { start: 512, end: 1024 })).toEqual([
      { offset: 512, length: 512 },
    ]);
    await using zero = await File.open("/dev/zero");
    expect(await rangesOf(zero)).toEqual([{ offset: 0, length: Infinity }]);
    expect(await rangesOf(zero, { start: 5, end: 7 })).toEqual([{ offset: 5, length: 2 }]);
  });

  test("wrong options, aborted, closed", async () => {
    using dir = new TempDir();
    await using file = await File.open(sparse(dir, "f", 2 ** 20, [[0, "x"]]));
    expect(() => file.dataRanges({ start: -1 })).toThrow('"options.start"');
    expect(() => file.dataRanges({ start: 5, end: 4 })).toThrow('"options.end"');
    expect(() => file.dataRanges(wrong({ from: 1 }))).toThrow("options.from");
    const aborted = file.dataRanges({ signal: AbortSignal.abort() });
    expect((await ioError(Array.fromAsync(aborted), "ABORT_ERR")).name).toBe("AbortError");
    const controller = new AbortController();
    const between = async (): Promise<void> => {
      for await (const _ of file.dataRanges({ signal: controller.signal })) controller.abort();
    };
    await between();
    const ranges = file.dataRanges();
    await file.close();
    await ioError(Array.fromAsync(ranges), "EBADF");
  });
});

describe("bytes", () => {
  test("all of it, a part, and what lies beyond the end", async () => {
    using dir = new TempDir();
    const contents = pattern(3_000_001, 7);
    await using file = await File.open(dir.file("f", contents));
    const equal = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
    expect(equal(await file.bytes(), contents)).toBeTrue();
    expect(equal(await file.bytes(5), contents.subarray(5))).toBeTrue();
    expect(equal(await file.bytes(5, 1_000_007), contents.subarray(5, 1_000_007))).toBeTrue();
    expect(equal(await file.bytes(2_999_999, 9_000_000), contents.subarray(-2))).toBeTrue();
    expect((await file.bytes(7, 7)).byteLength).toBe(0);
    expect((await file.bytes(3_000_001)).byteLength).toBe(0);
    expect((await file.bytes(2n ** 62n)).byteLength).toBe(0);
    const own = await file.bytes(0, 10);
    expect(own.buffer.byteLength).toBe(10);
    own.fill(0);
    expect(equal(await file.bytes(0, 10), contents.subarray(0, 10))).toBeTrue();
  });

  test("holes are zeroes", async () => {
    using dir = new TempDir();
    const path = sparse(dir, "f", 2_000_000, [
      [500_000, "one"],
      [1_999_997, "two"],
    ]);
    await using file = await File.open(path);
    expect(Buffer.compare(await file.bytes(), readFileSync(path))).toBe(0);
  });

  testUnless(noLinux, "files that are made as they are read, and devices", async () => {
    await using version = await File.open("/proc/version");
    expect(new TextDecoder().decode(await version.bytes())).toBe(
      readFileSync("/proc/version", "utf8"),
    );
    expect((await version.bytes(0, 5)).byteLength).toBe(5);
    await using zero = await File.open("/dev/zero");
    expect(await zero.bytes(1, 5)).toEqual(new Uint8Array(4));
    expect(await rejection(zero.bytes())).toMatchObject({ name: "TypeError" });
    await using nothing = await File.open("/dev/null");
    expect((await nothing.bytes(0, 5)).byteLength).toBe(0);
  });

  test("wrong arguments, too much, aborted, timed out", async () => {
    using dir = new TempDir();
    await using file = await File.open(sparse(dir, "f", 8 * TIB, []));
    expect(await rejection(file.bytes(-1))).toBeInstanceOf(RangeError);
    expect(await rejection(file.bytes(5, 4))).toBeInstanceOf(RangeError);
    expect(await rejection(file.bytes(wrong("0")))).toBeInstanceOf(TypeError);
    expect(await rejection(file.bytes(0, 1, wrong({ sygnal: 1 })))).toBeInstanceOf(TypeError);
    expect((await rejection(file.bytes())).message).toContain("readable");
    await ioError(file.bytes(0, 1, { signal: AbortSignal.abort() }), "ABORT_ERR");
    await ioError(file.bytes(0, 1, { timeout: 0 }), "ERR_TIMEOUT");
  });

  test("a fault of the device", async () => {
    const faults = [{ operation: "read", offset: 8192, length: 512, error: "EIO" }] as const;
    await using device = await simulatedDevice({ size: 16384, faults: [...faults] });
    expect((await device.bytes(0, 8192)).byteLength).toBe(8192);
    await ioError(device.bytes(), "EIO");
  });
});

describe("hash", () => {
  const algorithms = Bun.CryptoHasher.algorithms as readonly HashName[];

  test("every algorithm of Bun, in lower-case hexadecimal", async () => {
    using dir = new TempDir();
    const contents = pattern(3_000_001, 9);
    await using file = await File.open(dir.file("f", contents));
    expect(algorithms.length).toBeGreaterThan(15);
    for (const name of algorithms) {
      const expected = new Bun.CryptoHasher(name).update(contents).digest("hex");
      expect(`${name} ${await file.hash(name)}`).toBe(`${name} ${expected}`);
    }
    const part = new Bun.CryptoHasher("sha256").update(contents.subarray(5, 1_000_007));
    expect(await file.hash("sha256", { start: 5, end: 1_000_007 })).toBe(part.digest("hex"));
    expect(await file.hash("sha1", { start: 5_000_000 })).toBe(
      "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    );
  });

  test("copy, too, takes every algorithm", async () => {
    using dir = new TempDir();
    const contents = pattern(300_001, 4);
    await using source = await File.open(dir.file("a", contents));
    await using target = await File.open(dir.file("b"), { write: true, create: true });
    for (const hash of algorithms) {
      const expected = new Bun.CryptoHasher(hash).update(contents).digest("hex");
      const { digest } = await copy(source, target, { hash, chunkSize: 65_536, sync: false });
      expect(`${hash} ${digest}`).toBe(`${hash} ${expected}`);
    }
    const refused = await rejection(copy(source, target, { hash: wrong("sha257") }));
    expect(refused.message).toContain('"options.hash" must be one of');
  });

  testUnless(without("sha256sum"), "of a sparse file, as sha256sum says", async () => {
    using dir = new TempDir();
    const path = sparse(dir, "f", 9_000_001, [
      [0, "start"],
      [70_000, "a short hole"],
      [3_000_000, "middle"],
      [9_000_000, "e"],
    ]);
    const told = Bun.spawnSync(["sha256sum", path]).stdout.toString().split(" ")[0];
    for (const direct of [false, true]) {
      await using file = await File.open(path, { direct });
      expect(await file.hash("sha256")).toBe(told as string);
    }
  });

  test("holes are not read", async () => {
    using dir = new TempDir();
    await using ring = await Ring.open({});
    const path = sparse(dir, "f", 64 * 2 ** 20, [[40 * 2 ** 20, "x"]]);
    await using file = await File.open(path, { ring });
    const before = ring.stats().bytesRead;
    await file.hash("sha1");
    expect(ring.stats().bytesRead - before).toBeLessThan(2 ** 20);
  });

  testUnless(noLinux, "a file that is made as it is read", async () => {
    await using file = await File.open("/proc/version");
    const expected = new Bun.CryptoHasher("md5")
      .update(readFileSync("/proc/version"))
      .digest("hex");
    expect(await file.hash("md5")).toBe(expected);
  });

  test("tells its progress, and ends with an error of that", async () => {
    using dir = new TempDir();
    await using file = await File.open(dir.file("f", pattern(5_000_000, 3)));
    const told: Progress<"hash">[] = [];
    await file.hash("sha256", { onProgress: (progress) => told.push(progress) });
    expect(told.at(-1)).toMatchObject({ phase: "hash", bytes: 5_000_000, total: 5_000_000 });
    const failure = new Error("no more");
    const onProgress = (): void => {
      throw failure;
    };
    expect(await rejection(file.hash("sha256", { onProgress }))).toBe(failure);
  });

  test("tells its progress while the zeroes of one hole are hashed", async () => {
    using dir = new TempDir();
    await using file = await File.open(sparse(dir, "f", 8 * TIB, []));
    const controller = new AbortController();
    const { signal } = controller;
    const onProgress = ({ bytes, total }: Progress<"hash">): void => {
      expect(total).toBe(8 * TIB);
      if (bytes > 0) controller.abort();
    };
    await ioError(file.hash("sha1", { signal, onProgress }), "ABORT_ERR");
    await ioError(
      compare(file, file, { signal: AbortSignal.any([AbortSignal.timeout(30)]), hash: "md5" }),
      "ABORT_ERR",
    );
  });

  test("wrong arguments, aborted before and while zeroes are hashed", async () => {
    using dir = new TempDir();
    await using file = await File.open(sparse(dir, "f", 8 * TIB, []));
    const unknown = await rejection(file.hash(wrong("sha257")));
    expect(unknown).toMatchObject({ name: "TypeError", code: "ERR_INVALID_ARG_VALUE" });
    expect(unknown.message).toContain('"algorithm" must be one of blake2b256');
    expect(unknown.message).toContain("sha257");
    for (const name of [undefined, 1, "SHA256", "__proto__", ["sha256"]]) {
      expect(await rejection(file.hash(wrong(name)))).toBeInstanceOf(TypeError);
    }
    expect(await rejection(file.hash("md5", { start: 2, end: 1 }))).toBeInstanceOf(RangeError);
    await ioError(file.hash("md5", { signal: AbortSignal.abort() }), "ABORT_ERR");
    const controller = new AbortController();
    const onProgress = (): void => {};
    const hashing = file.hash("md5", { signal: controller.signal, onProgress });
    setTimeout(() => controller.abort("enough"), 20);
    expect(await ioError(hashing, "ABORT_ERR")).toMatchObject({ cause: "enough" });
  });

  test("a fault at each sector of a small image", async () => {
    await using device = await simulatedDevice({ image: pattern(8192, 5) });
    const whole = await device.hash("sha256");
    expect(whole).toBe(new Bun.CryptoHasher("sha256").update(pattern(8192, 5)).digest("hex"));
    for (let offset = 0; offset < 8192; offset += 512) {
      using _ = device.faults.add({ operation: "read", offset, length: 512, error: "EIO" });
      const error = await ioError(device.hash("sha256"), "EIO");
      expect(error.syscall).toBe("read");
    }
    expect(await device.hash("sha256")).toBe(whole);
  });

  test("a file that was shortened meanwhile ends where it ends", async () => {
    using dir = new TempDir();
    const path = dir.file("f", pattern(100, 1));
    await using file = await File.open(path);
    writeFileSync(path, "abc");
    expect(await file.hash("md5", { end: 1000 })).toBe("900150983cd24fb0d6963f7d28e17f72");
  });
});
