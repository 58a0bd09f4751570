// `copy({ ranges })`: block maps, of files and streams, with digests and without.

import { describe, expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import {
  type CopyOptions,
  type CopyProgress,
  type CopyRange,
  copy,
  File,
  IoError,
  type OpenOptions,
} from "../../src/index.ts";
import { simulatedDevice } from "../../src/testing/index.ts";
import { testUnless, without } from "../support/conditions.ts";
import { Folder, pattern, rejection } from "../support/control.ts";

const K = 1024;
const SIZE = 300 * K + 77;
/** Of every kind: aligned, not, one byte, neighbours, several chunks, up to the end. */
const RANGES: readonly (readonly [number, number])[] = [
  [4096, 8192],
  [20_000, 1],
  [20_001, 999],
  [64 * K, 100 * K],
  [164 * K, 0],
  [164 * K, 5],
  [SIZE - 500, 500],
];

function open(path: string, options: OpenOptions = {}): Promise<File> {
  return File.open(path, { write: true, create: true, ...options });
}

function bytesAt(path: string): Uint8Array {
  return new Uint8Array(readFileSync(path));
}

function sha256(...parts: readonly Uint8Array[]): string {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const part of parts) hasher.update(part);
  return hasher.digest("hex");
}

function partsOf(contents: Uint8Array): Uint8Array[] {
  return RANGES.map(([offset, length]) => contents.subarray(offset, offset + length));
}

function rangesOf(contents: Uint8Array, withDigests: boolean): CopyRange[] {
  return RANGES.map(([offset, length]) => {
    const digest = sha256(contents.subarray(offset, offset + length)).toUpperCase();
    return { offset, length, sha256: withDigests ? digest : undefined };
  });
}

/** `before` with the ranges of `contents`, moved by `shift`. */
function merged(before: Uint8Array, contents: Uint8Array, shift = 0): Uint8Array {
  const end = Math.max(before.byteLength, SIZE + shift);
  const expected = new Uint8Array(end);
  expected.set(before);
  for (const [offset, length] of RANGES) {
    expected.set(contents.subarray(offset, offset + length), offset + shift);
  }
  return expected;
}

interface Told {
  readonly stream: ReadableStream<Uint8Array>;
  pulled: number;
  cancelled: boolean;
}

function streamOf(contents: Uint8Array, size: number): Told {
  let at = 0;
  const told: Told = {
    stream: new ReadableStream(
      {
        pull(controller) {
          if (at >= contents.byteLength) return controller.close();
          controller.enqueue(contents.slice(at, at + size));
          at += size;
          told.pulled = Math.min(at, contents.byteLength);
        },
        cancel() {
          told.cancelled = true;
        },
      },
      { highWaterMark: 0 },
    ),
    pulled: 0,
    cancelled: false,
  };
  return told;
}

const BYTES = RANGES.reduce((sum, [, length]) => sum + length, 0);

