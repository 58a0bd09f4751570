// `copy` with a map: a rescue that goes on where it was stopped, and a map that never promises too much.

import { describe, expect, test } from "bun:test";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import {
  type CopyOptions,
  copy,
  copyToAll,
  File,
  type IoError,
  RescueMap,
  type RescueStatus,
  scan,
} from "../../src/index.ts";
import { type FaultRule, type SimulatedDevice, simulatedDevice } from "../../src/testing/index.ts";
import { testUnless, without } from "../support/conditions.ts";
import { ioError, rejection, wrong } from "../support/expect.ts";
import { pattern, Random } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const SECTOR = 512;
const skip = { onReadError: "skip" } as const;

type Block = [offset: number, length: number, status: RescueStatus];

function blocks(map: RescueMap): Block[] {
  return [...map.ranges()].map(({ offset, length, status }) => [offset, length, status]);
}

/** A map of sectors: one character each. */
function mapOf(sectors: string): RescueMap {
  const map = new RescueMap(sectors.length * SECTOR);
  for (const [index, status] of [...sectors].entries()) {
    map.set({ offset: index * SECTOR, length: SECTOR }, status as RescueStatus);
  }
  return map;
}

function sectorsOf(map: RescueMap): string {
  return blocks(map)
    .map(([, length, status]) => status.repeat(length / SECTOR))
    .join("");
}

/** A source of `sectors` sectors; each range of bad ones is `[first, count]`. */
async function damaged(
  sectors: number,
  bad: readonly [number, number][],
  options: { times?: number; first?: FaultRule | undefined } = {},
): Promise<{ source: SimulatedDevice; image: Uint8Array<ArrayBuffer> }> {
  const image = pattern(sectors * SECTOR, 1);
  const { times, first } = options;
  const faults = bad.map(([sector, count]): FaultRule => {
    const where = { offset: sector * SECTOR, length: count * SECTOR };
    return { operation: "read", ...where, error: "EIO", times };
  });
  if (first !== undefined) faults.unshift(first);
  return { source: await simulatedDevice({ image, faults }), image };
}

function zeroed(image: Uint8Array, ranges: Iterable<{ offset: number; length: number }>): Buffer {
  const left = Buffer.from(image);
  for (const { offset, length } of ranges) left.fill(0, offset, offset + length);
  return left;
}

/** What the map calls rescued must be in the image. */
function expectKept(map: RescueMap, target: Uint8Array, source: Uint8Array): void {
  const lost: number[] = [];
  for (const { offset, length } of map.ranges("+")) {
    const end = offset + length;
    if (Buffer.compare(target.subarray(offset, end), source.subarray(offset, end)) !== 0)
      lost.push(offset);
  }
  expect(lost).toEqual([]);
}

