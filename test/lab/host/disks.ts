// The disks of a machine, each under the name by which its tests find it.

import { closeSync, ftruncateSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DiskName, disks as described, diskNames } from "../disks.ts";
import type { Arch } from "./kernels.ts";
import { VolatileDisk } from "./volatile_disk.ts";

export interface Disk {
  name: string;
  /** Options of QEMU for the nodes below the device, and the device itself. */
  arguments: string[];
  /** What is unplugged: the disk itself, or what it hangs on. */
  unplugged: string;
  /** Devices to plug it in again, in this order. */
  devices: Record<string, unknown>[];
  /** Makes what it stores on, in the machine's folder. */
  create(folder: string): void;
  /** What loses its power, or its connection, if this one can. */
  volatile?: VolatileDisk | undefined;
}

const MiB = 1 << 20;

interface Recipe {
  device: Record<string, unknown>;
  /** What `blkdebug` injects. */
  errors?: Record<string, unknown>[];
  /** Can be slowed down, so that many operations are in flight when it goes. */
  throttled?: true;
  readOnly?: true;
  /** Loses what was not flushed when its power is cut (volatile_disk.ts). */
  isVolatile?: true;
  /** A device of its own that it hangs on, which is unplugged with it. */
  carrier?: Record<string, unknown>;
}

const SECTORS_4096 = { logical_block_size: 4096, physical_block_size: 4096 };

function error(iotype: string, sector?: number, errno = 5): Record<string, unknown> {
  const where = sector === undefined ? {} : { sector };
  return { event: "none", iotype, errno, once: false, ...where };
}

const RECIPES: Record<DiskName, Recipe> = {
  "nvme-512": { device: { driver: "nvme", serial: "NVME-512" } },
  "nvme-4096": {
    device: { driver: "nvme", serial: "NVME-4096", ...SECTORS_4096 },
    throttled: true,
  },
  "virtio-512": { device: { driver: "virtio-blk-pci", serial: "VIRTIO-512" }, throttled: true },
  "virtio-4096": {
    device: { driver: "virtio-blk-pci", serial: "VIRTIO-4096", ...SECTORS_4096 },
  },
  "scsi-512e": {
    device: {
      ...{ driver: "scsi-hd", bus: "scsi.0", serial: "SCSI-512E", vendor: "ACME", product: "DISK" },
      ...{ physical_block_size: 4096, rotation_rate: 7200, min_io_size: 8192, opt_io_size: 65536 },
    },
  },
  "scsi-4096n": {
    device: {
      ...{ driver: "scsi-hd", bus: "scsi.0", serial: "SCSI-4096N", rotation_rate: 1 },
      ...SECTORS_4096,
    },
    throttled: true,
  },
  "scsi-thin": {
    device: {
      ...{ driver: "scsi-hd", bus: "scsi.0", serial: "SCSI-THIN", discard_granularity: 65536 },
      max_unmap_size: 4 * MiB,
    },
  },
  "scsi-read-only": {
    device: { driver: "scsi-hd", bus: "scsi.0", serial: "SCSI-RO" },
    readOnly: true,
  },
  "scsi-bad": {
    device: { driver: "scsi-hd", bus: "scsi.0", serial: "SCSI-BAD" },
    errors: [
      error("read", 2048),
      error("write", 4096),
      error("write", 8192, 28),
      error("discard", 6144),
      error("write-zeroes", 6144),
    ],
  },
  "scsi-no-flush": {
    device: { driver: "scsi-hd", bus: "scsi.0", serial: "SCSI-NOFLUSH", "write-cache": "on" },
    errors: [error("flush")],
  },
  "usb-stick": {
    device: { driver: "usb-storage", bus: "xhci.0", serial: "USB-STICK", removable: true },
    throttled: true,
  },
  uas: {
    device: { driver: "scsi-hd", bus: "uas.0", serial: "UAS-1" },
    carrier: { driver: "usb-uas", id: "uas", bus: "xhci.0" },
    throttled: true,
  },
  "sd-card": { device: { driver: "sd-card" } },
  ata: {
    device: {
      ...{ driver: "ide-hd", bus: "ide.0", serial: "ATA-1", model: "OLDDISK" },
      ...{ rotation_rate: 5400, physical_block_size: 4096 },
    },
  },
  "volatile-virtio": {
    device: { driver: "virtio-blk-pci", serial: "VOLATILE-V", "write-cache": "on" },
    isVolatile: true,
  },
  // One that has FUA.
  "volatile-scsi": {
    device: {
      ...{ driver: "scsi-hd", bus: "scsi.0", serial: "VOLATILE-S", "write-cache": "on" },
      dpofua: true,
    },
    isVolatile: true,
  },
};

