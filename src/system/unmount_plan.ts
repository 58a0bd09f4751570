// What has to be unmounted for a device to be free, in which order, and why that may be out of the question (Linux).

import { shellWord } from "../common/shell_word.ts";
import { heldBy, swappedTo } from "./holders.ts";
import { attachedLoops, diskKey, type System } from "./loop_devices.ts";
import { isSystemMount, type Mount, MountTable, readMounts, readSwaps } from "./mounts.ts";
import { type DeviceNode, deviceNodes, partitionsOf, type SystemPaths } from "./sysfs.ts";
import { systemDevices } from "./system_disks.ts";
import { explainUses, usesOf } from "./uses.ts";

/** Mounts of a device and its partitions, the innermost first; or a sentence that says why they stay. */
export type UnmountPlan = { readonly mounts: readonly Mount[] } | { readonly refusal: string };

/** `directory`: of the device in sysfs. Rejects if /proc or /sys does not tell. */
export async function planUnmount(system: System, directory: string): Promise<UnmountPlan> {
  const nodes = await deviceNodes(system, [directory, ...(await partitionsOf(directory))]);
  const table = new MountTable(await readMounts(system));
  const mounts = new Set(nodes.flatMap((node) => table.of(node)));
  const refusal =
    (await neededBySystem(system, nodes, table, mounts)) ??
    (await heldBy(nodes)) ??
    (await usedOtherwise(system, nodes)) ??
    (await underLoop(system, mounts)) ??
    inTheWay(table.all, mounts);
  if (refusal !== undefined) return { refusal };
  const above = ancestors(table.all);
  return { mounts: [...mounts].sort((a, b) => above(b).length - above(a).length || b.id - a.id) };
}

/** The rule of `BlockDeviceInfo.system`. */
async function neededBySystem(
  paths: SystemPaths,
  nodes: readonly DeviceNode[],
  table: MountTable,
  mounts: ReadonlySet<Mount>,
): Promise<string | undefined> {
  const swaps = await readSwaps(paths);
  const system = await systemDevices(paths, table.all, swaps);
  const needed = nodes.filter(({ directory }) => system.has(directory));
  for (const node of needed) {
    const mount = table.of(node).find(({ mountPoint }) => isSystemMount(mountPoint));
    if (mount === undefined) continue;
    return `The system runs from it: ${node.path} is mounted at ${placeOf(mount)}, which is never unmounted`;
  }
  if (needed.length === 0) return undefined;
  const partition = await swappedTo(paths, needed);
  if (partition !== undefined) return partition;
  const swapFile = swaps.find((path) =>
    [...mounts].some(({ mountPoint }) => path.startsWith(`${mountPoint}/`)),
  );
  return swapFile === undefined
    ? "The system runs from it: nothing is unmounted"
    : `${shellWord(swapFile)} is used as swap space; see swapoff(8)`;
}

/** Loop devices over it, and uses of what is below it. */
async function usedOtherwise(
  system: System,
  [disk]: readonly DeviceNode[],
): Promise<string | undefined> {
  if (disk === undefined) return undefined;
  const key = diskKey(disk.numbers ?? "");
  return (await explainUses(system, disk.path, key, await usesOf(system, key)))?.what;
}

/** A loop device over a file on one of the file systems: the kernel keeps that file open, and no process has it. */
async function underLoop(system: System, mounts: ReadonlySet<Mount>): Promise<string | undefined> {
  const loops = (await attachedLoops(system)) ?? [];
  for (const mount of mounts) {
    const loop = loops.find(({ backing }) => backing?.key.startsWith(`file ${mount.numbers} `));
    if (loop === undefined) continue;
    return `A file in ${placeOf(mount)} is attached as ${loop.path}; detach it first (losetup -d ${loop.path})`;
  }
  return undefined;
}

/** Other mounts that keep these from being unmounted, or that their paths lead to instead. */
function inTheWay(all: readonly Mount[], mounts: ReadonlySet<Mount>): string | undefined {
  const above = ancestors(all);
  for (const mount of mounts) {
    // d_path() in fs/d_path.c
    if (mount.mountPoint.endsWith("//deleted")) {
      const place = shellWord(mount.mountPoint.slice(0, -"//deleted".length));
      return `It is mounted on the directory ${place}, which was removed: no path leads to it anymore`;
    }
    const within = all.find((it) => it.parent === mount.id && it !== mount && !mounts.has(it));
    if (within !== undefined) {
      const where = within.mountPoint === mount.mountPoint ? "over it" : "in it";
      return `${placeOf(mount)} cannot be unmounted: ${within.type} is mounted ${where}, at ${placeOf(within)}; unmount that first`;
    }
    const parents = new Set(above(mount));
    const cover = all.find(
      (it) =>
        parents.has(it.parent) &&
        !parents.has(it.id) &&
        mount.mountPoint.startsWith(`${it.mountPoint}/`),
    );
    if (cover !== undefined) {
      return `${placeOf(mount)} cannot be unmounted: ${cover.type}, mounted at ${placeOf(cover)}, covers it; unmount that first`;
    }
  }
  return undefined;
}

/** The numbers of the mounts that a mount is in, the next one first. */
function ancestors(all: readonly Mount[]): (mount: Mount) => number[] {
  const byId = new Map(all.map((mount) => [mount.id, mount]));
  return ({ id, parent }) => {
    const found: number[] = [];
    let last = id;
    for (let next: number | undefined = parent; next !== undefined && next !== last; ) {
      found.push(next);
      last = next;
      next = byId.get(next)?.parent;
    }
    return found;
  };
}

/** As the shell takes it. */
export function placeOf({ mountPoint }: Mount): string {
  return shellWord(mountPoint);
}
