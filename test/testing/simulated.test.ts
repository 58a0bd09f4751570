// simulatedDevice: the whole API of a block device, over memory.

import { describe, expect, test } from "bun:test";
import { allocBuffer, BlockDevice, type IoError } from "../../src/index.ts";
import { type SimulatedDeviceOptions, simulatedDevice } from "../../src/testing/index.ts";
import { until } from "../support/control.ts";
import { rejection } from "../support/devices.ts";

const MIB = 2 ** 20;

function pattern(bytes: number, salt = 0): Uint8Array<ArrayBuffer> {
  const out = allocBuffer(bytes);
  for (let i = 0; i < bytes; i++) out[i] = (i * 7 + (i >> 8) + salt) & 0xff;
  return out;
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "resolved";
  } catch (error) {
    return (error as IoError).code;
  }
}

describe("a simulated device", () => {
  test("is a block device on a ring of its own", async () => {
    await using device = await simulatedDevice({ size: MIB, sectorSize: 4096, seed: 7 });
    expect(device).toBeInstanceOf(BlockDevice);
    expect(device.ring.backend).toBe("simulated");
    expect(device.kind).toBe("disk");
    expect(device.path).toBe("simulated:7");
    expect(device.geometry).toMatchObject({
      size: MIB,
      logicalSectorSize: 4096,
      physicalSectorSize: 4096,
      readOnly: false,
      model: "simulated",
    });
    expect(device.alignment).toEqual({ memory: 512, offset: 4096, length: 4096 });
    expect(await device.size()).toBe(MIB);
    expect((await device.stat()).isBlockDevice()).toBe(true);
  });

  test("reads and writes, with vectors and unaligned reads", async () => {
    await using device = await simulatedDevice({ size: MIB });
    const data = pattern(8192);
    expect(await device.writeAt(data, 4096)).toBe(8192);
    const back = allocBuffer(8192);
    expect(await device.readAt(back, 4096)).toBe(8192);
    expect(back).toEqual(data);
    const odd = new Uint8Array(777);
    await device.readExactAt(odd, 4099);
    expect(odd).toEqual(data.slice(3, 780));
    const sizes = [100, 412, 512, 100, 100, 312, 512];
    const pieces = sizes.map((size, index) => pattern(size, index));
    expect(await device.writevAt(pieces, 16384)).toBe(2048);
    const out = sizes.map((size) => new Uint8Array(size));
    expect(await device.readvAt(out, 16384)).toBe(2048);
    out.forEach((piece, index) => {
      expect(piece).toEqual(new Uint8Array(pieces[index] as Uint8Array));
    });
  });

  test("moves what is larger than the window and than a piece", async () => {
    await using device = await simulatedDevice({ size: 32 * MIB });
    const data = pattern(20 * MIB);
    await device.writeAt(data, MIB);
    const back = new Uint8Array(20 * MIB);
    await device.readExactAt(back, MIB);
    expect(Bun.hash(back)).toBe(Bun.hash(data));
    expect(device.ring.stats().continuations).toBeGreaterThan(0);
  });

  test("reads are short at the end, writes behind it are refused", async () => {
    await using device = await simulatedDevice({ size: 4096 });
    expect(await device.readAt(new Uint8Array(1000), 4000)).toBe(96);
    expect(await device.readAt(new Uint8Array(1000), 4096)).toBe(0);
    expect(await codeOf(device.writeAt(allocBuffer(512), 4096))).toBe("ENOSPC");
  });

  test("strict by default; rmw and relaxed alignment on request", async () => {
    await using strict = await simulatedDevice({ size: MIB });
    expect(await codeOf(strict.writeAt(new Uint8Array(10), 3))).toBe("ERR_MISALIGNED");
    await using rmw = await simulatedDevice({ size: MIB, unalignedWrites: "rmw" });
    const bytes = Array.from({ length: 1024 }, (_, index) => index);
    await Promise.all(bytes.map((at) => rmw.writeAt(new Uint8Array([at & 0xff]), at)));
    const back = new Uint8Array(1024);
    await rmw.readExactAt(back, 0);
    expect(back.every((value, index) => value === (index & 0xff))).toBe(true);
    await using relaxed = await simulatedDevice({ size: MIB, strictAlignment: false });
    expect(relaxed.alignment).toEqual({ memory: 1, offset: 1, length: 1 });
    expect(relaxed.geometry.logicalSectorSize).toBe(512);
    expect(await relaxed.writeAt(new Uint8Array([1, 2, 3]), 5)).toBe(3);
    expect(await relaxed.readAt(back.subarray(0, 4), 4)).toBe(4);
    expect([...back.subarray(0, 4)]).toEqual([0, 1, 2, 3]);
  });

  test("discards, zeroes, syncs, drops caches", async () => {
    await using device = await simulatedDevice({ image: pattern(8192) });
    expect(await device.discard(0, 512)).toEqual({ method: "discard" });
    expect(await device.writeZeroes(1024, 512)).toEqual({ method: "zeroout" });
    await device.syncAll();
    await device.syncData();
    await device.invalidateCache();
    await device.rereadPartitions();
    const back = new Uint8Array(2048);
    await device.readExactAt(back, 0);
    const expected = new Uint8Array(pattern(2048));
    expected.fill(0, 0, 512).fill(0, 1024, 1536);
    expect(back).toEqual(expected);
    expect(await codeOf(device.truncate(0))).toBe("EINVAL");
    // One number, two names.
    expect(await codeOf(device.allocate(0, 512))).toMatch(/^E(OP)?NOTSUPP?$/);
  });

  test("a sync covers discards and zeroes that were not awaited, and tells of their failure", async () => {
    await using device = await simulatedDevice({
      size: 2 ** 16,
      faults: [
        { operation: "discard", latency: 40 },
        { operation: "write", offset: 4096, length: 512, latency: 15 },
        { operation: "write", offset: 8192, length: 512, error: "EIO" },
      ],
    });
    const discarded = device.discard(0, 4096);
    const zeroed = device.writeZeroes(4096, 512);
    await device.syncAll();
    for (const call of [discarded, zeroed])
      expect(Bun.peek.status<unknown>(call)).toBe("fulfilled");
    const failed = rejection(device.writeZeroes(8192, 512));
    const sync = (await rejection(device.syncAll())) as IoError;
    expect(sync.cause).toBe(await failed);
    expect((await failed).code).toBe("EIO");
  });

  test("unaligned writes and zeroes on one sector wait for each other", async () => {
    const image = new Uint8Array(8192).fill(0xff);
    await using device = await simulatedDevice({
      image,
      unalignedWrites: "rmw",
      faults: [
        { operation: "write", latency: 15 },
        { operation: "discard", latency: 15 },
      ],
    });
    const calls = [
      // The sector is read at once; without a lock it is written back over the zeroes.
      device.writeAt(new Uint8Array(5), 10),
      device.writeZeroes(0, 512),
      device.writeAt(new Uint8Array(5), 1034),
      device.discard(1024, 512),
    ];
    await Promise.all(calls);
    const answer = new Uint8Array(2048);
    await device.readExactAt(answer, 0);
    const expected = image.slice(0, 2048).fill(0, 0, 512).fill(0, 1024, 1536);
    expect(answer).toEqual(expected);
  });

  test("batches and streams", async () => {
    await using device = await simulatedDevice({ size: MIB });
    const data = pattern(300_000);
    const writer = device.writable({ sync: true }).getWriter();
    await writer.write(data);
    await writer.close();
    const streamed = await new Response(device.readable({ end: 300_000 })).bytes();
    expect(Bun.hash(streamed)).toBe(Bun.hash(data));
    const results = await device.ring.batch([
      { kind: "write", file: device, data: pattern(512, 9), offset: 0 },
      { kind: "syncAll", file: device },
      { kind: "read", file: device, data: new Uint8Array(10), offset: 600_000 },
    ]);
    expect(results.map((result) => result.status === "fulfilled" && result.value)).toEqual([
      512, 0, 10,
    ]);
  });

  test("abort and timeout end what takes long", async () => {
    await using device = await simulatedDevice({
      faults: [{ operation: "any", latency: 60_000 }],
    });
    const buffer = allocBuffer(512);
    const aborting = new AbortController();
    const read = device.readAt(buffer, 0, { signal: aborting.signal });
    await until(() => device.ring.stats().inFlight > 0);
    aborting.abort();
    expect(await codeOf(read)).toBe("ABORT_ERR");
    expect(await codeOf(device.writeAt(buffer, 0, { timeout: 5 }))).toBe("ERR_TIMEOUT");
  });

  test("holds an image, and writes to a copy of it", async () => {
    const image = new Uint8Array(3 * MIB).fill(5);
    await using device = await simulatedDevice({ image });
    expect(device.geometry.size).toBe(3 * MIB);
    const one = new Uint8Array(1);
    await device.readExactAt(one, 3 * MIB - 1);
    expect(one[0]).toBe(5);
    await device.writeAt(allocBuffer(512), 0);
    expect(image[0]).toBe(5);
    await using larger = await simulatedDevice({ image: image.subarray(0, 512), size: 1024 });
    const both = new Uint8Array(1024);
    await larger.readExactAt(both, 0);
    expect([both[511], both[512]]).toEqual([5, 0]);
  });

  test("close waits, is one promise, and ends the device; the ring may be closed first", async () => {
    const device = await simulatedDevice({ faults: [{ operation: "read", latency: 5 }] });
    const read = device.readAt(new Uint8Array(512), 0);
    expect(device.close()).toBe(device.close());
    await device.close();
    expect(await read).toBe(512);
    expect(await codeOf(device.readAt(new Uint8Array(1), 0))).toBe("EBADF");
    expect(await codeOf(device.crash())).toBe("EBADF");
    expect(await codeOf(device.reopen())).toBe("EBADF");
    const other = await simulatedDevice();
    await other.ring.close();
    await other.close();
  });

  const wrong: [string, unknown][] = [
    ["options.sectorSize", { sectorSize: 1000 }],
    ["options.sectorSize", { sectorSize: 256 }],
    ["options.size", { size: 1000 }],
    ["options.size", { size: 512, image: new Uint8Array(1024) }],
    ["options.image", { image: new Uint8Array(100) }],
    ["options.image", { image: "zeroes" }],
    ["options.seed", { seed: -1 }],
    ["options.strictAlignment", { strictAlignment: 1 }],
    ["options.unalignedWrites", { unalignedWrites: "maybe" }],
    ["options.faults", { faults: {} }],
    ["options.sectors", { sectors: 1 }],
    ["options.faults[1].operation", { faults: [{ operation: "read", error: "EIO" }, {}] }],
  ];
  test.each(wrong)("refuses wrong %s by name", async (name, options) => {
    const opening = simulatedDevice(options as SimulatedDeviceOptions);
    expect(await opening.then(String, (error: Error) => error.message)).toContain(`"${name}"`);
  });
});
