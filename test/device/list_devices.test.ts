// `listBlockDevices` and the hints for busy devices, on recorded trees of /sys and /proc, and once on this system.

import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { listLinuxDevices } from "../../src/device/list_devices.ts";
import { IoError, listBlockDevices } from "../../src/index.ts";
import { type BlockDeviceInfo, unknownDevice } from "../../src/system/device_info.ts";
import { explainBusy, explainListed } from "../../src/system/holders.ts";
import { parseFreebsd } from "../../src/system/list_freebsd.ts";
import { parseMountInfo } from "../../src/system/mounts.ts";
import { numbersText } from "../../src/system/sysfs.ts";
import { noLinux, testUnless } from "../support/conditions.ts";
import { LoopDevice, loopMissing } from "../support/control.ts";
import { Folder } from "../support/devices.ts";
import { QUEUE, Tree } from "../support/system_tree.ts";
import { TempDir } from "../support/temp.ts";

/** A laptop: NVMe with EFI, /boot and an encrypted volume group; a USB stick; an empty card reader. */
function laptop(folder: Folder): Tree {
  const tree = new Tree(folder);
  const { dev } = tree.paths;
  const nvme = tree.disk("pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1", "259:0", {
    ...QUEUE,
    size: "1000215216\n",
    ro: "0\n",
    removable: "0\n",
    alignment_offset: "0\n",
    "device/model": "Samsung SSD 980 PRO 500GB               \n",
    "device/serial": "S5NYNG0R123456X     \n",
  });
  const part = (index: number, numbers: string, size: number): string =>
    tree.device(`pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1/nvme0n1p${index}`, numbers, {
      partition: `${index}\n`,
      size: `${size}\n`,
      ro: "0\n",
      alignment_offset: "0\n",
    });
  part(1, "259:1", 1048576);
  const crypt = part(2, "259:2", 999165952);
  part(10, "259:3", 2048);
  const luks = tree.disk("virtual/block/dm-0", "253:0", {
    ...QUEUE,
    size: "999163904\n",
    "dm/name": "luks-root\n",
  });
  const root = tree.disk("virtual/block/dm-1", "253:1", {
    ...QUEUE,
    size: "900000000\n",
    "dm/name": "vg-root\n",
  });
  const swap = tree.disk("virtual/block/dm-2", "253:2", { ...QUEUE, size: "99000000\n" });
  tree.stack(luks, crypt);
  tree.stack(root, luks);
  tree.stack(swap, luks);
  symlinkSync("../dm-2", join(dev, "mapper", "vg-swap"));
  writeFileSync(join(dev, "dm-2"), "");
  const serial = new Uint8Array([0, 0x80, 0, 8, ...Buffer.from("  4C5300")]);
  tree.disk("pci0000:00/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0/block/sda", "8:0", {
    ...QUEUE,
    size: "60062500\n",
    ro: "1\n",
    removable: "1\n",
    "queue/rotational": "1\n",
    "device/model": "Cruzer Blade    \n",
    "device/vpd_pg80": serial,
  });
  tree.disk("pci0000:00/usb1/1-2/host5/target5:0:0/5:0:0:0/block/sdb", "8:16", {
    ...QUEUE,
    size: "0\n",
    removable: "1\n",
  });
  tree.disk("virtual/block/loop0", "7:0", { ...QUEUE, size: "0\n" });
  tree.disk("virtual/block/loop1", "7:1", {
    ...QUEUE,
    size: "2048\n",
    "loop/backing_file": "/home/me/some image (deleted)\n",
  });
  tree.write(
    "proc/self/mountinfo",
    [
      "22 1 253:1 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw",
      "23 22 259:1 / /boot/efi rw,relatime shared:2 - vfat /dev/nvme0n1p1 rw",
      "24 22 0:21 / /proc rw - proc proc rw",
      "25 22 8:0 / /media/USB\\040STICK rw - vfat /dev/sda rw",
      "",
    ].join("\n"),
  );
  tree.write(
    "proc/swaps",
    `Filename\t\t\t\tType\t\tSize\n${dev}/mapper/vg-swap              partition\t8388604\t0\t-2\n`,
  );
  void nvme;
  return tree;
}

