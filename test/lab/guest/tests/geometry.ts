// What the library says of each disk, against what sysfs says.

import { expect, test } from "bun:test";
import { BlockDevice, listBlockDevices } from "../../../../src/index.ts";
import { diskNames, disks } from "../../disks.ts";
import { expectGeometry, expectListed } from "../expect_disk.ts";
import { diskPath } from "../find_disk.ts";

for (const name of diskNames) {
  test(`${name}: geometry`, async () => {
    const path = diskPath(name);
    await using device = await BlockDevice.open(path);
    const { geometry } = device;
    expectGeometry(path, device);
    expect(geometry.size).toBe(disks[name].size);
    expect(geometry.logicalSectorSize).toBe(disks[name].logicalSectorSize);
    expect(await device.size()).toBe(geometry.size);
  });
}

test("the list shows every disk as lsblk does", async () => {
  await expectListed(diskNames.map(diskPath));
});

test("how disks are called", async () => {
  const listed = new Map((await listBlockDevices()).map((device) => [device.path, device]));
  for (const [name, vendor] of [
    ["scsi-512e", "ACME"],
    ["ata", "ATA"],
    ["usb-stick", "QEMU"],
    ["virtio-512", null],
    ["nvme-512", null],
  ] as const) {
    const found = listed.get(diskPath(name));
    const { serial } = disks[name];
    expect([name, found?.vendor, found?.serial]).toEqual([name, vendor, serial]);
    expect([name, found?.zoned, found?.hasMedium]).toEqual([name, false, true]);
  }
});
