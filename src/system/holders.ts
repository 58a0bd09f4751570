// Who holds a block device that the kernel reports as busy. Never fails: without information there is no answer.

import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { shellWord } from "../common/shell_word.ts";
import type { BlockDeviceInfo } from "./device_info.ts";
import { overlapping } from "./disk_extent.ts";
import { listFreebsdDevices } from "./list_freebsd.ts";
import { attachedLoops, diskKey, type System } from "./loop_devices.ts";
import { type Mount, MountTable, readMounts, readSwaps } from "./mounts.ts";
import { mountedElsewhere, openedBy } from "./processes.ts";
import {
  type DeviceNode,
  namesIn,
  nodeNumbers,
  numbersText,
  type SystemPaths,
  textOf,
} from "./sysfs.ts";

/** A sentence that names the holder of the device at `path`, or undefined. */
export async function busyHint(path: string | Buffer, system: System): Promise<string | undefined> {
  try {
    if (process.platform === "freebsd")
      return explainListed(await listFreebsdDevices(), String(path));
    if (process.platform !== "linux") return undefined;
    return await explainBusy(system, numbersText((await stat(path)).rdev));
  } catch {
    return undefined;
  }
}

/** `numbers`: "major:minor" */
export async function explainBusy(system: System, numbers: string): Promise<string | undefined> {
  const nodes = await overlapping(system, diskKey(numbers));
  return (
    (await holderOf(system, nodes)) ??
    (await loopOver(system, nodes)) ??
    (await mountedElsewhere(system, nodes)) ??
    (await openIn(system, nodes))
  );
}

type Nodes = readonly DeviceNode[];

/** Who holds one of the devices in the eyes of the kernel: a mount, a swap area, a device built on it. */
export async function holderOf(paths: SystemPaths, nodes: Nodes): Promise<string | undefined> {
  const found = await mountedOn(paths, nodes);
  if (found !== undefined) return mountedHint(found.node.path, found.mount.mountPoint);
  return (await swappedTo(paths, nodes)) ?? heldBy(nodes);
}

export async function mountedOn(
  paths: SystemPaths,
  nodes: Nodes,
  counts: (mount: Mount) => boolean = () => true,
): Promise<{ readonly node: DeviceNode; readonly mount: Mount } | undefined> {
  const mounts = new MountTable((await readMounts(paths).catch(() => [])).filter(counts));
  for (const node of nodes) {
    const [mount] = mounts.of(node);
    if (mount !== undefined) return { node, mount };
  }
  return undefined;
}

function mountedHint(device: string, mountPoint: string): string {
  // The form that umount(8) takes.
  return `${device} is mounted at ${shellWord(mountPoint)}; unmount it first`;
}

export async function swappedTo(paths: SystemPaths, nodes: Nodes): Promise<string | undefined> {
  const swaps = await readSwaps(paths).catch(() => []);
  const used = await Promise.all(swaps.map(async (path) => (await nodeNumbers(path)) ?? path));
  const node = nodes.find(
    ({ path, numbers }) => used.includes(path) || used.includes(numbers ?? path),
  );
  return node && `${node.path} is used as swap space; see swapoff(8)`;
}

export async function heldBy(nodes: Nodes): Promise<string | undefined> {
  for (const { directory } of nodes) {
    const [holder] = await namesIn(join(directory, "holders"));
    if (holder === undefined) continue;
    const name = await textOf(join(directory, "holders", holder, "dm", "name"));
    const shown = name === null ? holder : `${holder} ("${name}")`;
    return `${basename(directory)} is held by ${shown}, which is built on it`;
  }
  return undefined;
}

async function loopOver(system: System, nodes: Nodes): Promise<string | undefined> {
  const loops = (await attachedLoops(system)) ?? [];
  for (const { path, numbers } of nodes) {
    const loop = loops.find(({ backing }) => backing?.key === diskKey(numbers ?? ""));
    if (loop !== undefined) return `${path} is held by ${loop.path}`;
  }
  return undefined;
}

async function openIn(paths: SystemPaths, nodes: Nodes): Promise<string | undefined> {
  for (const { path } of nodes) {
    const processes = await openedBy(paths, path);
    if (processes.length > 0) return `${path} is open in ${processes.join(", ")}`;
  }
  return undefined;
}

/** The mount or swap area on a listed device, or on what overlaps it. */
export function explainListed(
  devices: readonly BlockDeviceInfo[],
  path: string,
): string | undefined {
  const disk = devices.find((it) => [it, ...it.partitions].some((part) => part.path === path));
  if (disk === undefined) return undefined;
  const part = disk.partitions.find((it) => it.path === path);
  const nodes = part === undefined ? [disk, ...disk.partitions] : [part, disk];
  for (const node of nodes) {
    const [mount] = node.mounts;
    if (mount !== undefined) return mountedHint(node.path, mount);
  }
  // A system device without a mount is swap. A disk may be one because of its partitions.
  const swap = nodes.find((it) => it.system && it.partitions.length === 0);
  return swap && `${swap.path} is used as swap space; see swapctl(8)`;
}