describe("a rescue", () => {
  test("of what is rescued already changes nothing of the map", async () => {
    const { source } = await damaged(8, []);
    await using _ = source;
    await using target = await simulatedDevice({ size: 8 * SECTOR });
    const map = mapOf("++++++++");
    const text = map.toString();
    const { bytesCopied, prefix } = await copy(source, target, { ...skip, map });
    expect([bytesCopied, prefix, map.toString()]).toEqual([0, 8 * SECTOR, text]);
  });

  test("in one go: what can be read is rescued, the rest is bad, and zero on the target", async () => {
    const { source, image } = await damaged(600, [
      [0, 1],
      [77, 3],
      [300, 120],
      [599, 1],
    ]);
    await using _ = source;
    for (const chunkSize of [SECTOR, 64 * SECTOR, 1 << 20]) {
      for (const sparse of [false, true]) {
        await using target = await simulatedDevice({
          image: new Uint8Array(image.byteLength).fill(9),
        });
        const map = new RescueMap();
        const result = await copy(source, target, { ...skip, map, chunkSize, sparse });
        const bad = [...map.ranges("-")];
        expect(bad.map(({ offset, length }) => [offset / SECTOR, length / SECTOR])).toEqual([
          [0, 1],
          [77, 3],
          [300, 120],
          [599, 1],
        ]);
        expect(blocks(map).filter(([, , status]) => status !== "-" && status !== "+")).toEqual([]);
        const errors = bad.map(({ offset, length }) => ({ offset, length, code: "EIO" }));
        expect(result).toMatchObject({ readErrors: errors, prefix: image.byteLength });
        expect([result.digest, result.verified]).toEqual([undefined, false]);
        expect(result.bytesCopied + result.bytesSkipped).toBe(image.byteLength);
        expect(zeroed(image, bad).equals(await target.crash())).toBe(true);
      }
    }
  });

  test("reads what is left, and leaves alone what is rescued or bad", async () => {
    const { source, image } = await damaged(16, []);
    await using _ = source;
    await using target = await simulatedDevice({ size: image.byteLength });
    const map = mapOf("++??--**//++??+-");
    const { bytesCopied, prefix } = await copy(source, target, { ...skip, map });
    expect(sectorsOf(map)).toBe("++++--+++++++++-");
    expect([bytesCopied, prefix]).toEqual([8 * SECTOR, image.byteLength]);
    expect(source.ring.stats().bytesRead).toBe(8 * SECTOR);
    const expected = zeroed(
      image,
      [...mapOf("++??--**//++??+-").ranges()].filter(({ status }) => "+-".includes(status)),
    );
    expect(expected.equals(await target.crash())).toBe(true);
  });

  test("a bad sector at every position", async () => {
    const image = pattern(24 * SECTOR);
    for (let sector = 0; sector < 24; sector++) {
      await using source = await simulatedDevice({ image });
      const bad = { offset: sector * SECTOR, length: SECTOR };
      source.faults.add({ operation: "read", ...bad, error: "ENODATA" });
      await using target = await simulatedDevice({ size: image.byteLength });
      const map = new RescueMap(image.byteLength);
      const { readErrors } = await copy(source, target, { ...skip, map, chunkSize: 8 * SECTOR });
      expect(readErrors).toEqual([{ ...bad, code: "ENODATA" }]);
      expect([...map.ranges("-")]).toEqual([{ ...bad, status: "-" }]);
      expect([...map.ranges("?")]).toEqual([]);
      expect(zeroed(image, [bad]).equals(await target.crash())).toBe(true);
    }
  });

  test("bad sectors are tried again with retries only, and then keep what the target has", async () => {
    const { source, image } = await damaged(16, [[4, 2]], { times: 4 });
    await using _ = source;
    await using target = await simulatedDevice({ image: new Uint8Array(16 * SECTOR).fill(9) });
    const map = mapOf("++++--++++++++++");
    const untouched = await copy(source, target, { ...skip, map });
    expect([untouched.bytesCopied, source.ring.stats().reads]).toEqual([0, 0]);
    const failed = await copy(source, target, { ...skip, map, retries: 1 });
    expect(failed.readErrors).toEqual([{ offset: 4 * SECTOR, length: 1024, code: "EIO" }]);
    expect([failed.bytesCopied, sectorsOf(map)]).toEqual([0, "++++--++++++++++"]);
    const rescued = await copy(source, target, { ...skip, map, retries: 5 });
    expect([rescued.bytesCopied, rescued.readErrors]).toEqual([1024, []]);
    expect(sectorsOf(map)).toBe("++++++++++++++++");
    const left = Buffer.alloc(16 * SECTOR, 9);
    left.set(image.subarray(2048, 3072), 2048);
    expect(left.equals(await target.crash())).toBe(true);
  });

  test("a sector that fails in another way when it is tried again is told once", async () => {
    const { source } = await damaged(16, [[4, 1]], { times: 1 });
    await using _ = source;
    const offset = 4 * SECTOR;
    source.faults.add({ operation: "read", offset, length: SECTOR, error: "ENODATA" });
    await using target = await simulatedDevice({ size: 16 * SECTOR });
    const { readErrors } = await copy(source, target, { ...skip, retries: 1, chunkSize: SECTOR });
    expect(readErrors).toEqual([{ offset, length: SECTOR, code: "ENODATA" }]);
  });

  test("progress is of what is tried: of bad sectors only with retries", async () => {
    const { source } = await damaged(16, []);
    await using _ = source;
    await using target = await simulatedDevice({ size: 16 * SECTOR });
    for (const [retries, sectors] of [
      [0, 8],
      [1, 12],
    ] as const) {
      const slow = {
        operation: "read",
        offset: 15 * SECTOR,
        length: SECTOR,
        latency: 250,
      } as const;
      using _rule = source.faults.add(slow);
      const totals: unknown[] = [];
      await copy(source, target, {
        ...{ ...skip, map: mapOf("++++----????????"), retries, chunkSize: SECTOR, concurrency: 1 },
        onProgress: ({ total }) => totals.push(total),
      });
      expect(totals[0]).toBe(sectors * SECTOR);
    }
  });

  test("of zeroes, that failed: the target has no more than its length", async () => {
    using dir = new TempDir();
    await using source = await simulatedDevice({ size: 256 * SECTOR });
    source.faults.add({ operation: "read", offset: 255 * SECTOR, length: SECTOR, error: "EACCES" });
    const path = dir.file("target");
    await using target = await File.open(path, { write: true, create: true });
    const options = { map: new RescueMap(), sparse: true, chunkSize: 64 * SECTOR, concurrency: 1 };
    const error = await ioError(copy(source, target, { ...skip, ...options }), "EACCES");
    expect([error.result?.prefix, readFileSync(path).byteLength]).toEqual([0, 0]);
  });

  test("what lies behind the end of a target that is cut off is to be rescued again", async () => {
    using dir = new TempDir();
    const { source, image } = await damaged(128, []);
    await using _ = source;
    const path = dir.file("target");
    await using target = await File.open(path, { write: true, create: true });
    const drop = target.invalidateCache.bind(target);
    target.invalidateCache = async () => {
      await drop();
      truncateSync(path, 10_000);
    };
    const map = new RescueMap();
    const options = { map, verify: true, chunkSize: 4096, concurrency: 1 };
    const error = await ioError(copy(source, target, { ...skip, ...options }), "ERR_VERIFY");
    expect(error.offset).toBe(10_000);
    expect(blocks(map)).toEqual([
      [0, 8192, "+"],
      [8192, image.byteLength - 8192, "?"],
    ]);
  });

  test("retries without a map", async () => {
    const { source, image } = await damaged(64, [[10, 1]], { times: 4 });
    await using _ = source;
    await using target = await simulatedDevice({ size: image.byteLength });
    const result = await copy(source, target, { ...skip, retries: 3, chunkSize: 16 * SECTOR });
    expect(result.readErrors).toEqual([]);
    expect(Buffer.compare(await target.crash(), image)).toBe(0);
  });

  test("scan, then copy: bad sectors are not tried a second time", async () => {
    const { source, image } = await damaged(256, [[100, 20]]);
    await using _ = source;
    await using target = await simulatedDevice({ size: image.byteLength });
    const { map } = await scan(source);
    const { failures } = source.ring.stats();
    const { readErrors } = await copy(source, target, { ...skip, map, chunkSize: 8 * SECTOR });
    expect([readErrors, source.ring.stats().failures]).toEqual([[], failures]);
    expect(zeroed(image, map.ranges("-")).equals(await target.crash())).toBe(true);
  });

  test("offsets, a length, ranges, and sectors of another size on the target", async () => {
    const random = Random.announced("rescue offsets");
    for (let round = 0; round < 12; round++) {
      const { source, image } = await damaged(400, [
        [90, 2],
        [200, 30],
      ]);
      await using _ = source;
      const size = 512 * 1024;
      const sectorSize = random.pick([512, 4096]);
      await using target = await simulatedDevice({ size, sectorSize });
      const sourceOffset = random.pick([0, 512, 5000, 45_000]);
      const targetOffset = random.pick([0, 4096, 700]);
      const length = random.between(60_000, 150_000);
      const ranges = random.chance(0.5)
        ? [
            { offset: 0, length: 47_000 },
            { offset: 80_000, length: 50_000 },
          ]
        : undefined;
      const map = new RescueMap();
      const chunkSize = random.pick([4096, 30_000, 1 << 20]);
      const options = { sourceOffset, targetOffset, length, ranges, chunkSize, verify: true };
      const result = await copy(source, target, { ...skip, map, ...options });
      expect([map.size, result.verified]).toEqual([image.byteLength, true]);
      const expected = Buffer.alloc(size);
      const domain = ranges ?? [{ offset: 0, length: image.byteLength }];
      for (const range of domain) {
        const from = Math.max(range.offset, sourceOffset);
        const to = Math.min(range.offset + range.length, sourceOffset + length);
        if (from < to) expected.set(image.subarray(from, to), targetOffset + from - sourceOffset);
      }
      for (const range of map.ranges("-")) {
        const at = targetOffset + range.offset - sourceOffset;
        expected.fill(0, at, at + range.length);
      }
      expect(expected.equals(await target.crash())).toBe(true);
    }
  });

  test("in whole sectors of the target, whatever the offsets: none of it is read", async () => {
    for (const sourceOffset of [SECTOR, 5 * SECTOR]) {
      for (const targetOffset of [0, 3 * 4096]) {
        const { source } = await damaged(400, []);
        await using _ = source;
        await using target = await simulatedDevice({ size: 512 * 1024, sectorSize: 4096 });
        const options = { sourceOffset, targetOffset, length: 32 * 4096, chunkSize: 8192 };
        await copy(source, target, { ...skip, map: new RescueMap(), ...options });
        expect(target.ring.stats().reads).toBe(0);
      }
    }
  });

  test("onto a file: its length is that of the source, also if the end is bad or a hole", async () => {
    using folder = new TempDir();
    for (const sparse of [false, true]) {
      const { source, image } = await damaged(512, [[511, 1]]);
      await using _ = source;
      image.fill(0, 1024);
      await using zeroes = await simulatedDevice({ image });
      for (const from of [source, zeroes]) {
        const path = folder.file("target", "");
        await using target = await File.open(path, { write: true });
        const map = new RescueMap();
        const result = await copy(from, target, { ...skip, map, sparse, verify: true });
        expect([result.verified, await target.size()]).toEqual([true, 512 * SECTOR]);
        if (from === zeroes) expect(Buffer.compare(readFileSync(path), image)).toBe(0);
      }
    }
  });

  test("progress counts each byte once, retries included", async () => {
    const { source } = await damaged(1000, [[300, 50]]);
    await using _ = source;
    await using target = await simulatedDevice({ size: 1000 * SECTOR });
    const map = new RescueMap(1000 * SECTOR);
    map.set({ offset: 0, length: 100 * SECTOR }, "+");
    map.set({ offset: 300 * SECTOR, length: 10 * SECTOR }, "-");
    let last: unknown[] = [];
    const options = { ...skip, map, retries: 3, chunkSize: 8192 };
    await copy(source, target, {
      ...options,
      onProgress: ({ phase, bytes, total }) => {
        last = [phase, bytes, total];
      },
    });
    expect(last).toEqual(["copy", 900 * SECTOR, 900 * SECTOR]);
  });
});

