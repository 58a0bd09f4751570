// What holds of every healthy disk, whatever it is made of.

import { expect } from "bun:test";
import { existsSync } from "node:fs";
import { BlockDevice, copy, File, listBlockDevices } from "../../../src/index.ts";
import { pattern } from "../../support/devices.ts";
import { ioError } from "../../support/expect.ts";
import { attribute } from "./find_disk.ts";

const LENGTH = 256 * 1024;

/** Its geometry is that of sysfs; it keeps what is written to it, up to its last sector; it can be copied. */
export async function expectDisk(path: string): Promise<void> {
  await expectListed([path]);
  await using device = await BlockDevice.open(path, { write: true, unalignedWrites: "rmw" });
  expectGeometry(path, device);
  await expectKept(device);
  await expectEnd(device);
  await using file = await File.open("/tmp/copied", { write: true, create: true, truncate: true });
  const result = await copy(device, file, { length: LENGTH, verify: true, hash: "sha256" });
  expect(result).toMatchObject({ bytesCopied: LENGTH, verified: true });
  expect(await device.hash("sha256", { end: LENGTH })).toBe(result.digest as string);
}

/** The list shows them as lsblk does, and nothing that cannot be opened. */
export async function expectListed(paths: readonly string[]): Promise<void> {
  const columns = "KNAME,SIZE,RO,RM,LOG-SEC,PHY-SEC,ROTA";
  // All: RAM disks, too. A list: also what is built on other disks.
  const { stdout } = Bun.spawnSync(["lsblk", "-J", "-b", "--all", "--list", "-o", columns]);
  const { blockdevices } = JSON.parse(stdout.toString()) as {
    blockdevices: Record<string, unknown>[];
  };
  const listed = new Map((await listBlockDevices()).map((device) => [device.path, device]));
  expect([...listed.keys()].filter((path) => !existsSync(path))).toEqual([]);
  for (const path of paths) {
    const told = blockdevices.find((device) => `/dev/${device["kname"]}` === path);
    expect(listed.get(path)).toMatchObject({
      size: told?.["size"],
      readOnly: told?.["ro"],
      removable: told?.["rm"],
      logicalSectorSize: told?.["log-sec"],
      physicalSectorSize: told?.["phy-sec"],
      rotational: told?.["rota"],
    });
  }
}

/** It is that of sysfs. */
export function expectGeometry(path: string, { geometry }: BlockDevice): void {
  const number = (file: string): number => Number(attribute(path, file) ?? Number.NaN);
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
}

/** Writes at once, whole sectors and a part of one, syncs, and reads back from the medium. */
async function expectKept(device: BlockDevice): Promise<void> {
  const data = pattern(LENGTH, 1);
  const block = LENGTH / 16;
  await Promise.all(
    Array.from({ length: 16 }, (_, index) =>
      device.writeAt(data.subarray(index * block, (index + 1) * block), index * block),
    ),
  );
  const part = pattern(100, 2);
  data.set(part, 5000);
  await device.writeAt(part, 5000);
  await device.syncAll();
  await device.invalidateCache();
  expect(Buffer.compare(await device.bytes(0, data.length), data)).toBe(0);
}

/** The last sector, and past the end. */
async function expectEnd(device: BlockDevice): Promise<void> {
  const { size: end, logicalSectorSize: sector } = device.geometry;
  if (sector === null) throw new Error(`${device.path} tells no sector size`);
  const last = pattern(sector, 3);
  await device.writeAt(last, end - sector);
  expect(await device.readAt(new Uint8Array(sector * 4), end - sector)).toBe(sector);
  expect(await device.readAt(new Uint8Array(sector), end)).toBe(0);
  const across = device.writeAt(new Uint8Array(sector * 2), end - sector);
  expect((await ioError(across, "ENOSPC")).transferred).toBe(0);
  const read = new Uint8Array(sector);
  await device.readExactAt(read, end - sector);
  expect(read).toEqual(last);
}