/** Buses that the disks hang on. */
const BUSES: string[] = [
  ...option("-device", { driver: "virtio-scsi-pci", id: "scsi" }),
  ...option("-device", { driver: "qemu-xhci", id: "xhci" }),
  ...option("-device", { driver: "sdhci-pci", id: "sdhci" }),
];

function option(name: string, value: object): string[] {
  return [name, JSON.stringify(value)];
}

/** A CD drive with a medium and one without. */
function drives(): Disk {
  const image = "cd.iso";
  const filled = { driver: "scsi-cd", id: "cd-filled", bus: "scsi.0", drive: "cd-medium" };
  return {
    name: "drives",
    unplugged: "",
    devices: [],
    arguments: [
      ...option("-blockdev", {
        ...{ driver: "raw", "node-name": "cd-medium", "read-only": true },
        file: { driver: "file", filename: image },
      }),
      ...option("-device", filled),
      ...option("-device", { driver: "scsi-cd", id: "cd-empty", bus: "scsi.0" }),
    ],
    create: (folder) => {
      const bytes = Buffer.alloc(8 << 20);
      bytes.write("CD01");
      writeFileSync(join(folder, image), bytes);
    },
  };
}

/** All of them, in a fixed order. The seed decides what survives cuts of their power. */
export async function allDisks(arch: Arch, seed: number): Promise<Disk[]> {
  // A PC has it.
  const sata = option("-device", { driver: "ich9-ahci", id: "ide" });
  const buses: string[] = [...BUSES, ...(arch === "x64" ? [] : sata)];
  const made: Disk[] = [];
  for (const [index, name] of diskNames.entries()) {
    const recipe = RECIPES[name];
    const { size } = described[name];
    const volatile = recipe.isVolatile ? await VolatileDisk.make(size, seed + index) : undefined;
    made.push(hardDisk(name, recipe, index, buses, volatile));
  }
  return [...made, drives()];
}

function hardDisk(
  name: DiskName,
  recipe: Recipe,
  index: number,
  buses: string[],
  volatile: VolatileDisk | undefined,
): Disk {
  const image = `${name}.img`;
  const socket = `${name}.socket`;
  let node: Record<string, unknown> =
    volatile === undefined
      ? { driver: "file", filename: image, discard: "unmap" }
      : { driver: "nbd", server: { type: "unix", path: socket }, "reconnect-delay": 60 };
  if (recipe.errors !== undefined)
    node = { driver: "blkdebug", image: node, "inject-error": recipe.errors };
  const limits = `limits-${name}`;
  const limited: string[] = [];
  if (recipe.throttled !== undefined) {
    limited.push(...option("-object", { "qom-type": "throttle-group", id: limits }));
    node = { driver: "throttle", "throttle-group": limits, file: node };
  }
  const backend = { driver: "raw", "node-name": name, file: node, discard: "unmap" };
  const device: Record<string, unknown> = { ...recipe.device, id: `disk-${name}`, drive: name };
  const ports: string[] = [];
  // What hangs on a port of its own can be unplugged.
  if (device["driver"] === "nvme" || device["driver"] === "virtio-blk-pci") {
    const port = {
      driver: "pcie-root-port",
      id: `port-${name}`,
      slot: index + 1,
      chassis: index + 1,
    };
    ports.push(...option("-device", port));
    device["bus"] = `port-${name}`;
  }
  if (device["driver"] !== "sd-card" && recipe.readOnly === undefined)
    Object.assign(device, { werror: "report", rerror: "report" });
  if (device["driver"] === "nvme") for (const key of ["werror", "rerror"]) delete device[key];
  const readOnly = recipe.readOnly === undefined ? {} : { "read-only": true };
  const devices = [...(recipe.carrier === undefined ? [] : [recipe.carrier]), device];
  return {
    name,
    devices,
    unplugged: String(devices[0]?.["id"]),
    arguments: [
      ...(index === 0 ? buses : []),
      ...ports,
      ...limited,
      ...option("-blockdev", { ...backend, ...readOnly }),
      ...devices.flatMap((one) => option("-device", one)),
    ],
    volatile,
    create: (folder) => {
      if (volatile !== undefined) {
        volatile.serve(join(folder, socket));
        return;
      }
      const fd = openSync(join(folder, image), "w");
      ftruncateSync(fd, described[name].size);
      closeSync(fd);
    },
  };
}