describe("a rescue that is stopped", () => {
  const SECTORS = 64;
  const bad: [number, number][] = [
    [5, 2],
    [40, 9],
  ];
  const options = { ...skip, chunkSize: 8 * SECTOR, concurrency: 3 } as const;

  /** Rescues, stopped by a fault; checks the medium and the map after the power is cut; then goes on to the end. */
  async function stopped(fault: FaultRule, at: "source" | "target"): Promise<IoError | undefined> {
    const first = at === "source" ? fault : undefined;
    const { source, image } = await damaged(SECTORS, bad, { first });
    const faults = at === "target" ? [fault] : [];
    const target = await simulatedDevice({
      ...{ size: image.byteLength, seed: fault.nth ?? 0, faults },
    });
    const map = new RescueMap(image.byteLength);
    const error = await copy(source, target, { ...options, map }).then(
      () => undefined,
      (reason: IoError) => reason,
    );
    expectKept(map, await target.crash(), image);
    await using again = await target.reopen();
    await using from = (await damaged(SECTORS, bad)).source;
    const { readErrors } = await copy(from, again, { ...options, map });
    expect(sectorsOf(map)).toBe(
      [...sectorsOf(map)].map((_, at) => (bad.some(isIn(at)) ? "-" : "+")).join(""),
    );
    const lost = [...map.ranges("-")];
    expect(zeroed(image, lost).equals(await again.crash())).toBe(true);
    if (error === undefined) expect(readErrors).toEqual([]);
    await source.close();
    await target.close();
    return error;
  }

  function isIn(at: number): (range: [number, number]) => boolean {
    return ([first, count]) => at >= first && at < first + count;
  }

  /** With the fault at the first request, the second, and so on, until none is left. */
  async function atEvery(fault: FaultRule, at: "source" | "target"): Promise<IoError[]> {
    const errors: IoError[] = [];
    for (let nth = 1; ; nth++) {
      const error = await stopped({ ...fault, nth }, at);
      if (error === undefined) return errors;
      errors.push(error);
    }
  }

  test("by an error of the source at every read: goes on, and nothing is read twice", async () => {
    const errors = await atEvery({ operation: "read", error: "EACCES" }, "source");
    expect(errors.length).toBeGreaterThan(20);
    expect(new Set(errors.map(({ code }) => code))).toEqual(new Set(["EACCES"]));
    // What is rescued stays rescued.
    const copied = errors.map(({ result }) => result?.bytesCopied ?? -1);
    expect(copied.at(-1)).toBeGreaterThan(SECTORS * SECTOR * 0.8);
  });

  test("by a source that is pulled out at every read", async () => {
    const errors = await atEvery({ operation: "read", unplug: true }, "source");
    expect(errors.length).toBeGreaterThan(20);
    expect(new Set(errors.map(({ code }) => code))).toEqual(new Set(["ERR_DEVICE_GONE"]));
  });

  test("by an error of the target at every write", async () => {
    const errors = await atEvery({ operation: "write", error: "EIO" }, "target");
    expect(errors.length).toBeGreaterThan(8);
    for (const error of errors) expect([error.code, error.syscall]).toEqual(["EIO", "write"]);
  });

  test("by a power cut of the target at every write", async () => {
    const errors = await atEvery({ operation: "write", crash: true }, "target");
    expect(errors.length).toBeGreaterThan(8);
    expect(new Set(errors.map(({ code }) => code))).toEqual(new Set(["ERR_DEVICE_GONE"]));
  });

  test("by a sync that fails: nothing counts as rescued, sectors stay bad", async () => {
    const error = await stopped({ operation: "sync", error: "EIO", nth: 1 }, "target");
    expect(error?.syscall).toBe("fsync");
    const { source, image } = await damaged(SECTORS, bad);
    await using _ = source;
    await using target = await simulatedDevice({ size: image.byteLength });
    // The kernel tells of a failed writeback once: a second sync would succeed.
    target.faults.add({ operation: "sync", error: "EIO", times: 1 });
    const map = new RescueMap();
    map.set({ offset: 0, length: 4 * SECTOR }, "+");
    await ioError(copy(source, target, { ...options, map }), "EIO");
    const model = [...Array(SECTORS).keys()].map((at) => {
      return at < 4 ? "+" : bad.some(isIn(at)) ? "-" : "?";
    });
    expect(sectorsOf(map)).toBe(model.join(""));
  });

  test("after a sync of somebody else has failed", async () => {
    const { source, image } = await damaged(SECTORS, []);
    await using _ = source;
    await using target = await simulatedDevice({ size: image.byteLength });
    target.faults.add({ operation: "sync", error: "EIO", times: 1 });
    source.faults.add({ operation: "read", offset: 48 * SECTOR, error: "EACCES" });
    const { writeAt } = target;
    let synced: Promise<unknown> | undefined;
    target.writeAt = async (...call) => {
      const bytes = await writeAt.apply(target, call);
      synced ??= rejection(target.syncAll());
      await synced;
      return bytes;
    };
    const map = new RescueMap();
    const error = await ioError(copy(source, target, { ...options, map }), "EACCES");
    expect(error.result?.bytesCopied).toBeGreaterThan(0);
    expect(blocks(map)).toEqual([[0, image.byteLength, "?"]]);
  });

  test("by an abort at any time: the map holds what is on the medium", async () => {
    for (let after = 0; after < 40; after += 3) {
      const { source, image } = await damaged(SECTORS, bad);
      await using _ = source;
      await using target = await simulatedDevice({ size: image.byteLength, seed: after });
      const map = new RescueMap();
      const controller = new AbortController();
      const { signal } = controller;
      const slow = source.faults.add({ operation: "read", latency: 1 });
      const copying = copy(source, target, { ...options, map, signal });
      const settled = copying.then(
        () => "done",
        (error: IoError) => error.name,
      );
      await Bun.sleep(after);
      controller.abort();
      expect(["done", "AbortError"]).toContain(await settled);
      slow[Symbol.dispose]();
      expectKept(map, await target.crash(), image);
      await using again = await target.reopen();
      await copy(source, again, { ...options, map });
      expect(zeroed(image, map.ranges("-")).equals(await again.crash())).toBe(true);
    }
  });

  test("by an abort while the target hangs: what it never said to have is to be rescued again", async () => {
    const { source, image } = await damaged(SECTORS, []);
    await using _ = source;
    await using target = await simulatedDevice({ size: image.byteLength });
    const hanging = target.faults.add({ operation: "write", offset: 32 * SECTOR, hang: true });
    const map = new RescueMap();
    const controller = new AbortController();
    const { signal } = controller;
    const aborted = ioError(copy(source, target, { ...options, map, signal }), "ABORT_ERR");
    while (target.ring.stats().writes < 4) await new Promise(setImmediate);
    controller.abort();
    expect(sectorsOf(map).slice(32)).not.toContain("+");
    hanging[Symbol.dispose]();
    const error = await aborted;
    expectKept(map, await target.crash(), image);
    expect(error.result?.bytesCopied).toBeGreaterThan(0);
  });

  test("without sync nothing is synced, and what is written stays rescued", async () => {
    const { source, image } = await damaged(SECTORS, []);
    await using _ = source;
    await using target = await simulatedDevice({ size: image.byteLength });
    source.faults.add({ operation: "read", offset: 32 * SECTOR, error: "EACCES" });
    target.faults.add({ operation: "sync", error: "EIO" });
    const map = new RescueMap();
    await ioError(copy(source, target, { ...options, map, sync: false }), "EACCES");
    expect(target.ring.stats().syncs).toBe(0);
    expect(sectorsOf(map)).toStartWith("+".repeat(32));
  });

  test("by a callback, or by closing the target", async () => {
    const { source, image } = await damaged(SECTORS, bad);
    await using _ = source;
    await using target = await simulatedDevice({ size: image.byteLength });
    const map = new RescueMap();
    const thrown = new Error("enough");
    const onProgress = (): void => {
      throw thrown;
    };
    const error = await ioError(copy(source, target, { ...options, map, onProgress }), "ERR_COPY");
    expect(error.cause).toBe(thrown);
    using folder = new TempDir();
    const path = folder.file("target", "");
    await using file = await File.open(path, { write: true });
    const { promise, resolve } = Promise.withResolvers<void>();
    const read = source.readAt.bind(source);
    source.readAt = (...call) => {
      resolve();
      return read(...call);
    };
    source.faults.add({ operation: "read", latency: 20 });
    const half = new RescueMap();
    const failed = ioError(copy(source, file, { ...options, map: half }), "EBADF");
    await promise;
    await file.close();
    await failed;
    expectKept(half, readFileSync(path), image);
  });

  test("by a source that is shorter than asked for", async () => {
    using folder = new TempDir();
    await using source = await File.open(folder.file("source", pattern(10_000)));
    await using target = await File.open(folder.file("target", ""), { write: true });
    const map = new RescueMap();
    const copying = copy(source, target, { ...skip, map, length: 12_000, chunkSize: 4096 });
    await ioError(copying, "ERR_END_OF_FILE");
    expect(blocks(map)[0]).toEqual([0, 8192, "+"]);
  });
});

