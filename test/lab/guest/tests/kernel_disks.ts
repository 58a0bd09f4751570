// Disks that the kernel makes itself: loop, zram, brd, zoned null_blk, device mapper, md, and scsi_debug, which fails on
// demand.

import { afterEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { BlockDevice, copy, File, listBlockDevices } from "../../../../src/index.ts";
import { describeUnless, testUnless, without } from "../../../support/conditions.ts";
import { pattern } from "../../../support/devices.ts";
import { ioError } from "../../../support/expect.ts";
import { expectDisk } from "../expect_disk.ts";
import { attribute, diskPath } from "../find_disk.ts";
import { until } from "../host.ts";
import { Mirror } from "../mirror.ts";
import { sh, shQuietly, withoutModule } from "../shell.ts";

const MiB = 1 << 20;

/** A loop device over zeroes. */
class Loop implements Disposable {
  readonly file: string;
  readonly path: string;

  constructor(name: string, sector = 512) {
    this.file = `/tmp/${name}`;
    writeFileSync(this.file, "");
    truncateSync(this.file, 8 * MiB);
    this.path = sh(`/usr/bin/losetup -b ${sector} -f --show ${this.file}`);
  }

  [Symbol.dispose](): void {
    sh(`/usr/bin/losetup -d ${this.path}`);
  }
}

describe("loop", () => {
  for (const sector of [512, 4096]) {
    test(`sectors of ${sector}`, async () => {
      using loop = new Loop("loop", sector);
      await expectDisk(loop.path);
      await ioError(BlockDevice.open(loop.file, { write: true }), "EBUSY");
    });
  }
});

testUnless(withoutModule("zram"), "zram", async () => {
  sh("echo 16M > /sys/block/zram0/disksize");
  try {
    await expectDisk("/dev/zram0");
  } finally {
    sh("echo 1 > /sys/block/zram0/reset");
  }
});

testUnless(withoutModule("brd"), "a RAM disk", () => expectDisk("/dev/ram0"));

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
    await expectDisk(path);
  });

  test("sectors of 4096, thin", async () => {
    const [path = ""] = await load("scsi_debug", "dev_size_mb=16 sector_size=4096 lbpu=1 lbpws=1");
    await expectDisk(path);
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

/** A volume of device mapper. */
class Volume implements Disposable {
  readonly name: string;
  readonly path: string;

  constructor(name: string, table: string) {
    this.name = name;
    sh(`printf '${table}' | dmsetup create ${name} --noudevsync`);
    this.path = `/dev/${sh(`dmsetup info -c --noheadings -o blkdevname ${name}`)}`;
    // As udev does; lsblk looks there.
    symlinkSync(this.path, `/dev/mapper/${name}`);
  }

  /** Holds what is in flight. */
  suspend(): void {
    sh(`dmsetup suspend --noudevsync --nolockfs ${this.name}`);
  }

  load(table: string): void {
    sh(`dmsetup load ${this.name} --table "${table}"`);
  }

  resume(): void {
    sh(`dmsetup resume --noudevsync ${this.name}`);
  }

  [Symbol.dispose](): void {
    sh(`dmsetup remove --noudevsync ${this.name}`);
    rmSync(`/dev/mapper/${this.name}`, { force: true });
  }
}

const noVolumes = without("dmsetup") ?? withoutModule("dm_mod");

describeUnless(noVolumes, "device mapper", () => {
  const disk = diskPath("scsi-512e");

  test("a volume is a disk, and suspending it holds what is in flight", async () => {
    using volume = new Volume("volume", `0 32768 linear ${disk} 0`);
    await expectDisk(volume.path);
    await using device = await BlockDevice.open(volume.path, { write: true });
    volume.suspend();
    const write = device.writeAt(pattern(4096, 3), MiB);
    const early = await Promise.race([write, Bun.sleep(100).then(() => "held")]);
    volume.resume();
    expect(early).toBe("held");
    expect(await write).toBe(4096);
  });

  test("a volume of two disks holds both, and is whole where they meet", async () => {
    const other = diskPath("scsi-thin");
    const table = `0 16384 linear ${disk} 0\n16384 16384 linear ${other} 2048`;
    using volume = new Volume("joined", table);
    await expectDisk(volume.path);
    await expectHeld(disk, volume.path);
    await expectHeld(other, volume.path);
    await using device = await BlockDevice.open(volume.path, { write: true });
    const data = pattern(65536, 4);
    await device.writeAt(data, 8 * MiB - 32768);
    await device.syncAll();
    await device.invalidateCache();
    expect(await device.bytes(8 * MiB - 32768, 8 * MiB + 32768)).toEqual(data);
    await using second = await BlockDevice.open(other);
    expect(await second.bytes(MiB, MiB + 32768)).toEqual(data.subarray(32768));
  });

  testUnless(withoutModule("dm_flakey"), "a volume that fails for a while", async () => {
    using volume = new Volume("flakey", `0 32768 flakey ${disk} 0 0 3600`);
    await using device = await BlockDevice.open(volume.path, { write: true });
    await ioError(device.writeAt(pattern(4096, 3), MiB), "EIO");
    await ioError(device.syncAll(), "EIO");
  });
});

describeUnless(withoutModule("raid1"), "md", () => {
  for (const sector of [512, 4096]) {
    test(`a mirror of disks with sectors of ${sector} is a disk, and holds them`, async () => {
      using first = new Loop("first", sector);
      using second = new Loop("second", sector);
      {
        using mirror = new Mirror([first.path, second.path]);
        await expectDisk(mirror.path);
        await expectHeld(first.path, mirror.path);
        await expectHeld(second.path, mirror.path);
      }
      expectSame(first, second);
      await using free = await BlockDevice.open(first.path, { write: true });
      expect(free.geometry.logicalSectorSize).toBe(sector);
    });
  }

  testUnless(
    noVolumes,
    "a member fails under writes in flight: none is lost, and a new member gets them all",
    async () => {
      using first = new Loop("first");
      using second = new Loop("second");
      using third = new Loop("third");
      using failing = new Volume("failing", `0 16384 linear ${second.path} 0`);
      {
        using mirror = new Mirror([first.path, failing.path]);
        const length = 65536;
        const blocks = Array.from({ length: 64 }, (_, index) => pattern(length, index));
        {
          await using device = await BlockDevice.open(mirror.path, { write: true });
          const done = completedWrites(first.path);
          failing.suspend();
          let writes: Promise<number>[];
          try {
            failing.load("0 16384 error");
            writes = blocks.map((block, index) => device.writeAt(block, index * length));
            await until(() => completedWrites(first.path) > done);
          } finally {
            failing.resume();
          }
          expect(await Promise.all(writes)).toEqual(blocks.map(() => length));
          await device.syncAll();
          expect(mirror.degraded).toBe(1);
          await device.invalidateCache();
          const found = await device.bytes(0, blocks.length * length);
          expect(Buffer.compare(found, Buffer.concat(blocks))).toBe(0);
        }
        await mirror.rebuild(third.path);
      }
      expectSame(first, third);
    },
  );
});

/** It is in the list as held by `holder`, and refused for writing for that reason. */
async function expectHeld(path: string, holder: string): Promise<void> {
  const error = await ioError(BlockDevice.open(path, { write: true }), "EBUSY");
  expect(error.message).toContain(`is held by ${holder.replace("/dev/", "")}`);
  const listed = (await listBlockDevices()).find((device) => device.path === path);
  expect(listed?.holders).toEqual([holder]);
  await using reader = await BlockDevice.open(path);
  expect(reader.geometry.size).toBeGreaterThan(0);
}

/** Documentation/block/stat.rst */
function completedWrites(path: string): number {
  return Number(attribute(path, "stat")?.split(" ")[4]);
}

function expectSame(one: Loop, other: Loop): void {
  expect(Buffer.compare(readFileSync(one.file), readFileSync(other.file))).toBe(0);
}
