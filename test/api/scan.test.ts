// `scan`: what cannot be read is found to the sector, healthy areas first.

import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { File, IoError, type ReadError, scan } from "../../src/index.ts";
import { simulatedDevice } from "../../src/testing/index.ts";
import { ioError, rejection, wrong } from "../support/expect.ts";
import { pattern, Random } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const KIB = 1024;

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

describe("scan", () => {
  test("a healthy device and a healthy file: everything is read", async () => {
    using folder = new TempDir();
    const image = pattern(300 * KIB);
    await using device = await simulatedDevice({ image });
    await using plain = await File.open(folder.file("plain", image));
    await using direct = await File.open(folder.file("direct", image), { direct: true });
    for (const file of [device, plain, direct]) {
      const phases = new Set<string>();
      let last = 0;
      const { durationMs, map, ...result } = await scan(file, {
        hash: "sha256",
        chunkSize: 20_000,
        onProgress: ({ phase, bytes, total }) => {
          phases.add(phase);
          expect([total, bytes >= last]).toEqual([image.byteLength, true]);
          last = bytes;
        },
      });
      expect(result).toEqual({ bytesRead: image.byteLength, bad: [], digest: sha256(image) });
      expect([...map.ranges()]).toEqual([{ offset: 0, length: image.byteLength, status: "?" }]);
      expect([...phases, last]).toEqual(["scan", image.byteLength]);
      expect(durationMs).toBeGreaterThan(0);
    }
  });

  test("a bad sector at every position", async () => {
    for (const sectorSize of [512, 4096]) {
      const sectors = 24;
      const image = pattern(sectors * sectorSize);
      await using device = await simulatedDevice({ image, sectorSize });
      for (const chunkSize of [sectorSize, 7 * sectorSize, image.byteLength]) {
        for (let sector = 0; sector < sectors; sector++) {
          const bad = { offset: sector * sectorSize, length: sectorSize, code: "EIO" } as const;
          using _ = device.faults.add({ operation: "read", ...range(bad), error: bad.code });
          const told: ReadError[] = [];
          const onBad = (error: ReadError): void => void told.push(error);
          const result = await scan(device, { chunkSize, hash: "sha256", onBad });
          expect([result.bad, told]).toEqual([[bad], [bad]]);
          expect(result.bytesRead).toBe(image.byteLength - sectorSize);
          expect(result.digest).toBeUndefined();
          expect(result.map.size).toBe(image.byteLength);
          expect([...result.map.ranges("-")]).toEqual([{ ...range(bad), status: "-" }]);
          expect([...result.map.ranges("+")]).toEqual([]);
        }
      }
    }
  });

  test("bad sectors anywhere, whatever the chunks", async () => {
    const random = Random.announced("scan");
    for (let round = 0; round < 8; round++) {
      const sectors = 2000;
      await using device = await simulatedDevice({ size: sectors * 512 });
      const bad: ReadError[] = [];
      for (let at = random.below(300); at < sectors; at += random.between(2, 300)) {
        const count = Math.min(random.pick([1, 2, 40, 200]), sectors - at);
        const code = random.pick(["EIO", "ENODATA", "EILSEQ"] as const);
        bad.push({ offset: at * 512, length: count * 512, code });
        at += count;
      }
      for (const error of bad) {
        device.faults.add({ operation: "read", ...range(error), error: error.code });
      }
      const chunkSize = random.pick([512, 3 * 512, 16 * KIB, 64 * KIB, 2048 * KIB]);
      let told = 0;
      const result = await scan(device, {
        chunkSize,
        concurrency: random.between(1, 8),
        onBad: ({ length }) => {
          told += length;
        },
      });
      expect(result.bad).toEqual(bad);
      const lost = bad.reduce((sum, { length }) => sum + length, 0);
      expect([told, result.bytesRead]).toEqual([lost, sectors * 512 - lost]);
    }
  });

  test("healthy areas come first: all of them are read before any sector is looked for", async () => {
    const size = 4096 * KIB;
    await using device = await simulatedDevice({ size });
    device.faults.add({ operation: "read", length: 1024 * KIB, error: "EIO" });
    device.faults.add({ operation: "read", offset: size - 512, error: "EIO" });
    let before: number | undefined;
    await scan(device, {
      chunkSize: 64 * KIB,
      onBad: () => {
        before ??= device.ring.stats().bytesRead;
      },
    });
    expect(before).toBeGreaterThanOrEqual(size - (1024 + 64) * KIB);
  });

  test("a large bad area is left quickly", async () => {
    const size = 64 * 1024 * KIB;
    await using device = await simulatedDevice({ size });
    device.faults.add({ operation: "read", length: size / 2, error: "EIO" });
    // Where the healthy half is reached.
    device.faults.add({ operation: "read", offset: size / 2, unplug: true });
    await ioError(scan(device, { chunkSize: 16 * KIB, concurrency: 1 }), "ERR_DEVICE_GONE");
    // 2048 chunks are bad, and 1 MiB is the most that is skipped at once.
    expect(device.ring.stats().failures).toBeLessThan(60);
  });

  test("what cannot be read is divided by 16, down to the sector", async () => {
    await using device = await simulatedDevice({ size: 2048 * KIB });
    device.faults.add({ operation: "read", offset: 1000 * KIB, length: 512, error: "EIO" });
    expect((await scan(device)).bad.length).toBe(1);
    // All of it, 16 of 128 KiB, 16 of 8 KiB, 16 sectors.
    expect(device.ring.stats().reads).toBe(49);
  });

  test("what was skipped is read from its other end, up to where it is bad", async () => {
    const size = 64 * 1024 * KIB;
    await using device = await simulatedDevice({ size });
    device.faults.add({ operation: "read", length: size / 2, error: "EIO" });
    // The first healthy sector, which was skipped.
    device.faults.add({ operation: "read", offset: size / 2, length: 512, unplug: true });
    await ioError(scan(device, { chunkSize: 16 * KIB, concurrency: 1 }), "ERR_DEVICE_GONE");
    // Each part that was skipped costs one failure more.
    expect(device.ring.stats().failures).toBeWithin(60, 100);
  });

  test("parts: start, end, ranges", async () => {
    const image = pattern(64 * KIB);
    await using device = await simulatedDevice({ image });
    device.faults.add({ operation: "read", offset: 8192, length: 512, error: "EIO" });
    const part = await scan(device, { start: 8192 + 512, end: 20_000, hash: "sha1" });
    expect(part.bytesRead).toBe(20_000 - 8192 - 512);
    const expected = createHash("sha1").update(image.subarray(8704, 20_000)).digest("hex");
    expect(part.digest).toBe(expected);
    expect(part.map.size).toBe(image.byteLength);
    const ranges = [
      { offset: 100, length: 1000 },
      { offset: 8000, length: 1000 },
      { offset: 60_000, length: 100_000 },
    ];
    const some = await scan(device, { ranges, end: 64_000 });
    expect(some.bad).toEqual([{ offset: 8192, length: 512, code: "EIO" }]);
    expect(some.bytesRead).toBe(1000 + 488 + 4000);
    // Told while the last chunk takes long.
    device.faults.add({ operation: "read", offset: 60 * KIB, length: 512, latency: 250 });
    const totals: unknown[] = [];
    const rest = await scan(device, {
      ...{ start: 8704, chunkSize: 4096, concurrency: 1 },
      onProgress: ({ total }) => totals.push(total),
    });
    const expectedBytes = image.byteLength - 8704;
    expect([rest.bytesRead, rest.bad, totals[0]]).toEqual([expectedBytes, [], expectedBytes]);
    const none = await scan(device, { start: 70_000 });
    expect([none.bytesRead, none.bad]).toEqual([0, []]);
  });

  test("progress counts what cannot be read, too", async () => {
    await using device = await simulatedDevice({ size: 64 * KIB });
    device.faults.add({ operation: "read", offset: 8192, length: 4096, error: "EIO" });
    let last = { bytes: 0, total: 0 as number | undefined };
    await scan(device, {
      onProgress: ({ bytes, total }) => {
        last = { bytes, total };
      },
    });
    expect(last).toEqual({ bytes: 64 * KIB, total: 64 * KIB });
  });

  test("what is on the medium is read, not what is cached; chunks are whole sectors", async () => {
    await using device = await simulatedDevice({ size: 64 * KIB });
    const drop = device.invalidateCache.bind(device);
    const calls: string[] = [];
    device.invalidateCache = () => {
      calls.push(`dropped after ${device.ring.stats().reads} reads`);
      return drop();
    };
    await scan(device, { chunkSize: 1000 });
    expect([...calls, device.ring.stats().reads]).toEqual(["dropped after 0 reads", 64]);
  });

  test("a range of the map of one scan is what the next one looks at", async () => {
    await using device = await simulatedDevice({ size: 256 * KIB });
    const bad = { offset: 100 * KIB, length: 2 * KIB };
    const rule = device.faults.add({ operation: "read", ...bad, error: "EIO" });
    const { map } = await scan(device);
    rule[Symbol.dispose]();
    const again = await scan(device, { ranges: [...map.ranges("-")] });
    expect([again.bytesRead, again.bad]).toEqual([2 * KIB, []]);
  });

  test("character devices need an end; an empty file has nothing to read", async () => {
    using folder = new TempDir();
    await using zero = await File.open("/dev/zero");
    expect((await rejection(scan(zero))).message).toContain("options.end");
    expect((await scan(zero, { end: 100_000 })).bytesRead).toBe(100_000);
    await using empty = await File.open(folder.file("empty", ""));
    const { bytesRead, map } = await scan(empty);
    expect([bytesRead, map.size]).toEqual([0, 0]);
  });
});

