// overlayDevice: what is written stays above the base.

import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { allocBuffer, BlockDevice, File, type IoError } from "../../src/index.ts";
import { imageDevice, overlayDevice, simulatedDevice } from "../../src/testing/index.ts";
import { testUnless, unless } from "../support/conditions.ts";
import { Folder, rejection } from "../support/devices.ts";
import { Random } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

function hash(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "ok";
  } catch (error) {
    return (error as IoError).code;
  }
}

describe("an overlay", () => {
  test("random writes, zeroes and reads agree with a model; the base does not change", async () => {
    using directory = new TempDir();
    const random = Random.announced("overlay");
    const size = 200 * 512;
    const model = random.fill(new Uint8Array(size));
    const path = directory.file("base", model);
    const before = hash(model);
    const changed = new Set<number>();
    await using device = await overlayDevice(path, { unalignedWrites: "rmw" });
    expect(device).toBeInstanceOf(BlockDevice);
    expect(device.geometry).toMatchObject({ size, model: "overlay", logicalSectorSize: 512 });
    for (let i = 0; i < 400; i++) {
      const offset = random.below(size);
      const length = 1 + random.below(Math.min(3000, size - offset));
      if (random.chance(0.3)) {
        const data = random.fill(new Uint8Array(length));
        const zeroes = random.chance(0.2);
        if (zeroes) await device.writeZeroes(offset, length);
        else await device.writeAt(data, offset);
        model.set(zeroes ? new Uint8Array(length) : data, offset);
        const last = Math.floor((offset + length - 1) / 512);
        for (let at = Math.floor(offset / 512); at <= last; at++) changed.add(at);
      } else {
        const data = new Uint8Array(length);
        await device.readExactAt(data, offset);
        expect(hash(data)).toBe(hash(model.subarray(offset, offset + length)));
      }
    }
    await device.syncAll();
    const listed = new Set<number>();
    let end = -1;
    for (const { offset, length } of device.changes()) {
      expect(offset).toBeGreaterThan(end);
      end = offset + length;
      for (let at = offset / 512; at < end / 512; at++) listed.add(at);
    }
    expect(listed).toEqual(changed);
    expect(hash(readFileSync(path))).toBe(before);
  });

  test("ranges are merged and sorted, as many as there are", async () => {
    using directory = new TempDir();
    const path = directory.file("base", new Uint8Array(4096 * 512));
    await using device = await overlayDevice(path);
    const sector = allocBuffer(512).fill(1);
    expect(device.changes()).toEqual([]);
    for (const at of [3, 1, 2, 9]) await device.writeAt(sector, at * 512);
    await device.discard(100 * 512, 512);
    expect(device.changes()).toEqual([
      { offset: 512, length: 1536 },
      { offset: 9 * 512, length: 512 },
      { offset: 100 * 512, length: 512 },
    ]);
    const every = Array.from({ length: 2048 }, (_, index) => device.writeAt(sector, index * 1024));
    await Promise.all(every);
    expect(device.changes().length).toBe(2045);
  });

  test("takes an open File, which may be closed, and a base that ends within a sector", async () => {
    using directory = new TempDir();
    const path = directory.file("base", new Uint8Array(1000).fill(3));
    const base = await File.open(path);
    await using device = await overlayDevice(base);
    await base.close();
    const back = new Uint8Array(2000);
    expect(await device.readAt(back, 0)).toBe(1000);
    expect(back.lastIndexOf(3)).toBe(999);
    await device.writeAt(allocBuffer(512).fill(4), 0);
    expect(await device.readAt(back, 0)).toBe(1000);
    expect([back[511], back[512]]).toEqual([4, 3]);
    expect(await codeOf(device.writeAt(allocBuffer(512), 512))).toBe("ENOSPC");
    expect(readFileSync(path).every((byte) => byte === 3)).toBe(true);
  });

  test("a base without write permission, by a read-only descriptor", async () => {
    using directory = new TempDir();
    const path = directory.file("base", new Uint8Array(8192));
    await using direct = await BlockDevice.open(path);
    await using device = await overlayDevice(direct);
    await device.writeAt(allocBuffer(4096).fill(1), 4096);
    const back = allocBuffer(8192);
    await device.readExactAt(back, 0);
    expect(back.indexOf(1)).toBe(4096);
  });

  testUnless(imageDevice.unavailable(), "over a kernel device", async () => {
    await using base = await imageDevice({ size: 2 ** 20, sectorSize: 4096 });
    await base.writeAt(allocBuffer(4096).fill(5), 0);
    await base.syncAll();
    await using device = await overlayDevice(base);
    expect(device.geometry.logicalSectorSize).toBe(4096);
    await device.writeAt(allocBuffer(4096).fill(6), 4096);
    const back = allocBuffer(12288);
    await device.readExactAt(back, 0);
    expect([back[0], back[4096], back[8192]]).toEqual([5, 6, 0]);
    await base.readExactAt(back, 0);
    expect([back[0], back[4096]]).toEqual([5, 0]);
  });

  // Only tmpfs has files of that length everywhere.
  testUnless(
    unless(existsSync("/dev/shm"), "there is no /dev/shm"),
    "says why a base is too large",
    async () => {
      using folder = new Folder("/dev/shm");
      const base = folder.zeroes("base", 2 ** 50);
      const error = await rejection(overlayDevice(base));
      expect(error.code).toBe("ENOMEM");
      expect(error.message).toContain(`as its base has (${2 ** 50})`);
      expect(error.message).toContain(base);
    },
  );

  test("refuses what is no base", async () => {
    using directory = new TempDir();
    expect(await codeOf(overlayDevice(5 as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(await codeOf(overlayDevice(directory.file("empty", "")))).toBe("EINVAL");
    expect(await codeOf(overlayDevice(directory.file("missing")))).toBe("ENOENT");
    expect(await codeOf(overlayDevice("/dev/zero"))).toBe("ENOTBLK");
    await using simulated = await simulatedDevice();
    expect(await codeOf(overlayDevice(simulated))).toBe("ERR_INVALID_ARG_VALUE");
    await using writer = await File.open(directory.file("w", "x"), { read: false, write: true });
    expect(await codeOf(overlayDevice(writer))).toBe("ERR_INVALID_ARG_VALUE");
  });
});