function named(list: readonly BlockDeviceInfo[], name: string): BlockDeviceInfo {
  const found = list
    .flatMap((disk) => [disk, ...disk.partitions])
    .find(({ path }) => path.endsWith(`/${name}`));
  if (found === undefined) throw new Error(`${name} is not listed`);
  return found;
}

test("a laptop", async () => {
  using folder = new Folder();
  const { paths } = laptop(folder);
  const list = await listLinuxDevices(paths);
  expect(list.map(({ path }) => path.slice(paths.dev.length))).toEqual([
    ...["/dm-0", "/dm-1", "/dm-2", "/loop1", "/nvme0n1", "/sda", "/sdb"],
  ]);
  const nvme = named(list, "nvme0n1");
  expect(nvme).toMatchObject({
    path: `${paths.dev}/nvme0n1`,
    size: 1000215216 * 512,
    logicalSectorSize: 512,
    physicalSectorSize: 4096,
    minimumIoSize: 4096,
    optimalIoSize: null,
    maximumTransferSize: 1280 * 1024,
    alignmentOffset: 0,
    rotational: false,
    readOnly: false,
    removable: false,
    model: "Samsung SSD 980 PRO 500GB",
    serial: "S5NYNG0R123456X",
    transport: "nvme",
    system: true,
    mounts: [],
    holders: [],
  });
  expect(nvme.partitions.map(({ path }) => path.slice(paths.dev.length))).toEqual([
    ...["/nvme0n1p1", "/nvme0n1p2", "/nvme0n1p10"],
  ]);
  expect(named(list, "nvme0n1p1")).toMatchObject({ mounts: ["/boot/efi"], system: true });
  expect(named(list, "nvme0n1p2")).toMatchObject({
    size: 999165952 * 512,
    mounts: [],
    holders: [`${paths.dev}/dm-0`],
    system: true,
    logicalSectorSize: 512,
    maximumTransferSize: 1280 * 1024,
  });
  expect(named(list, "nvme0n1p10").system).toBe(false);
  for (const name of ["dm-0", "dm-1", "dm-2"]) {
    expect(named(list, name)).toMatchObject({ system: true, transport: null });
  }
  expect(named(list, "dm-1").mounts).toEqual(["/"]);
});

test("a stick is not the system's", async () => {
  using folder = new Folder();
  const list = await listLinuxDevices(laptop(folder).paths);
  expect(named(list, "sda")).toMatchObject({
    model: "Cruzer Blade",
    serial: "4C5300",
    removable: true,
    rotational: true,
    readOnly: true,
    transport: "usb",
    mounts: ["/media/USB STICK"],
    system: false,
  });
  expect(named(list, "sdb")).toMatchObject({ size: 0, removable: true, model: null, serial: null });
  expect(named(list, "loop1")).toMatchObject({
    system: false,
    backingFile: "/home/me/some image (deleted)",
  });
  expect(named(list, "sda").backingFile).toBeNull();
});

