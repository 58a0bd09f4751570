// What the library says of each disk, against what sysfs says.

import { expect, test } from "bun:test";
import { BlockDevice, listBlockDevices } from "../../../../src/index.ts";
import { diskNames, disks } from "../../disks.ts";
import { attribute, diskPath } from "../find_disk.ts";

for (const name of diskNames) {
  test(`${name}: geometry`, async () => {
    const path = diskPath(name);
    const number = (file: string): number => Number(attribute(path, file) ?? Number.NaN);
    await using device = await BlockDevice.open(path);
    const { geometry } = device;
    expect(geometry).toMatchObject({
      size: number("size") * 512,
      logicalSectorSize: number("queue/logical_block_size"),
      physicalSectorSize: number("queue/physical_block_size"),
      minimumIoSize: number("queue/minimum_io_size"),
      optimalIoSize: number("queue/optimal_io_size") || null,
      maximumTransferSize: number("queue/max_sectors_kb") * 1024,
      alignmentOffset: number("alignment_offset"),
      rotational: number("queue/rotational") === 1,
      readOnly: number("ro") === 1,
    });
    expect(geometry.size).toBe(disks[name].size);
    expect(geometry.logicalSectorSize).toBe(disks[name].logicalSectorSize);
    expect(await device.size()).toBe(geometry.size);
  });
}

test("the list shows every disk as lsblk does", async () => {
  const listed = new Map((await listBlockDevices()).map((device) => [device.path, device]));
  const columns = "PATH,SIZE,RO,RM,LOG-SEC,PHY-SEC,ROTA";
  const { stdout } = Bun.spawnSync(["lsblk", "-J", "-b", "-d", "-o", columns]);
  const { blockdevices } = JSON.parse(stdout.toString()) as {
    blockdevices: Record<string, unknown>[];
  };
  for (const name of diskNames) {
    const path = diskPath(name);
    const told = blockdevices.find((device) => device["path"] === path);
    expect(listed.get(path)).toMatchObject({
      path,
      size: told?.["size"],
      readOnly: told?.["ro"],
      removable: told?.["rm"],
      logicalSectorSize: told?.["log-sec"],
      physicalSectorSize: told?.["phy-sec"],
      rotational: told?.["rota"],
    });
  }
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