describe.each([
  ["file", false, false],
  ["file", true, true],
  ["stream", false, false],
  ["stream", false, true],
] as const)("from a %s, direct %p, onto direct %p", (from, directSource, directTarget) => {
  test.each([
    [false, false],
    [true, true],
  ])("only the ranges; sparse %p, digests %p", async (sparse, withDigests) => {
    using folder = new Folder();
    const contents = pattern(SIZE, 3);
    contents.fill(0, 64 * K, 128 * K);
    for (const before of [0, 100 * K, 400 * K]) {
      for (const targetOffset of [0, 4096, 777]) {
        const old = new Uint8Array(before).fill(0xee);
        const path = folder.file("b", old);
        await using source = await File.open(folder.file("a", contents), { direct: directSource });
        await using target = await open(path, { direct: directTarget });
        const progress: CopyProgress[] = [];
        const result = await copy(from === "file" ? source : source.readable(), target, {
          ...{ targetOffset, sparse, verify: true, hash: "sha256", chunkSize: 16 * K },
          ranges: rangesOf(contents, withDigests),
          onProgress: (step) => progress.push(step),
        });
        expect(result.bytesCopied + result.bytesSkipped).toBe(BYTES);
        expect(result).toMatchObject({ prefix: SIZE, verified: true });
        expect(result.bytesSkipped > 0).toBe(sparse);
        expect(result.digest).toBe(sha256(...partsOf(contents)));
        expect(new Set(progress.map(({ total }) => total))).toEqual(new Set([BYTES]));
        expect(progress.at(-1)).toMatchObject({ phase: "verify", bytes: BYTES, secondsLeft: 0 });
        const isSame = Buffer.compare(bytesAt(path), merged(old, contents, targetOffset)) === 0;
        expect([before, targetOffset, isSame]).toEqual([before, targetOffset, true]);
      }
    }
  });

  test("what a digest does not fit is ERR_VERIFY, and names the range", async () => {
    using folder = new Folder();
    const contents = pattern(SIZE, 9);
    for (const [index, [offset, length]] of RANGES.entries()) {
      if (length === 0) continue;
      const path = folder.file("b", "");
      const damaged = contents.slice();
      const at = offset + (index % length);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      await using source = await File.open(folder.file("a", damaged), { direct: directSource });
      await using target = await open(path, { direct: directTarget });
      const ranges = rangesOf(contents, true);
      const options: CopyOptions = { ranges, chunkSize: 4096, concurrency: 3 };
      const error = await rejection(
        copy(from === "file" ? source : source.readable(), target, options),
      );
      expect(error).toMatchObject({ code: "ERR_VERIFY", offset, length });
      expect(error.message).toContain(`ranges[${index}]`);
      // All that is before it is there, and nothing of it counts.
      const { prefix = Number.NaN } = error.result ?? {};
      const [start, bytes] = RANGES[index - 1] ?? [0, 0];
      expect([start + bytes, offset]).toContain(prefix);
      const expected = merged(new Uint8Array(0), contents).subarray(0, prefix);
      expect(Buffer.compare(bytesAt(path).subarray(0, prefix), expected)).toBe(0);
      // To go on from there, the same ranges are good.
      await using repaired = await File.open(folder.file("a", contents));
      const resumed = { ...options, sourceOffset: prefix, targetOffset: prefix };
      expect((await copy(repaired, target, resumed)).prefix).toBe(SIZE - prefix);
      const whole = merged(new Uint8Array(0), contents);
      expect(Buffer.compare(bytesAt(path), whole)).toBe(0);
    }
  });
});

test("a stream is read on between the ranges, and cancelled after the last", async () => {
  using folder = new Folder();
  const contents = pattern(100_000);
  await using target = await open(folder.file("b"));
  const told = streamOf(contents, 1000);
  const ranges = [
    { offset: 10, length: 5 },
    { offset: 50_500, length: 100 },
  ];
  expect((await copy(told.stream, target, { ranges })).bytesCopied).toBe(105);
  expect(told).toMatchObject({ pulled: 51_000, cancelled: true });
  expect(told.stream.locked).toBe(false);
  // Up to its end, it is not.
  const whole = streamOf(contents, 1000);
  await copy(whole.stream, target);
  expect(whole).toMatchObject({ pulled: 100_000, cancelled: false });
});

test("a source that ends before a range, or in a gap", async () => {
  using folder = new Folder();
  const contents = pattern(10_000);
  await using target = await open(folder.file("b"));
  for (const [range, prefix, ends] of [
    [{ offset: 9990, length: 11 }, 10_000, "after 10000 of 10001"],
    [{ offset: 20_000, length: 10 }, 100, "after at most 20000 of 20010"],
  ] as const) {
    await using file = await File.open(folder.file("a", contents));
    for (const source of [file, streamOf(contents, 999).stream]) {
      const ranges = [{ offset: 0, length: 100 }, range];
      const error = await rejection(copy(source, target, { ranges, chunkSize: 4096 }));
      expect(error.code).toBe("ERR_END_OF_FILE");
      expect(error.message).toContain(ends);
      expect(error.result?.prefix).toBe(prefix);
    }
  }
});

test("sourceOffset and length leave ranges out; one with a digest is not cut", async () => {
  using folder = new Folder();
  const contents = pattern(10_000);
  await using source = await File.open(folder.file("a", contents));
  const path = folder.file("b");
  await using target = await open(path);
  const ranges = [
    { offset: 0, length: 100, sha256: sha256(contents.subarray(0, 100)) },
    { offset: 1000, length: 1000 },
    { offset: 5000, length: 1000 },
    { offset: 9000, length: 100, sha256: "0".repeat(64) },
  ];
  const result = await copy(source, target, { ranges, sourceOffset: 1500, length: 4000 });
  expect(result).toMatchObject({ bytesCopied: 1000, prefix: 4000 });
  const expected = new Uint8Array(4000);
  expected.set(contents.subarray(1500, 2000));
  expected.set(contents.subarray(5000, 5500), 3500);
  expect(Buffer.compare(bytesAt(path), expected)).toBe(0);
  await expect(copy(source, target, { ranges, sourceOffset: 50 })).rejects.toThrow(
    '"options.ranges[0]" has a sha256',
  );
  await expect(copy(source, target, { ranges, length: 9050 })).rejects.toThrow("options.ranges[3]");
  const none = await copy(source, target, { ranges: [], verify: true });
  expect(none).toMatchObject({ bytesCopied: 0, prefix: 0, verified: true });
});

