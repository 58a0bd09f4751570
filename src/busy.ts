// Who holds a block device that the kernel calls busy: a mount, a swap area, a device built on it, a
// loop device, another process. For the hints of block_device.ts; never fails, at worst it knows nothing.

import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { BlockDeviceInfo } from "./list_devices.ts";
import { listFreebsdDevices } from "./list_freebsd.ts";
import {
  deviceNumbers,
  directoryOf,
  namesIn,
  nodeNumbers,
  nodeOf,
  numbersOf,
  openedBy,
  partitionsOf,
  readLoops,
  readMounts,
  readSwaps,
  SYSTEM_PATHS,
  type SystemPaths,
  textOf,
  wholeOf,
} from "./sysfs.ts";

/** A sentence that names the holder of the device at `path`, if it can be found. */
export async function busyHint(path: string): Promise<string | undefined> {
  try {
    if (process.platform === "freebsd") return explainListed(await listFreebsdDevices(), path);
    if (process.platform !== "linux") return undefined;
    const { major, minor } = deviceNumbers((await stat(path)).rdev);
    return await explainBusy(SYSTEM_PATHS, major, minor);
  } catch {
    return undefined;
  }
}

/**
 * A sentence that names the loop device over the device at `path`, if there is one. The kernel does not
 * count that as holding (loop_configure() in drivers/block/loop.c claims the loop device only).
 */
export async function loopHint(path: string): Promise<string | undefined> {
  if (process.platform !== "linux") return undefined;
  try {
    const { major, minor } = deviceNumbers((await stat(path)).rdev);
    return await loopedOver(SYSTEM_PATHS, await relativesOf(SYSTEM_PATHS, major, minor));
  } catch {
    return undefined;
  }
}

/** The mount or swap area on a listed device, or on what overlaps it. */
export function explainListed(
  devices: readonly BlockDeviceInfo[],
  path: string,
): string | undefined {
  for (const device of devices) {
    const part = device.partitions.find((it) => it.path === path);
    if (device.path !== path && part === undefined) continue;
    const relatives = part === undefined ? [device, ...device.partitions] : [part, device];
    for (const relative of relatives) {
      const [mount] = relative.mounts;
      if (mount !== undefined) return `${relative.path} is mounted at ${mount}; unmount it first`;
    }
    // What the system lives on without a mount is swap; a disk is so by its partitions.
    const swap = relatives.find((it) => it.system && it.partitions.length === 0);
    return swap === undefined ? undefined : `${swap.path} is used as swap space; see swapctl(8)`;
  }
  return undefined;
}

/** Directories of the device and of what overlaps it. */
async function relativesOf(paths: SystemPaths, major: number, minor: number): Promise<string[]> {
  const directory = await directoryOf(paths, major, minor);
  if (directory === null) return [];
  const whole = await wholeOf(directory);
  // Whoever holds a partition holds its disk, and the other way round.
  return whole === directory ? [directory, ...(await partitionsOf(whole))] : [directory, whole];
}

export async function explainBusy(
  paths: SystemPaths,
  major: number,
  minor: number,
): Promise<string | undefined> {
  const relatives = await relativesOf(paths, major, minor);
  return (
    (await mountedAt(paths, relatives)) ??
    (await swappedTo(paths, relatives)) ??
    (await heldBy(relatives)) ??
    (await loopedOver(paths, relatives)) ??
    (await openIn(paths, relatives))
  );
}

async function mountedAt(
  paths: SystemPaths,
  relatives: readonly string[],
): Promise<string | undefined> {
  const mounts = await readMounts(paths);
  for (const directory of relatives) {
    const node = nodeOf(paths, directory);
    const numbers = await numbersOf(directory);
    const mount = mounts.find((entry) => entry.numbers === numbers || entry.source === node);
    if (mount !== undefined) return `${node} is mounted at ${mount.mountPoint}; unmount it first`;
  }
  return undefined;
}

async function swappedTo(
  paths: SystemPaths,
  relatives: readonly string[],
): Promise<string | undefined> {
  const swaps = new Set<string | null>();
  for (const path of await readSwaps(paths)) swaps.add((await nodeNumbers(path)) ?? path);
  for (const directory of relatives) {
    const node = nodeOf(paths, directory);
    if (swaps.has(node) || swaps.has((await numbersOf(directory)) ?? node)) {
      return `${node} is used as swap space; see swapoff(8)`;
    }
  }
  return undefined;
}

async function heldBy(relatives: readonly string[]): Promise<string | undefined> {
  for (const directory of relatives) {
    for (const holder of await namesIn(join(directory, "holders"))) {
      const name = await textOf(join(directory, "holders", holder, "dm", "name"));
      const shown = name === null ? holder : `${holder} ("${name}")`;
      return `${basename(directory)} is held by ${shown}, which is built on it`;
    }
  }
  return undefined;
}

async function loopedOver(
  paths: SystemPaths,
  relatives: readonly string[],
): Promise<string | undefined> {
  const nodes = new Set(relatives.map((directory) => nodeOf(paths, directory)));
  for (const { directory, backing } of await readLoops(paths)) {
    if (nodes.has(backing)) return `${backing} is held by ${nodeOf(paths, directory)}`;
  }
  return undefined;
}

async function openIn(
  paths: SystemPaths,
  relatives: readonly string[],
): Promise<string | undefined> {
  for (const directory of relatives) {
    const node = nodeOf(paths, directory);
    const processes = await openedBy(paths, node);
    if (processes.length > 0) return `${node} is open in ${processes.join(", ")}`;
  }
  return undefined;
}