describe("a scan that ends early", () => {
  test("errors that do not concern a place", async () => {
    await using device = await simulatedDevice({ size: 256 * KIB });
    const options = { hash: "sha256", chunkSize: 4096, concurrency: 8 } as const;
    const rule = { operation: "read", offset: 100 * KIB, length: 512 } as const;
    device.faults.add({ ...rule, error: "EACCES" });
    await ioError(scan(device, options), "EACCES");
    // 25 chunks before it, and what the others had begun.
    expect(device.ring.stats().reads).toBeLessThan(45);
    device.faults.add({ ...rule, offset: 20 * KIB, unplug: true });
    await ioError(scan(device, options), "ERR_DEVICE_GONE");
  });

  test("a device that goes while its sectors are tried", async () => {
    await using device = await simulatedDevice({ size: 256 * KIB });
    device.faults.add({ operation: "read", offset: 4096, length: 8192, error: "EIO" });
    device.faults.add({ operation: "read", nth: 20, unplug: true });
    await ioError(scan(device, { chunkSize: 16 * KIB }), "ERR_DEVICE_GONE");
  });

  test("a file that ends while its sectors are tried", async () => {
    using folder = new TempDir();
    await using file = await File.open(folder.file("a", pattern(64 * KIB)));
    const read = file.readAt.bind(file);
    file.readAt = async (data, offset, options) => {
      if (data.byteLength > 4096) throw new IoError("EIO");
      return Number(offset) < 8192 ? read(data, offset, options) : 0;
    };
    const error = await ioError(scan(file), "ERR_END_OF_FILE");
    expect(error.message).toContain("ends at 8192");
  });

  test("abort: before, and in the middle", async () => {
    await using device = await simulatedDevice({ size: 256 * KIB });
    const error = await ioError(scan(device, { signal: AbortSignal.abort("no") }), "ABORT_ERR");
    expect([error.name, error.cause]).toEqual(["AbortError", "no"]);
    expect(device.ring.stats().reads).toBe(0);
    device.faults.add({ operation: "read", offset: 128 * KIB, latency: 60_000 });
    const scanning = scan(device, { hash: "md5", signal: AbortSignal.timeout(20) });
    await ioError(scanning, "ABORT_ERR");
  });

  test("what callbacks throw", async () => {
    await using device = await simulatedDevice({ size: 256 * KIB });
    device.faults.add({ operation: "read", offset: 128 * KIB, length: 512, error: "EIO" });
    const thrown = new Error("enough");
    const fail = (): void => {
      throw thrown;
    };
    expect(await rejection(scan(device, { onBad: fail }))).toBe(thrown);
    expect(await rejection(scan(device, { onProgress: fail }))).toBe(thrown);
  });

  test("after a callback has thrown no bad sector is told", async () => {
    await using device = await simulatedDevice({ size: 256 * KIB });
    device.faults.add({ operation: "read", offset: 512, length: 512, error: "EIO", latency: 400 });
    const told: ReadError[] = [];
    const thrown = new Error("enough");
    const scanning = scan(device, {
      ...{ chunkSize: 512, concurrency: 1 },
      onBad: (error) => told.push(error),
      onProgress: () => {
        throw thrown;
      },
    });
    expect(await rejection(scanning)).toBe(thrown);
    expect(told).toEqual([]);
  });

  test("wrong arguments", async () => {
    using folder = new TempDir();
    await using file = await File.open(folder.file("file", "12345"), { write: true });
    await using closed = await File.open(folder.file("closed", "12345"));
    await closed.close();
    await using unread = await File.open(folder.file("unread"), {
      ...{ read: false, write: true, create: true },
    });
    const calls: [Promise<unknown>, string, string][] = [
      [scan(wrong("file")), "ERR_INVALID_ARG_TYPE", '"file"'],
      [scan(unread), "ERR_INVALID_ARG_VALUE", '"file"'],
      [scan(closed), "EBADF", "closed"],
      [scan(file, wrong({ strat: 1 })), "ERR_INVALID_ARG_VALUE", "strat"],
      [scan(file, { start: -1 }), "ERR_OUT_OF_RANGE", "options.start"],
      [scan(file, { start: 2n ** 60n }), "ERR_INVALID_ARG_TYPE", "options.start"],
      [scan(file, { start: 3, end: 2 }), "ERR_OUT_OF_RANGE", "options.end"],
      [scan(file, { chunkSize: 0 }), "ERR_OUT_OF_RANGE", "options.chunkSize"],
      [scan(file, { concurrency: 0 }), "ERR_OUT_OF_RANGE", "options.concurrency"],
      [scan(file, { hash: wrong("crc") }), "ERR_INVALID_ARG_VALUE", "options.hash"],
      [scan(file, { onBad: wrong(1) }), "ERR_INVALID_ARG_TYPE", "options.onBad"],
      [scan(file, { onProgress: wrong(1) }), "ERR_INVALID_ARG_TYPE", "options.onProgress"],
      [scan(file, { signal: wrong({}) }), "ERR_INVALID_ARG_TYPE", "options.signal"],
      [scan(file, { ranges: wrong([1]) }), "ERR_INVALID_ARG_TYPE", "options.ranges[0]"],
    ];
    for (const [call, code, words] of calls) {
      const error = await rejection(call);
      expect([error.code, error.message.includes(words)]).toEqual([code, true]);
    }
    expect(await rejection(scan(closed))).toBeInstanceOf(IoError);
  });
});

function range({ offset, length }: ReadError): { offset: number; length: number } {
  return { offset, length };
}