test("a target has to have room for the last range only", async () => {
  await using target = await simulatedDevice({ size: 64 * K });
  await using source = await simulatedDevice({ size: 128 * K });
  const last = { offset: 60 * K, length: 4 * K };
  expect((await copy(source, target, { ranges: [last] })).prefix).toBe(64 * K);
  const error = await rejection(
    copy(source, target, { ranges: [{ ...last, length: 4 * K + 512 }] }),
  );
  expect(error.code).toBe("ENOSPC");
  expect(error.result).toBeUndefined();
});

test("faults at every position: what counts is there, and the same ranges go on", async () => {
  const sector = 512;
  const contents = pattern(64 * sector, 4);
  const places = [
    [0, 3],
    [5, 1],
    [6, 10],
    [30, 20],
    [63, 1],
  ] as const;
  const ranges = places.map(([at, count]) => ({ offset: at * sector, length: count * sector }));
  const isChosen = (at: number): boolean => places.some(([from, n]) => at >= from && at < from + n);
  for (let bad = 0; bad < 64; bad++) {
    for (const operation of ["read", "write"] as const) {
      const rule = { operation, offset: bad * sector, length: sector, error: "EIO" } as const;
      const faults = [rule];
      await using source = await simulatedDevice({
        image: contents,
        faults: operation === "read" ? faults : [],
      });
      await using target = await simulatedDevice({
        size: contents.byteLength,
        faults: operation === "write" ? faults : [],
      });
      const options: CopyOptions = { ranges, chunkSize: 2 * sector, concurrency: 3, sync: false };
      const ended = await copy(source, target, options).then(
        (result) => ({ code: "none", result }),
        (error: IoError) => ({ code: error.code, result: error.result }),
      );
      expect([bad, operation, ended.code]).toEqual([
        bad,
        operation,
        isChosen(bad) ? "EIO" : "none",
      ]);
      const prefix = ended.result?.prefix ?? Number.NaN;
      if (isChosen(bad)) expect(prefix).toBeLessThanOrEqual(bad * sector);
      const medium = await target.crash();
      await using mended = await simulatedDevice({ image: contents });
      await using again = await simulatedDevice({ image: medium });
      await copy(mended, again, { ...options, sourceOffset: prefix, targetOffset: prefix });
      expect(prefix % sector).toBe(0);
    }
  }
});

test("skipped sectors: their range has no digest to meet, the others have", async () => {
  const contents = pattern(64 * K);
  const bad = { operation: "read", offset: 20 * K, length: 512, error: "EIO" } as const;
  await using source = await simulatedDevice({ image: contents, faults: [bad] });
  await using target = await simulatedDevice({ size: 64 * K });
  const digest = (from: number, to: number): string => sha256(contents.subarray(from, to));
  const ranges = [
    { offset: 0, length: 8 * K, sha256: digest(0, 8 * K) },
    { offset: 16 * K, length: 8 * K, sha256: digest(16 * K, 24 * K) },
    { offset: 40 * K, length: 8 * K, sha256: digest(40 * K, 48 * K) },
  ];
  const options = { onReadError: "skip", ranges } as const;
  const { readErrors, prefix } = await copy(source, target, options);
  expect(readErrors).toEqual([{ offset: 20 * K, length: 512, code: "EIO" }]);
  expect(prefix).toBe(48 * K);
  const part = { ...options, ranges: ranges.slice(1), sourceOffset: 12 * K };
  expect((await copy(source, target, part)).readErrors).toEqual(readErrors);
  const wrong = [...ranges.slice(0, 2), { ...ranges[2], sha256: "0".repeat(64) } as CopyRange];
  const error = await rejection(copy(source, target, { ...options, ranges: wrong }));
  expect(error).toMatchObject({ code: "ERR_VERIFY", offset: 40 * K });
});

