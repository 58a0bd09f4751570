// How disks are called, and whether they are zoned or have a medium: on recorded parts of /sys.

import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { listLinuxDevices } from "../../src/device/list_devices.ts";
import { listBlockDevices } from "../../src/index.ts";
import type { BlockDeviceInfo } from "../../src/system/device_info.ts";
import { noLinux, testUnless } from "../support/conditions.ts";
import { Folder } from "../support/devices.ts";

/** The disks of a system whose sysfs has these files, by path below sys/devices; `.../block/NAME/size` makes a disk. */
async function listed(files: Record<string, string>): Promise<Map<string, BlockDeviceInfo>> {
  using folder = new Folder();
  const [sys, proc, dev] = ["sys", "proc", "dev"].map((name) => join(folder.path, name)) as [
    ...[string, string, string],
  ];
  for (const path of [join(sys, "block"), join(proc, "self"), dev])
    mkdirSync(path, { recursive: true });
  for (const name of ["self/mountinfo", "partitions"]) writeFileSync(join(proc, name), "");
  for (const [name, text] of Object.entries(files)) {
    const path = join(sys, "devices", name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `${text}\n`);
    if (!/\/block\/[^/]+\/size$/.test(name)) continue;
    symlinkSync(dirname(path), join(sys, "block", basename(dirname(path))));
  }
  const list = await listLinuxDevices({ sys, proc, dev });
  return new Map(list.map((device) => [basename(device.path), device]));
}

const HUB = "pci0000:00/usb1/1-2/1-2.4";
const STICK = `${HUB}/1-2.4:1.0/host4/target4:0:0/4:0:0:0/block/sda`;
const READER = "pci0000:00/usb2/2-1/2-1:1.0/host5/target5:0:0/5:0:0:0/block/sdb";
const SCSI = "pci0000:00/host0/target0:0:1/0:0:1:0/block/sdc";

test("a USB device has the serial number; that of the disk itself comes first", async () => {
  const usb = {
    [`${HUB}/idVendor`]: "0781",
    [`${HUB}/serial`]: "4C530001",
    [`${STICK}/size`]: "8",
  };
  expect((await listed(usb)).get("sda")?.serial).toBe("4C530001");
  const both = { ...usb, [`${STICK}/device/serial`]: "DISK" };
  expect((await listed(both)).get("sda")?.serial).toBe("DISK");
  // A hub above it, or a controller, is no disk.
  const none = { "pci0000:00/usb1/1-2/serial": "HUB", "pci0000:00/usb1/1-2/idVendor": "1d6b" };
  const bare = { ...none, [`${HUB}/idVendor`]: "0781", [`${STICK}/size`]: "8" };
  expect((await listed(bare)).get("sda")?.serial).toBeNull();
  const other = { "pci0000:00/serial": "PCI", "pci0000:00/idVendor": "1", [`${SCSI}/size`]: "8" };
  expect((await listed(other)).get("sdc")?.serial).toBeNull();
});

test("SCSI disks name their vendor; a number of PCI is none", async () => {
  const found = await listed({
    [`${STICK}/size`]: "8",
    [`${STICK}/device/vendor`]: "SanDisk ",
    "pci0000:00/virtio1/block/vda/size": "8",
    "pci0000:00/virtio1/block/vda/device/vendor": "0x1af4",
    "virtual/block/dm-0/size": "8",
  });
  expect(found.get("sda")?.vendor).toBe("SanDisk");
  expect(found.get("vda")?.vendor).toBeNull();
  expect(found.get("dm-0")?.vendor).toBeNull();
});

test("an NVMe disk with several paths is one disk, on NVMe; its paths have no node", async () => {
  const disk = "virtual/nvme-subsystem/nvme-subsys0";
  const found = await listed({
    [`${disk}/block/nvme0n1/size`]: "8",
    [`${disk}/block/nvme0n1/hidden`]: "0",
    [`${disk}/block/nvme0n1/device/serial`]: "S5NYNG0R",
    "pci0000:00/0000:00:1d.0/nvme/nvme0/block/nvme0c0n1/size": "8",
    "pci0000:00/0000:00:1d.0/nvme/nvme0/block/nvme0c0n1/hidden": "1",
  });
  expect([...found.keys()]).toEqual(["nvme0n1"]);
  expect(found.get("nvme0n1")).toMatchObject({ transport: "nvme", serial: "S5NYNG0R" });
});

test("zoned disks say so, and their partitions", async () => {
  for (const [text, zoned] of [
    ["host-managed", true],
    ["host-aware", true],
    ["none", false],
    ["", null],
  ] as const) {
    const found = await listed({
      [`${SCSI}/size`]: "8",
      [`${SCSI}/queue/zoned`]: text,
      [`${SCSI}/sdc1/partition`]: "1",
    });
    expect(found.get("sdc")?.zoned).toBe(zoned);
    expect(found.get("sdc")?.partitions.map((part) => part.zoned)).toEqual([zoned]);
  }
});

test("a card reader without a card has no medium; a disk is one", async () => {
  const found = await listed({
    ...{ [`${READER}/size`]: "0", [`${READER}/removable`]: "1" },
    ...{ [`${STICK}/size`]: "8", [`${STICK}/removable`]: "1" },
    ...{ [`${SCSI}/size`]: "8", [`${SCSI}/removable`]: "0", [`${SCSI}/sdc1/partition`]: "1" },
    // Nobody can ask this one: there is no such node.
    ...{
      "pci0000:00/ata2/host2/block/sr0/size": "2097151",
      "pci0000:00/ata2/host2/block/sr0/removable": "1",
    },
  });
  const media = [...found].map(([name, { hasMedium, size }]) => [name, hasMedium, size]);
  expect(media).toEqual([
    ["sda", true, 4096],
    ["sdb", false, 0],
    ["sdc", true, 4096],
    ["sr0", null, 2097151 * 512],
  ]);
  expect(found.get("sdc")?.partitions.map((part) => part.hasMedium)).toEqual([true]);
});

testUnless(noLinux, "the disks of this system", async () => {
  for (const { path, removable, hasMedium, zoned } of await listBlockDevices()) {
    const name = path.slice("/dev/".length).replaceAll("/", "!");
    const model = readFileSync(`/sys/block/${name}/queue/zoned`, "utf8").trim();
    expect([path, zoned]).toEqual([path, model !== "none"]);
    if (removable === false) expect([path, hasMedium]).toEqual([path, true]);
  }
});