describe("verify", () => {
  test("what this copy has rescued is read back; what differs is to be rescued again", async () => {
    const { source, image } = await damaged(600, [[300, 7]]);
    await using _ = source;
    await using target = await simulatedDevice({ size: image.byteLength });
    const write = target.writeAt.bind(target);
    target.writeAt = (data, offset, rest) => {
      const bytes = new Uint8Array(data as Uint8Array<ArrayBuffer>);
      const at = 200_000 - Number(offset);
      if (at >= 0 && at < bytes.byteLength) bytes[at] = (bytes[at] ?? 0) ^ 1;
      return write(bytes, offset, rest);
    };
    const map = new RescueMap();
    map.set({ offset: 0, length: 64 * SECTOR }, "+");
    const options = { ...skip, map, verify: true, chunkSize: 32_768 };
    const error = await ioError(copy(source, target, options), "ERR_VERIFY");
    expect([error.offset, error.result?.verified]).toEqual([200_000, false]);
    const [wrongBlock, ...more] = [...map.ranges("?")];
    expect(more).toEqual([]);
    expect(wrongBlock?.offset).toBeLessThanOrEqual(200_000);
    target.writeAt = write;
    const result = await copy(source, target, options);
    expect([result.verified, result.bytesCopied]).toEqual([true, wrongBlock?.length ?? 0]);
    const lost = [{ offset: 0, length: 64 * SECTOR }, ...map.ranges("-")];
    expect(zeroed(image, lost).equals(await target.crash())).toBe(true);
  });
});