test("a system on a loop device, on a file, on a disk; and swap in a file", async () => {
  using folder = new Folder();
  const tree = new Tree(folder);
  for (const [name, numbers] of [
    ["sda", "8:0"],
    ["sdb", "8:16"],
    ["sdc", "8:32"],
  ] as const) {
    tree.disk(`pci0000:00/ata1/host0/target0:0:0/0:0:0:0/block/${name}`, numbers, {
      ...QUEUE,
      size: "2048\n",
    });
  }
  tree.disk("virtual/block/loop0", "7:0", {
    ...QUEUE,
    size: "2048\n",
    "loop/backing_file": "/mnt/host/images/root.img\n",
  });
  tree.write(
    "proc/self/mountinfo",
    "1 0 7:0 / / rw - ext4 /dev/root rw\n" +
      "2 1 8:0 / /mnt/host rw - ext4 /dev/sda rw\n" +
      // btrfs has a number of its own; its source says where it is.
      `3 1 0:40 / /data rw - btrfs ${tree.paths.dev}/sdb rw\n` +
      `4 1 0:41 / /more rw - btrfs ${tree.paths.dev}/mapper/more rw\n`,
  );
  writeFileSync(join(tree.paths.dev, "sdc"), "");
  symlinkSync("../sdc", join(tree.paths.dev, "mapper", "more"));
  tree.write("proc/swaps", "Filename Type Size Used Priority\n/data/swapfile file 1 0 -2\n");
  const list = await listLinuxDevices(tree.paths);
  expect(list.map(({ path, system }) => [path.slice(tree.paths.dev.length), system])).toEqual([
    ["/loop0", true],
    ["/sda", true],
    ["/sdb", true],
    ["/sdc", false],
  ]);
  expect(named(list, "sdb").mounts).toEqual(["/data"]);
  expect(named(list, "sdc").mounts).toEqual(["/more"]);
  expect(named(list, "sda").transport).toBe("ata");
});

test("a system that does not tell is not one without disks", async () => {
  using folder = new Folder();
  const { paths } = laptop(folder);
  const missing = join(folder.path, "missing");
  for (const [name, path] of [
    ["sys", join(missing, "block")],
    ["proc", join(missing, "self", "mountinfo")],
  ] as const) {
    const error = await listLinuxDevices({ ...paths, [name]: missing }).catch((it: unknown) => it);
    expect(error).toBeInstanceOf(IoError);
    expect(error).toMatchObject({ code: "ENOENT", errno: -2, path });
  }
  // A container hides folders behind empty ones, and files behind /dev/null.
  mkdirSync(join(folder.path, "empty", "block"), { recursive: true });
  const empty = listLinuxDevices({ ...paths, sys: join(folder.path, "empty") });
  await expect(empty).rejects.toThrow(`ENOENT: no such file or directory, open '${folder.path}`);
  writeFileSync(join(paths.proc, "swaps"), "");
  await expect(listLinuxDevices(paths)).rejects.toThrow("swaps");
  // A kernel without swap.
  rmSync(join(paths.proc, "swaps"));
  expect((await listLinuxDevices(paths)).length).toBeGreaterThan(0);
  // As with the mount option subset=pid (proc(5)).
  rmSync(join(paths.proc, "partitions"));
  await expect(listLinuxDevices(paths)).rejects.toThrow("ENOENT");
});

test("allMounts has the mounts of the partitions, once each", async () => {
  using folder = new Folder();
  const tree = laptop(folder);
  const mountinfo = join(tree.paths.proc, "self", "mountinfo");
  writeFileSync(
    mountinfo,
    `${readFileSync(mountinfo, "utf8")}26 22 259:3 / /data rw - ext4 /dev/nvme0n1p10 rw
27 22 259:0 / /data rw - ext4 /dev/nvme0n1 rw
28 22 259:3 /sub /srv/bound rw - ext4 /dev/nvme0n1p10 rw
29 22 0:50 / /tmp rw - tmpfs ${tree.paths.dev}/nvme0n1 rw
`,
  );
  const list = await listLinuxDevices(tree.paths);
  expect(named(list, "nvme0n1").mounts).toEqual(["/data"]);
  expect(named(list, "nvme0n1").allMounts).toEqual(["/data", "/boot/efi", "/srv/bound"]);
  expect(named(list, "nvme0n1p10").allMounts).toEqual(["/data", "/srv/bound"]);
  expect(named(list, "nvme0n1p2").allMounts).toEqual([]);
});

