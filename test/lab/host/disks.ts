// The disks of a machine, each under the name by which its tests find it.

import { closeSync, ftruncateSync, openSync } from "node:fs";
import { join } from "node:path";
import { type DiskName, disks as described, diskNames } from "../disks.ts";

export interface Disk {
  name: string;
  /** Options of QEMU for the nodes below the device, and the device itself. */
  arguments: string[];
  /** The device, to plug it in again. */
  device: Record<string, unknown>;
  /** Makes what it stores on, in the machine's folder. */
  create?(folder: string): void;
}

const MiB = 1 << 20;

interface Recipe {
  device: Record<string, unknown>;
  /** What `blkdebug` injects. */
  errors?: Record<string, unknown>[];
  /** Operations a second, so that many are in flight when the disk goes. */
  slow?: number;
  readOnly?: true;
  /** Devices that it hangs on. */
  buses?: Record<string, unknown>[];
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
    slow: 200,
  },
  "virtio-512": { device: { driver: "virtio-blk-pci", serial: "VIRTIO-512" }, slow: 200 },
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
    slow: 200,
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
    slow: 100,
  },
  uas: { device: { driver: "scsi-hd", bus: "uas.0", serial: "UAS-1" }, slow: 200 },
  "sd-card": { device: { driver: "sd-card" } },
  ata: {
    device: {
      ...{ driver: "ide-hd", bus: "ide.0", serial: "ATA-1", model: "OLDDISK" },
      ...{ rotation_rate: 5400, physical_block_size: 4096 },
    },
  },
};

/** Buses that the disks hang on, and what limits the slow ones. */
const BUSES: string[] = [
  ...option("-object", { "qom-type": "throttle-group", id: "slow-100", "x-iops-total": 100 }),
  ...option("-object", { "qom-type": "throttle-group", id: "slow-200", "x-iops-total": 200 }),
  ...option("-device", { driver: "virtio-scsi-pci", id: "scsi" }),
  ...option("-device", { driver: "qemu-xhci", id: "xhci" }),
  ...option("-device", { driver: "usb-uas", id: "uas", bus: "xhci.0" }),
  ...option("-device", { driver: "sdhci-pci", id: "sdhci" }),
];

function option(name: string, value: object): string[] {
  return [name, JSON.stringify(value)];
}

/** All of them, in a fixed order. */
export function allDisks(): Disk[] {
  return diskNames.map((name, index) => hardDisk(name, RECIPES[name], index));
}

function hardDisk(name: DiskName, recipe: Recipe, index: number): Disk {
  const image = `${name}.img`;
  const file = { driver: "file", filename: image, discard: "unmap" };
  let node: Record<string, unknown> = { ...file };
  if (recipe.errors !== undefined)
    node = { driver: "blkdebug", image: node, "inject-error": recipe.errors };
  if (recipe.slow !== undefined)
    node = { driver: "throttle", "throttle-group": `slow-${recipe.slow}`, file: node };
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
  return {
    name,
    device,
    arguments: [
      ...(index === 0 ? BUSES : []),
      ...ports,
      ...option("-blockdev", { ...backend, ...readOnly }),
      ...option("-device", device),
    ],
    create: (folder) => {
      const fd = openSync(join(folder, image), "w");
      ftruncateSync(fd, described[name].size);
      closeSync(fd);
    },
  };
}
