// Copies from disk to disk and to a file, verified on the medium.

import { expect, test } from "bun:test";
import { BlockDevice, copy, File } from "../../../../src/index.ts";
import { pattern } from "../../../support/devices.ts";
import type { DiskName } from "../../disks.ts";
import { diskPath } from "../find_disk.ts";

const LENGTH = 4 << 20;

async function filled(name: DiskName, seed: number): Promise<BlockDevice> {
  const device = await BlockDevice.open(diskPath(name), { write: true });
  for (let at = 0; at < LENGTH; at += 1 << 20)
    await device.writeAt(pattern(1 << 20, seed + at), at);
  await device.syncAll();
  return device;
}

const pairs: [DiskName, DiskName][] = [
  ["nvme-4096", "scsi-4096n"],
  ["nvme-512", "virtio-4096"],
  ["virtio-512", "usb-stick"],
  ["scsi-512e", "sd-card"],
  ["ata", "uas"],
];

for (const [from, to] of pairs) {
  test(`${from} to ${to}: verified, with the digest of what was read`, async () => {
    await using source = await filled(
      from,
      pairs.findIndex(([name]) => name === from),
    );
    await using target = await BlockDevice.open(diskPath(to), { write: true });
    const result = await copy(source, target, { length: LENGTH, verify: true, hash: "sha256" });
    expect(result).toMatchObject({ bytesCopied: LENGTH, verified: true });
    expect(await source.hash("sha256", { end: LENGTH })).toBe(result.digest as string);
    await target.invalidateCache();
    expect(await target.hash("sha256", { end: LENGTH })).toBe(result.digest as string);
  });
}

test("an odd number of 512-byte sectors to a disk of 4096", async () => {
  await using source = await filled("nvme-512", 5);
  await using target = await BlockDevice.open(diskPath("virtio-4096"), { write: true });
  const after = pattern(8192, 1);
  await target.writeAt(after, 1 << 20);
  const length = (1 << 20) + 512;
  const result = await copy(source, target, { length, verify: true, hash: "sha256" });
  expect(result).toMatchObject({ bytesCopied: length, verified: true });
  const read = new Uint8Array(8192 - 512);
  await target.readExactAt(read, length);
  expect(Buffer.compare(read, after.subarray(512))).toBe(0);
});

test("a disk to a sparse file, and back", async () => {
  await using disk = await BlockDevice.open(diskPath("scsi-thin"), { write: true });
  await disk.writeZeroes(0, LENGTH * 2);
  await disk.writeAt(pattern(1 << 20, 9), 2 << 20);
  await using file = await File.open("/tmp/image", { write: true, create: true, truncate: true });
  const options = { length: LENGTH * 2, sparse: true, verify: true, hash: "sha256" } as const;
  const there = await copy(disk, file, options);
  expect(there.bytesSkipped).toBeGreaterThan(LENGTH);
  await disk.writeAt(pattern(LENGTH * 2, 10), 0);
  const back = await copy(file, disk, options);
  expect(back.digest).toBe(there.digest as string);
  expect(await disk.hash("sha256", { end: LENGTH * 2 })).toBe(there.digest as string);
});