test("a difference is in a range, whatever lies beside it", async () => {
  const contents = pattern(64 * K);
  await using source = await simulatedDevice({ image: contents });
  await using target = await simulatedDevice({ size: 64 * K });
  let spoilt: Promise<unknown> | undefined;
  const onProgress = ({ phase, bytes }: CopyProgress): void => {
    if (phase === "copy" && bytes === 8 * K) {
      spoilt = target.writeAt(new Uint8Array(512), 9 * K);
    }
  };
  const ranges = [
    { offset: 0, length: 4 * K },
    { offset: 8 * K, length: 4 * K },
  ];
  const error = await rejection(copy(source, target, { ranges, verify: true, onProgress }));
  await spoilt;
  expect(error).toMatchObject({ code: "ERR_VERIFY", offset: 9 * K });
  expect(error.result?.prefix).toBe(9 * K);
});

test("an abort in a range with a digest: nothing of it counts", async () => {
  using folder = new Folder();
  const contents = pattern(100 * K);
  await using source = await File.open(folder.file("a", contents));
  await using target = await open(folder.file("b"));
  const controller = new AbortController();
  const { signal } = controller;
  const original = target.writeAt.bind(target);
  target.writeAt = (data, offset, options) => {
    if (Number(offset) >= 60 * K) controller.abort();
    return original(data, offset, options);
  };
  const digest = sha256(contents.subarray(8 * K, 90 * K));
  const ranges = [
    { offset: 0, length: 4 * K },
    { offset: 8 * K, length: 82 * K, sha256: digest },
  ];
  const options = { ranges, signal, chunkSize: 4096, concurrency: 1 };
  const error = await rejection(copy(source, target, options));
  expect([error.code, error.result?.prefix]).toEqual(["ABORT_ERR", 8 * K]);
});

testUnless(without("bmaptool"), "a block map of bmaptool, with its digests", async () => {
  using folder = new Folder();
  const contents = new Uint8Array(256 * K + 100);
  for (const at of [8, 96, 252]) contents.set(pattern(4 * K, at), at * K);
  const path = folder.file("image");
  await using sparse = await open(path);
  for (const at of [8, 96, 252]) {
    await sparse.writeAt(contents.subarray(at * K, (at + 4) * K), at * K);
  }
  await sparse.truncate(contents.byteLength);
  await sparse.syncAll();
  const { stdout } = Bun.spawnSync(["bmaptool", "create", path]);
  const found = stdout.toString().matchAll(/<Range chksum="(\w+)">\s*(\d+)(?:-(\d+))?/g);
  const ranges = Array.from(found, ([, sum, first, last = first]) => {
    const offset = Number(first) * 4096;
    const end = Math.min((Number(last) + 1) * 4096, contents.byteLength);
    return { offset, length: end - offset, sha256: sum };
  });
  expect(ranges.length).toBeGreaterThanOrEqual(3);
  await using target = await open(folder.file("b"));
  await copy(sparse, target, { ranges });
  await target.truncate(contents.byteLength);
  expect(Bun.spawnSync(["cmp", path, folder.file("b")]).exitCode).toBe(0);
  expect(statSync(folder.file("b")).blocks * 512).toBeLessThan(64 * K);
});

test.each<[string, unknown]>([
  ["options.ranges", { offset: 0, length: 1 }],
  ["options.ranges[0]", [null]],
  ["options.ranges[0].offset", [{ offset: -1, length: 1 }]],
  ["options.ranges[0].length", [{ offset: 0 }]],
  ["options.ranges[0].length", [{ offset: 0, length: 1.5 }]],
  [
    "options.ranges[1].offset",
    [
      { offset: 5, length: 5 },
      { offset: 9, length: 5 },
    ],
  ],
  [
    "options.ranges[1].offset",
    [
      { offset: 50, length: 5 },
      { offset: 9, length: 5 },
    ],
  ],
  ["options.ranges[0].sha256", [{ offset: 0, length: 1, sha256: "abc" }]],
  ["options.ranges[0].sha256", [{ offset: 0, length: 1, sha256: 5 }]],
])("refuses %s of %p", async (name, ranges) => {
  using folder = new Folder();
  await using source = await File.open(folder.file("a", "x".repeat(100)));
  await using target = await open(folder.file("b"));
  const error = await copy(source, target, { ranges: ranges as never }).catch((error) => error);
  expect(error).not.toBeInstanceOf(IoError);
  expect(error.message).toContain(`"${name}"`);
  expect(statSync(folder.file("b")).size).toBe(0);
});
