// Disks that are in use are refused for writing: mounted, swap, held by a volume, opened exclusively.

import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdirSync } from "node:fs";
import { BlockDevice, listBlockDevices } from "../../../../src/index.ts";
import { testUnless, without } from "../../../support/conditions.ts";
import { ioError } from "../../../support/expect.ts";
import { diskPath } from "../find_disk.ts";
import { sh, shQuietly, withoutModule } from "../shell.ts";

const disk = diskPath("scsi-512e");
const other = diskPath("ata");

afterEach(async () => {
  shQuietly(`umount /mnt/disk; swapoff ${disk}2; dmsetup remove held`);
  for (const path of [disk, other]) {
    await using device = await BlockDevice.open(path, { write: true });
    await device.writeZeroes(0, 1 << 20);
    await device.syncAll();
    await device.rereadPartitions();
  }
});

test("a disk that is open for writing is not opened for writing again", async () => {
  await using _ = await BlockDevice.open(disk, { write: true });
  await ioError(BlockDevice.open(disk, { write: true }), "EBUSY");
  await using reader = await BlockDevice.open(disk);
  expect(reader.geometry.size).toBeGreaterThan(0);
});

test("a mounted partition, one that is swap, and the disk of both", async () => {
  sh(`printf 'label: gpt\\n,16M\\n,16M\\n' | sfdisk -q ${disk}`);
  sh(`mkfs.ext4 -q ${disk}1 && mkdir -p /mnt/disk && mount ${disk}1 /mnt/disk`);
  sh(`mkswap ${disk}2 && swapon ${disk}2`);
  const mounted = await ioError(BlockDevice.open(`${disk}1`, { write: true }), "EBUSY");
  expect(mounted.message).toContain("/mnt/disk");
  const swap = await ioError(BlockDevice.open(`${disk}2`, { write: true }), "EBUSY");
  expect(swap.message).toContain("swap");
  const whole = await ioError(BlockDevice.open(disk, { write: true }), "EBUSY");
  expect(whole.message).toMatch(/\/mnt\/disk|swap/);
  const listed = (await listBlockDevices()).find(({ path }) => path === disk);
  expect(listed?.partitions.map(({ path, mounts }) => [path, mounts])).toEqual([
    [`${disk}1`, ["/mnt/disk"]],
    [`${disk}2`, []],
  ]);
  expect(listed?.system).toBe(true);
  await using reader = await BlockDevice.open(disk);
  await ioError(reader.rereadPartitions(), "EBUSY");
});

test("new partitions are seen when the table is read again, and go with it", async () => {
  sh(`printf 'label: gpt\\n,8M\\n' | sfdisk -q ${other}`);
  expect(existsSync(`${other}1`)).toBe(true);
  {
    await using partition = await BlockDevice.open(`${other}1`, { write: true });
    expect(partition.geometry.size).toBe(8 << 20);
  }
  await using device = await BlockDevice.open(other, { write: true });
  await device.writeZeroes(0, 1 << 20);
  await device.writeZeroes(device.geometry.size - (1 << 20), 1 << 20);
  await device.syncAll();
  await device.rereadPartitions();
  expect(existsSync(`${other}1`)).toBe(false);
});

testUnless(
  without("dmsetup") ?? withoutModule("dm_mod"),
  "a volume that holds the disk",
  async () => {
    mkdirSync("/mnt/disk", { recursive: true });
    sh("modprobe dm_mod");
    sh(`dmsetup create held --noudevsync --table "0 2048 linear ${other} 0"`);
    const held = await ioError(BlockDevice.open(other, { write: true }), "EBUSY");
    expect(held.message).toContain("held");
    const listed = (await listBlockDevices()).find(({ path }) => path === other);
    expect(listed?.holders.join()).toContain("dm-");
  },
);

test("a file system can be unmounted at once when its last file is closed", async () => {
  sh(`mkfs.ext4 -q -F ${disk} && mkdir -p /mnt/disk && mount ${disk} /mnt/disk`);
  const { File } = await import("../../../../src/index.ts");
  const file = await File.open("/mnt/disk/file", { write: true, create: true });
  await file.writeAt(new Uint8Array(1 << 20), 0);
  await file.close();
  expect(sh("umount /mnt/disk")).toBe("");
});

test("a disk can be opened exclusively at once when it is closed", async () => {
  for (let round = 0; round < 5; round++) {
    const device = await BlockDevice.open(disk, { write: true });
    await device.readAt(new Uint8Array(4096), 0);
    await device.close();
  }
  expect(shQuietly(`blockdev --rereadpt ${disk}`)).toBe("");
});