describe("ddrescue", () => {
  testUnless(
    without("ddrescue"),
    "begins, and copy goes on; copy begins, and ddrescue goes on",
    async () => {
      using folder = new TempDir();
      const image = pattern(300_000);
      const source = folder.file("source", image);
      const path = folder.file("map");
      const run = (...command: string[]): void => {
        const { exitCode, stderr } = Bun.spawnSync(command);
        expect(`${stderr}${exitCode}`).toBe("0");
      };
      await using from = await File.open(source);
      const theirs = folder.file("theirs");
      run("ddrescue", "-q", "-i", "70000", "-s", "100000", source, theirs, path);
      await using target = await File.open(theirs, { write: true });
      const map = RescueMap.parse(readFileSync(path, "utf8"));
      const { bytesCopied } = await copy(from, target, { ...skip, map });
      expect(bytesCopied).toBe(200_000);
      expect(Buffer.compare(readFileSync(theirs), image)).toBe(0);
      writeFileSync(path, map.toString());
      run("ddrescuelog", "-D", path);

      const ours = folder.file("ours", "");
      await using half = await File.open(ours, { write: true });
      const part = new RescueMap();
      await copy(from, half, { ...skip, map: part, length: 150_000 });
      writeFileSync(path, part.toString());
      run("ddrescue", "-q", source, ours, path);
      expect(Buffer.compare(readFileSync(ours), image)).toBe(0);
      run("ddrescuelog", "-D", path);
    },
  );
});

