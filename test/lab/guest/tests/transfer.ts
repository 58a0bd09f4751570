// Reads and writes on every disk: whole sectors and parts of them, at the end and past it.

import { describe, expect, test } from "bun:test";
import { allocBuffer, BlockDevice } from "../../../../src/index.ts";
import { pattern } from "../../../support/devices.ts";
import { ioError } from "../../../support/expect.ts";
import { disks, writableDisks } from "../../disks.ts";
import { diskPath } from "../find_disk.ts";

const COUNT = 32;

for (const name of writableDisks) {
  describe(name, () => {
    const sector = disks[name].logicalSectorSize;
    const end = disks[name].size;

    test("what was written, at once and in any order, is read back from the medium", async () => {
      await using device = await BlockDevice.open(diskPath(name), { write: true });
      const length = sector * 8;
      const blocks = Array.from({ length: COUNT }, (_, index) => pattern(length, index + 1));
      await Promise.all(blocks.map((block, index) => device.writeAt(block, index * length)));
      await device.syncAll();
      await device.invalidateCache();
      const read = await Promise.all(
        blocks.map(async (_, index) => {
          const block = index % 2 === 0 ? allocBuffer(length) : new Uint8Array(length);
          await device.readExactAt(block, index * length);
          return block;
        }),
      );
      for (const [index, block] of read.entries()) expect(block).toEqual(blocks[index] as never);
      const all = Buffer.concat(blocks);
      const odd = new Uint8Array(sector * 3 + 7);
      await device.readExactAt(odd, sector + 5);
      expect(Buffer.compare(odd, all.subarray(sector + 5, sector + 5 + odd.length))).toBe(0);
      const vector = [100, sector - 100, sector, 17].map((size) => new Uint8Array(size));
      await device.readvAt(vector, sector);
      const joined = Buffer.concat(vector);
      expect(Buffer.compare(joined, all.subarray(sector, sector + joined.length))).toBe(0);
    });

    test("parts of sectors are refused, and told of by name", async () => {
      await using device = await BlockDevice.open(diskPath(name), { write: true });
      expect(device.alignment).toMatchObject({ offset: sector, length: sector });
      for (const [size, offset] of [
        [100, 5],
        [sector / 2, 0],
        [sector, sector / 2],
      ] as const)
        await ioError(device.writeAt(new Uint8Array(size), offset), "ERR_MISALIGNED");
    });

    test("the last sector, and past the end", async () => {
      await using device = await BlockDevice.open(diskPath(name), { write: true });
      const last = pattern(sector, 99);
      await device.writeAt(last, end - sector);
      const read = new Uint8Array(sector);
      await device.readExactAt(read, end - sector);
      expect(read).toEqual(last);
      expect(await device.readAt(new Uint8Array(sector * 4), end - sector)).toBe(sector);
      expect(await device.readAt(new Uint8Array(sector), end)).toBe(0);
      expect(await device.readAt(new Uint8Array(sector), end + sector)).toBe(0);
      const across = device.writeAt(new Uint8Array(sector * 2), end - sector);
      expect((await ioError(across, "ENOSPC")).transferred).toBe(0);
      await device.readExactAt(read, end - sector);
      expect(read).toEqual(last);
    });

    test("unaligned writes at once keep each other's bytes", async () => {
      const options = { write: true, unalignedWrites: "rmw" } as const;
      await using device = await BlockDevice.open(diskPath(name), options);
      const expected = pattern(4 * 4096, 7);
      await device.writeAt(expected, 1 << 20);
      const writes = Array.from({ length: COUNT }, (_, index) => {
        const block = pattern(100, index + 3);
        expected.set(block, index * 397);
        return device.writeAt(block, (1 << 20) + index * 397);
      });
      await Promise.all(writes);
      await device.syncAll();
      const read = new Uint8Array(expected.length);
      await device.readExactAt(read, 1 << 20);
      expect(Buffer.compare(read, expected)).toBe(0);
    });
  });
}
