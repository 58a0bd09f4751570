// Disks that the kernel makes itself: loop, zram, brd, zoned null_blk, device mapper, and scsi_debug, which fails on
// demand.

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, truncateSync, writeFileSync } from "node:fs";
import { BlockDevice, copy, File, listBlockDevices } from "../../../../src/index.ts";
import { describeUnless, testUnless, without } from "../../../support/conditions.ts";
import { pattern } from "../../../support/devices.ts";
import { ioError } from "../../../support/expect.ts";
import { attribute, diskPath } from "../find_disk.ts";
import { until } from "../host.ts";
import { sh, shQuietly, withoutModule } from "../shell.ts";

const MiB = 1 << 20;

/** Writes, syncs, and reads back from the medium. */
async function expectKept(path: string): Promise<void> {
  await using device = await BlockDevice.open(path, { write: true, unalignedWrites: "rmw" });
  const { geometry } = device;
  expect(geometry.size).toBe(Number(attribute(path, "size")) * 512);
  expect(geometry.logicalSectorSize).toBe(Number(attribute(path, "queue/logical_block_size")));
  const data = pattern(256 * 1024, 1);
  await device.writeAt(data, 0);
  const part = pattern(100, 2);
  data.set(part, 5000);
  await device.writeAt(part, 5000);
  await device.syncAll();
  await device.invalidateCache();
  expect(Buffer.compare(await device.bytes(0, data.length), data)).toBe(0);
}

describe("loop", () => {
  for (const sector of [512, 4096]) {
    test(`sectors of ${sector}`, async () => {
      writeFileSync("/tmp/loop", "");
      truncateSync("/tmp/loop", 8 * MiB);
      const path = sh(`/usr/bin/losetup -b ${sector} -f --show /tmp/loop`);
      try {
        await expectKept(path);
        await ioError(BlockDevice.open("/tmp/loop", { write: true }), "EBUSY");
      } finally {
        sh(`/usr/bin/losetup -d ${path}`);
      }
    });
  }
});

testUnless(withoutModule("zram"), "zram", async () => {
  sh("echo 16M > /sys/block/zram0/disksize");
  try {
    await expectKept("/dev/zram0");
  } finally {
    sh("echo 1 > /sys/block/zram0/reset");
  }
});

testUnless(withoutModule("brd"), "a RAM disk", () => expectKept("/dev/ram0"));

/** A module with parameters, loaded for a test; the disks that come with it. */
async function load(module: string, parameters: string): Promise<string[]> {
  const before = new Set(readdirSync("/sys/block"));
  sh(`modprobe ${module} ${parameters}`);
  const added = (): string[] => readdirSync("/sys/block").filter((node) => !before.has(node));
  await until(() => added().length > 0);
  return added().map((node) => `/dev/${node}`);
}

describeUnless(withoutModule("scsi_debug"), "scsi_debug", () => {
  // By the condition above; without parameters.
  sh("rmmod scsi_debug");
  // Busy as long as somebody looks at its disks.
  afterEach(() => until(() => shQuietly("rmmod scsi_debug") === ""));

  test("a medium error says what it is", async () => {
    const range = "medium_error_start=4096 medium_error_count=8";
    const [path = ""] = await load("scsi_debug", `dev_size_mb=16 opts=2 ${range}`);
    {
      await using device = await BlockDevice.open(path);
      const read = device.readAt(new Uint8Array(512), 4096 * 512);
      const error = await ioError(read, "ENODATA");
      // The hint is that of a bad sector, whatever the name.
      expect(error.hint).toContain("not reliable");
      expect(await device.readAt(new Uint8Array(512), 4095 * 512)).toBe(512);
      await using target = await File.open("/tmp/rescued", { write: true, create: true });
      const result = await copy(device, target, { onReadError: "skip" });
      const skipped = result.readErrors.reduce((total, { length }) => total + length, 0);
      expect(skipped).toBe(8 * 512);
      expect(result.readErrors[0]).toMatchObject({ offset: 4096 * 512, code: "ENODATA" });
    }
  });

  test("protection information (DIF) changes nothing for the caller", async () => {
    const [path = ""] = await load("scsi_debug", "dev_size_mb=16 dif=1 dix=1");
    await expectKept(path);
  });

  test("sectors of 4096, thin", async () => {
    const [path = ""] = await load("scsi_debug", "dev_size_mb=16 sector_size=4096 lbpu=1 lbpws=1");
    await expectKept(path);
    await using device = await BlockDevice.open(path, { write: true });
    expect(await device.discard(0, MiB)).toEqual({ method: "discard" });
  });

  test("write protection", async () => {
    const [path = ""] = await load("scsi_debug", "dev_size_mb=16 wp=1");
    await until(() => attribute(path, "ro") === "1");
    await ioError(BlockDevice.open(path, { write: true }), "EROFS");
  });
});

describeUnless(withoutModule("null_blk"), "null_blk", () => {
  test("a zoned device says that it is one", async () => {
    shQuietly("rmmod null_blk");
    const zones = "zoned=1 zone_size=4 zone_nr_conv=2 gb=1 memory_backed=1 nr_devices=1";
    const [path = ""] = await load("null_blk", zones);
    const listed = (await listBlockDevices()).find((device) => device.path === path);
    expect(attribute(path, "queue/zoned")).toBe("host-managed");
    expect(listed?.zoned).toBe(true);
    {
      await using device = await BlockDevice.open(path, { write: true });
      const data = pattern(65536, 1);
      // Sequential zones take writes at their write pointer only.
      await device.writeAt(data, 8 * MiB);
      await ioError(device.writeAt(data, 8 * MiB + 2 * MiB), "EIO");
      const found = await device.bytes(8 * MiB, 8 * MiB + 65536);
      // Linux 5.10 forgets what is written to it.
      const keeps = existsSync("/sys/module/null_blk/parameters/memory_backed");
      if (keeps) expect(Buffer.compare(found, data)).toBe(0);
    }
    sh("rmmod null_blk");
  });
});

describeUnless(without("dmsetup") ?? withoutModule("dm_mod"), "device mapper", () => {
  const disk = diskPath("scsi-512e");

  test("a volume is a disk, and suspending it holds what is in flight", async () => {
    sh(`dmsetup create volume --noudevsync --table "0 32768 linear ${disk} 0"`);
    try {
      const path = `/dev/${sh("dmsetup info -c --noheadings -o blkdevname volume")}`;
      await expectKept(path);
      await using device = await BlockDevice.open(path, { write: true });
      sh("dmsetup suspend --noudevsync --nolockfs volume");
      const write = device.writeAt(pattern(4096, 3), MiB);
      const early = await Promise.race([write, Bun.sleep(100).then(() => "held")]);
      sh("dmsetup resume --noudevsync volume");
      expect(early).toBe("held");
      expect(await write).toBe(4096);
    } finally {
      sh("dmsetup remove --noudevsync volume");
    }
  });

  testUnless(withoutModule("dm_flakey"), "a volume that fails for a while", async () => {
    sh(`dmsetup create flakey --noudevsync --table "0 32768 flakey ${disk} 0 0 3600"`);
    try {
      const path = `/dev/${sh("dmsetup info -c --noheadings -o blkdevname flakey")}`;
      await using device = await BlockDevice.open(path, { write: true });
      await ioError(device.writeAt(pattern(4096, 3), MiB), "EIO");
      await ioError(device.syncAll(), "EIO");
    } finally {
      sh("dmsetup remove --noudevsync flakey");
    }
  });
});