test("every device of a btrfs or bcachefs is mounted where it is, and may be the system's", async () => {
  using folder = new Folder();
  const tree = new Tree(folder);
  const { dev, sys } = tree.paths;
  for (const [index, letter] of [..."abcde"].entries()) {
    tree.disk(`virtio${index}/block/vd${letter}`, `254:${index * 16}`, {
      ...QUEUE,
      size: "2048\n",
    });
  }
  const members = join(sys, "fs", "btrfs", "6f2c", "devices");
  mkdirSync(members, { recursive: true });
  mkdirSync(join(sys, "fs", "btrfs", "features"));
  for (const name of ["vda", "vdb"]) writeFileSync(join(members, name), "");
  tree.write(
    "proc/self/mountinfo",
    `1 0 0:30 /@ / rw - btrfs ${dev}/vda rw\n` +
      `2 1 0:30 /@home /home rw - btrfs ${dev}/vda rw\n` +
      `3 1 0:31 / /data rw - bcachefs ${dev}/vdc:${dev}/vdd rw\n`,
  );
  const list = await listLinuxDevices(tree.paths);
  expect(list.map(({ system, mounts }) => [system, ...mounts])).toEqual([
    [true, "/", "/home"],
    [true, "/", "/home"],
    [false, "/data"],
    [false, "/data"],
    [false],
  ]);
});

test("a swap file is on the disk that is mounted nearest to it, and last", async () => {
  using folder = new Folder();
  const tree = new Tree(folder);
  for (const [index, letter] of [..."abc"].entries()) {
    const numbers = `254:${index * 16}`;
    tree.disk(`virtio${index}/block/vd${letter}`, numbers, { ...QUEUE, size: "2048\n" });
  }
  tree.write(
    "proc/self/mountinfo",
    "4 2 254:16 / /data/in rw - ext4 /dev/vdb rw\n" +
      "5 4 254:32 / /data/in rw - ext4 /dev/vdc rw\n" +
      "2 1 254:0 / /data rw - ext4 /dev/vda rw\n" +
      "1 0 0:30 / / rw - overlay overlay rw\n",
  );
  tree.write("proc/swaps", "Filename Type Size Used Priority\n/data/in/swap file 1 0 -2\n");
  const list = await listLinuxDevices(tree.paths);
  expect(list.map(({ system }) => system)).toEqual([false, false, true]);
});

test("in a container, the disk of the host is a system disk", async () => {
  using folder = new Folder();
  const tree = new Tree(folder);
  tree.disk("virtio0/block/vda", "254:0", { ...QUEUE, size: "2048\n" });
  tree.disk("virtio1/block/vdb", "254:16", { ...QUEUE, size: "2048\n" });
  tree.write(
    "proc/self/mountinfo",
    "1 0 0:30 / / rw - overlay overlay rw\n" +
      "2 1 254:0 /containers/1/hosts /etc/hosts rw - ext4 /dev/vda rw\n" +
      "3 1 254:16 / /data rw - ext4 /dev/vdb rw\n",
  );
  const list = await listLinuxDevices(tree.paths);
  expect(list.map(({ system }) => system)).toEqual([true, false]);
});

/** Processor time for a list of so many disks, each mounted, in ms; the best of five. */
async function listingMs(disks: number): Promise<number> {
  using folder = new Folder();
  const tree = new Tree(folder);
  const lines = ["1 0 0:1 / / rw - tmpfs none rw"];
  for (let index = 0; index < disks; index++) {
    tree.disk(`virtual/block/vd${index}`, `254:${index}`, { ...QUEUE, size: "2048\n" });
    lines.push(`${index + 2} 1 254:${index} / /mnt/${index} rw - ext4 /dev/vd${index} rw`);
  }
  tree.write("proc/self/mountinfo", lines.join("\n"));
  let best = Infinity;
  for (let round = 0; round < 5; round++) {
    const start = process.cpuUsage();
    expect((await listLinuxDevices(tree.paths)).length).toBe(disks);
    const { user, system } = process.cpuUsage(start);
    best = Math.min(best, (user + system) / 1000);
  }
  return best;
}

test("the cost of a list grows with the number of disks, not with its square", async () => {
  const few = await listingMs(25);
  const many = await listingMs(200);
  // Linear is 8, quadratic 64.
  expect(many / few).toBeLessThan(24);
});