test("what does not go together is refused, and nothing is read", async () => {
  using folder = new TempDir();
  await using source = await File.open(folder.file("source", "12345"));
  await using zero = await File.open("/dev/zero");
  await using target = await File.open(folder.file("target", ""), { write: true });
  const map = new RescueMap();
  const stream = (): ReadableStream<Uint8Array> => new Blob(["12345"]).stream();
  const ranges = [{ offset: 0, length: 5, sha256: "0".repeat(64) }];
  const calls: [File | ReadableStream<Uint8Array>, CopyOptions, string, string][] = [
    [source, { map }, "ERR_INVALID_ARG_VALUE", "options.map"],
    [source, { map, onReadError: "fail" }, "ERR_INVALID_ARG_VALUE", "options.map"],
    [source, { retries: 1 }, "ERR_INVALID_ARG_VALUE", "options.retries"],
    [source, { ...skip, retries: -1 }, "ERR_OUT_OF_RANGE", "options.retries"],
    [source, { ...skip, retries: wrong("1") }, "ERR_INVALID_ARG_TYPE", "options.retries"],
    [source, { ...skip, map: wrong({}) }, "ERR_INVALID_ARG_TYPE", "options.map"],
    [source, { ...skip, map, hash: "sha256" }, "ERR_INVALID_ARG_VALUE", "options.hash"],
    [source, { ...skip, map, ranges }, "ERR_INVALID_ARG_VALUE", "options.ranges[0].sha256"],
    [stream(), { ...skip, map }, "ERR_INVALID_ARG_VALUE", "options.map"],
    [stream(), { ...skip, retries: 2 }, "ERR_INVALID_ARG_VALUE", "options.retries"],
    [zero, { ...skip, map }, "ERR_INVALID_ARG_VALUE", "options.length"],
  ];
  for (const [from, options, code, words] of calls) {
    const error = await rejection(copy(from, target, options));
    expect([words, error.code, error.message.includes(words)]).toEqual([words, code, true]);
  }
  const toAll = await rejection(copyToAll(source, [target], wrong({ ...skip, map })));
  expect(toAll.message).toContain("options.map");
  expect(await target.size()).toBe(0);
  expect(blocks(map)).toEqual([]);
  await using empty = await File.open(folder.file("empty", ""));
  const { prefix } = await copy(empty, target, { ...skip, map });
  expect([prefix, map.size]).toEqual([0, 0]);
});
