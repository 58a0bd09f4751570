// What /sys reports of one block device: sizes and limits, and how it is called.

import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { BlockDeviceInfo, Geometry } from "./device_info.ts";
import { bytesIn, flagOf, numberOf, textOf, wholeOf } from "./sysfs.ts";

/** What /sys reports of one device; null where it does not. */
export interface SysfsFacts
  extends Omit<Geometry, "size">,
    Pick<BlockDeviceInfo, "zoned" | "removable" | "vendor" | "transport"> {
  readonly size: number | null;
}

export async function readFacts(directory: string): Promise<SysfsFacts> {
  const disk = await wholeOf(directory);
  const queue = (name: string): string => join(disk, "queue", name);
  return allOf<SysfsFacts>({
    size: bytesIn(join(directory, "size")),
    logicalSectorSize: numberOf(queue("logical_block_size")),
    physicalSectorSize: numberOf(queue("physical_block_size")),
    minimumIoSize: numberOf(queue("minimum_io_size")),
    // 0 means that the device reports none.
    optimalIoSize: numberOf(queue("optimal_io_size")).then((bytes) => bytes || null),
    maximumTransferSize: numberOf(queue("max_sectors_kb")).then((kb) => kb && kb * 1024),
    alignmentOffset: numberOf(join(directory, "alignment_offset")),
    rotational: flagOf(queue("rotational")),
    // host-managed, host-aware or none (Documentation/ABI/stable/sysfs-block).
    zoned: textOf(queue("zoned")).then((model) => (model === null ? null : model !== "none")),
    readOnly: flagOf(join(directory, "ro")),
    removable: flagOf(join(disk, "removable")),
    vendor: vendorOf(disk),
    model: modelOf(disk),
    serial: serialOf(disk),
    transport: transportOf(disk),
  });
}

/** Awaits all values at once. */
async function allOf<T>(facts: { [Name in keyof T]: T[Name] | Promise<T[Name]> }): Promise<T> {
  const entries = Object.entries(facts).map(async ([name, value]) => [name, await value]);
  return Object.fromEntries(await Promise.all(entries)) as T;
}

/** SCSI disks name theirs; elsewhere the file holds a number (that of PCI, for virtio), or is missing. */
async function vendorOf(disk: string): Promise<string | null> {
  const text = await textOf(join(disk, "device", "vendor"));
  return text === null || /^0x[0-9a-f]+$/i.test(text) ? null : text;
}

/** SCSI and NVMe have `model`, memory cards `name`. */
async function modelOf(disk: string): Promise<string | null> {
  return (await textOf(join(disk, "device", "model"))) ?? textOf(join(disk, "device", "name"));
}

/**
 * virtio has it in the disk's directory, NVMe and memory cards in `device`, SCSI in page 0x80, USB sticks in the
 * directory of the USB device.
 */
async function serialOf(disk: string): Promise<string | null> {
  const said =
    (await textOf(join(disk, "serial"))) ?? (await textOf(join(disk, "device", "serial")));
  if (said !== null) return said;
  const page = await readFile(join(disk, "device", "vpd_pg80")).catch(() => undefined);
  return (page && unitSerialNumber(page)) ?? usbSerial(disk);
}

/** Of the nearest USB device above the disk: its directory is the one with `idVendor`. */
async function usbSerial(disk: string): Promise<string | null> {
  if (!USB.test(disk)) return null;
  for (let directory = disk; USB.test(directory); directory = dirname(directory)) {
    if ((await textOf(join(directory, "idVendor"))) !== null)
      return textOf(join(directory, "serial"));
  }
  return null;
}

/** A bus is usb1, a device below it 1-2 or, behind a hub, 1-2.3. */
const USB = /\/usb\d+(\/|$)/;

/** SPC-4, 7.8.15: four bytes of header, the last two the length, then ASCII. */
function unitSerialNumber(page: Buffer): string | null {
  if (page.byteLength < 4 || page[1] !== 0x80) return null;
  const text = page.toString("latin1", 4, 4 + page.readUInt16BE(2));
  return text.replaceAll("\0", "").trim() || null;
}

/** From the path in the device tree; null for devices without a bus. */
function transportOf(disk: string): string | null {
  const name = basename(disk);
  // Also below /devices/virtual: a disk that may have several paths, or that comes over a network.
  if (name.startsWith("nvme")) return "nvme";
  if (disk.includes("/devices/virtual/")) return null;
  if (name.startsWith("mmcblk")) return "mmc";
  if (USB.test(disk)) return "usb";
  if (/\/session\d/.test(disk)) return "iscsi";
  if (/\/rport-/.test(disk)) return "fc";
  if (/\/end_device-/.test(disk)) return "sas";
  if (/\/ata\d/.test(disk)) return "ata";
  if (/\/virtio\d/.test(disk)) return "virtio";
  return /\/host\d/.test(disk) ? "scsi" : null;
}