test("busy hints name the mount, the volume, the swap", async () => {
  using folder = new Folder();
  const { paths } = laptop(folder);
  const hint = (major: number, minor: number): Promise<string | undefined> =>
    explainBusy({ ...paths, ask: () => Promise.resolve("unknown") }, `${major}:${minor}`);
  const { dev } = paths;
  expect(await hint(8, 0)).toBe(`${dev}/sda is mounted at '/media/USB STICK'; unmount it first`);
  expect(await hint(259, 0)).toBe(`${dev}/nvme0n1p1 is mounted at /boot/efi; unmount it first`);
  expect(await hint(259, 2)).toBe('nvme0n1p2 is held by dm-0 ("luks-root"), which is built on it');
  expect(await hint(253, 0)).toContain("dm-0 is held by dm-");
  expect(await hint(8, 16)).toBeUndefined();
  expect(await hint(99, 99)).toBeUndefined();
});

test("mount points with blanks and backslashes", () => {
  const [mount] = parseMountInfo("25 22 8:0 / /a\\040b\\134c rw - vfat /dev/sda rw\nnonsense\n");
  expect(mount).toEqual({
    ...{ id: 25, parent: 22, type: "vfat" },
    numbers: "8:0",
    mountPoint: "/a b\\c",
    sources: ["/dev/sda"],
    writes: true,
  });
});

test("device numbers as stat reports them", () => {
  expect(numbersText(0x0801)).toBe("8:1");
  // makedev(259, 300) and makedev(5000, 1000000) of glibc.
  expect(numbersText(0x11032c)).toBe("259:300");
  const big =
    (1000000n & 0xffn) | ((5000n & 0xfffn) << 8n) | ((1000000n & ~0xffn) << 12n) | (0x1000n << 32n);
  expect(numbersText(Number(big))).toBe("5000:1000000");
});

test("FreeBSD's GEOM tree", () => {
  const confxml = `<mesh>
  <class id="0xffffffff81a1b1c0"><name>DISK</name>
    <geom id="0xfffff80003a4b400"><class ref="0xffffffff81a1b1c0"/><name>ada0</name><rank>1</rank>
      <provider id="0xfffff80003a4b300"><geom ref="0xfffff80003a4b400"/><mode>r1w1e2</mode>
        <name>ada0</name><mediasize>500107862016</mediasize><sectorsize>512</sectorsize>
        <stripesize>4096</stripesize><stripeoffset>0</stripeoffset>
        <config><fwheads>16</fwheads><rotationrate>0</rotationrate><ident>S21P &amp; 7</ident>
        <descr>Samsung SSD 850</descr></config>
      </provider></geom>
    <geom id="0x1"><name>da0</name><provider id="0x2"><name>da0</name>
      <mediasize>1000</mediasize><sectorsize>512</sectorsize><stripesize>0</stripesize><stripeoffset>0</stripeoffset>
      <config><rotationrate>7200</rotationrate><ident></ident></config></provider></geom>
  </class>
  <class id="0xffffffff81a1c1c0"><name>PART</name>
    <geom id="0x3"><name>ada0</name>
      <provider id="0x6"><name>ada0p10</name><mediasize>512</mediasize><sectorsize>512</sectorsize></provider>
      <provider id="0x5"><name>ada0p2</name><mediasize>1048576</mediasize><sectorsize>512</sectorsize></provider>
      <provider id="0x4"><name>ada0p1</name><mediasize>524288</mediasize><sectorsize>512</sectorsize></provider>
    </geom></class></mesh>`;
  const list = parseFreebsd({
    confxml,
    mounts:
      "/dev/ada0p2\t\t/\t\t\tufs\trw\t1 1\ndevfs /dev devfs rw 0 0\n" +
      "/dev/ada0p1\t\t/mnt/a\\040b\t\tufs\trw\t2 2\n",
    swaps: "Device:       1K-blocks     Used:\n/dev/da0      1024     0\n",
  });
  expect(list.map(({ path }) => path)).toEqual(["/dev/ada0", "/dev/da0"]);
  expect(list[0]).toMatchObject({
    size: 500107862016,
    logicalSectorSize: 512,
    physicalSectorSize: 4096,
    alignmentOffset: 0,
    rotational: false,
    model: "Samsung SSD 850",
    serial: "S21P & 7",
    system: true,
    mounts: [],
  });
  expect(list[0]?.partitions).toMatchObject([
    { path: "/dev/ada0p1", size: 524288, mounts: ["/mnt/a b"], system: false },
    { path: "/dev/ada0p2", size: 1048576, mounts: ["/"], system: true },
    { path: "/dev/ada0p10", size: 512, mounts: [], system: false },
  ]);
  expect(list[1]).toMatchObject({
    physicalSectorSize: null,
    alignmentOffset: null,
    rotational: true,
    serial: null,
    model: null,
    system: true,
  });
  const mounted = "/dev/ada0p2 is mounted at /; unmount it first";
  const first = "/dev/ada0p1 is mounted at '/mnt/a b'; unmount it first";
  expect(explainListed(list, "/dev/ada0")).toBe(first);
  expect(explainListed(list, "/dev/ada0p1")).toBe(first);
  expect(explainListed(list, "/dev/ada0p2")).toBe(mounted);
  expect(list[0]?.allMounts).toEqual(["/mnt/a b", "/"]);
  expect(explainListed(list, "/dev/da0")).toBe("/dev/da0 is used as swap space; see swapctl(8)");
  expect(explainListed(list, "/dev/cd0")).toBeUndefined();
  const swap = { ...unknownDevice("/dev/da1p1"), system: true };
  const disk = { ...unknownDevice("/dev/da1"), system: true, partitions: [swap] };
  expect(explainListed([disk], "/dev/da1")).toStartWith("/dev/da1p1 is used as swap space");
});

