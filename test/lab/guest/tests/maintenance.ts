// Discarding, zeroing and flushing, as each disk can.

import { describe, expect, test } from "bun:test";
import { BlockDevice } from "../../../../src/index.ts";
import { pattern } from "../../../support/devices.ts";
import { ioError } from "../../../support/expect.ts";
import { writableDisks } from "../../disks.ts";
import { attribute, diskPath } from "../find_disk.ts";

const OFFSET = 4 << 20;
const LENGTH = 256 * 1024;

for (const name of writableDisks) {
  describe(name, () => {
    test("zeroes are written, and nothing beside them", async () => {
      await using device = await BlockDevice.open(diskPath(name), { write: true });
      const data = pattern(LENGTH * 3, 1);
      await device.writeAt(data, OFFSET);
      const { method } = await device.writeZeroes(OFFSET + LENGTH, LENGTH);
      expect(["zeroout", "write"]).toContain(method);
      await device.syncAll();
      await device.invalidateCache();
      const read = new Uint8Array(data.length);
      await device.readExactAt(read, OFFSET);
      expect(Buffer.compare(read, data.fill(0, LENGTH, 2 * LENGTH))).toBe(0);
    });

    test("a discard does what the kernel says the disk can", async () => {
      const path = diskPath(name);
      await using device = await BlockDevice.open(path, { write: true });
      const can = Number(attribute(path, "queue/discard_max_bytes")) > 0;
      const data = pattern(LENGTH, 2);
      // What lies beside a discarded range stays.
      await device.writeAt(data, OFFSET - LENGTH);
      await device.writeAt(data, OFFSET + LENGTH);
      const discarded = device.discard(OFFSET, LENGTH);
      if (can) expect(await discarded).toEqual({ method: "discard" });
      else await ioError(discarded, "ENOTSUP");
      const read = new Uint8Array(LENGTH);
      for (const offset of [OFFSET - LENGTH, OFFSET + LENGTH]) {
        await device.readExactAt(read, offset);
        expect(Buffer.compare(read, data)).toBe(0);
      }
    });

    test("a flush, and writes that flush themselves", async () => {
      await using device = await BlockDevice.open(diskPath(name), { write: true, dsync: true });
      const data = pattern(LENGTH, 3);
      expect(await device.writeAt(data, OFFSET)).toBe(LENGTH);
      await device.syncData();
      const read = new Uint8Array(LENGTH);
      await device.readExactAt(read, OFFSET);
      expect(Buffer.compare(read, data)).toBe(0);
    });
  });
}
