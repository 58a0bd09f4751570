// The node of a disk of the lab, as sysfs tells of it: the library has no part in it.

import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import type { DiskName } from "../disks.ts";
import { disks } from "../disks.ts";

/** A file of sysfs about a disk, trimmed; null if there is none. */
export function attribute(node: string, name: string): string | null {
  try {
    const text = readFileSync(`/sys/block/${node.replace("/dev/", "")}/${name}`, "latin1");
    return text.replaceAll(/[\0\s]+/g, " ").trim();
  } catch {
    return null;
  }
}

function isDisk(node: string, name: DiskName): boolean {
  const place = realpathSync(`/sys/block/${node}`);
  if (name === "sd-card") return node.startsWith("mmcblk") && !node.includes("boot");
  if (name === "usb-stick") return place.includes("/usb") && attribute(node, "removable") === "1";
  const { serial } = disks[name];
  const said = ["serial", "device/serial", "device/vpd_pg80"].map((file) => attribute(node, file));
  return said.some((text) => text?.split(/[^\w-]/).includes(serial ?? "") === true);
}

/** Its path in /dev, or undefined. */
export function findDisk(name: DiskName): string | undefined {
  const node = readdirSync("/sys/block").find((found) => isDisk(found, name));
  return node !== undefined && existsSync(`/dev/${node}`) ? `/dev/${node}` : undefined;
}

/** Its path in /dev, where it must be. */
export function diskPath(name: DiskName): string {
  const path = findDisk(name);
  if (path === undefined) throw new Error(`the disk ${name} is not there`);
  return path;
}

/** Requests that the kernel has sent and has no answer to. An NVMe disk sends over its paths: nvme0n1 over nvme0c0n1. */
export function requestsInFlight(path: string): number {
  const disk = path.replace("/dev/", "");
  return readdirSync("/sys/block")
    .filter((node) => node.replace(/^(nvme\d+)c\d+(n\d+)$/, "$1$2") === disk)
    .flatMap((node) => (attribute(node, "inflight") ?? "").split(" ").map(Number))
    .reduce((total, count) => total + count, 0);
}