testUnless(loopMissing, "removable, system and loop choose among the disks", async () => {
  using dir = new TempDir();
  using loop = new LoopDevice(dir.file("image", new Uint8Array(65536)));
  const names = (list: readonly BlockDeviceInfo[]): string[] => list.map(({ path }) => path);
  // Others attach and detach loop devices meanwhile.
  const own = (list: readonly BlockDeviceInfo[]): string[] =>
    names(list).filter((path) => !path.startsWith("/dev/loop") || path === loop.path);
  const all = await listBlockDevices({});
  expect(names(all)).toContain(loop.path);
  expect(own(await listBlockDevices({ loop: true }))).toEqual([loop.path]);
  expect(own(await listBlockDevices({ loop: false }))).not.toContain(loop.path);
  for (const option of ["removable", "system", "loop"] as const) {
    const [yes, no] = [
      await listBlockDevices({ [option]: true }),
      await listBlockDevices({ [option]: false }),
    ];
    expect([...own(yes), ...own(no)].sort()).toEqual(own(all).sort());
    expect(own(await listBlockDevices({ [option]: undefined }))).toEqual(own(all));
  }
  expect(own(await listBlockDevices({ system: false, removable: false, loop: true }))).toEqual([
    loop.path,
  ]);
  const wrong = listBlockDevices({ loops: true } as object);
  await expect(wrong).rejects.toThrow("is not an option of listBlockDevices");
  await expect(listBlockDevices({ loop: 1 as never })).rejects.toThrow("options.loop");
});

testUnless(noLinux, "this system", async () => {
  const list = await listBlockDevices();
  for (const device of list) {
    const sysfs = `/sys/block/${device.path.slice("/dev/".length).replaceAll("/", "!")}/size`;
    // Others attach and detach loop devices meanwhile.
    if (device.path.startsWith("/dev/loop")) continue;
    expect(device.size).toBe(Number(readFileSync(sysfs, "utf8")) * 512);
  }
  const root = list.find(({ mounts }) => mounts.includes("/"));
  if (root !== undefined) expect(root.system).toBe(true);
});
