// What has to be unmounted for a device to be free, in which order, and why that may be out of the question (Linux).

import { shellWord } from "../common/shell_word.ts";
import { bytesOfText } from "../common/text_of_bytes.ts";
import { explainUses, heldBy, swappedTo, usesOf } from "./holders.ts";
import { type AskLoop, attachedLoops, diskKey } from "./loop_devices.ts";
import { isSystemMount, type Mount, MountTable, readMounts, readSwaps } from "./mounts.ts";
import { nodeOf, numbersOf, partitionsOf, type SystemPaths } from "./sysfs.ts";
import { systemDevices } from "./system_disks.ts";

/** Mounts of a device and its partitions, the innermost first; or a sentence that says why they stay. */
export type UnmountPlan = { readonly mounts: readonly Mount[] } | { readonly refusal: string };

/** `directory`: of the device in sysfs. Rejects if /proc or /sys does not tell. */
export async function planUnmount(
  paths: SystemPaths,
  directory: string,
  ask: AskLoop,
): Promise<UnmountPlan> {
  const directories = [directory, ...(await partitionsOf(directory))];
  const table = new MountTable(await readMounts(paths));
  const mounts = new Set<Mount>();
  for (const part of directories) {
    for (const mount of table.of(await numbersOf(part), nodeOf(paths, part))) mounts.add(mount);
  }
  const refusal =
    (await neededBySystem(paths, directories, table, mounts)) ??
    (await heldBy(directories)) ??
    (await usedOtherwise(paths, directory, ask)) ??
    (await underLoop(paths, mounts, ask)) ??
    inTheWay(table.all, mounts);
  if (refusal !== undefined) return { refusal };
  const above = ancestors(table.all);
  return { mounts: [...mounts].sort((a, b) => above(b).length - above(a).length || b.id - a.id) };
}

/** The rule of `BlockDeviceInfo.system`. */
async function neededBySystem(
  paths: SystemPaths,
  directories: readonly string[],
  table: MountTable,
  mounts: ReadonlySet<Mount>,
): Promise<string | undefined> {
  const swaps = await readSwaps(paths);
  const system = await systemDevices(paths, table.all, swaps);
  const needed = directories.filter((directory) => system.has(directory));
  for (const directory of needed) {
    const node = nodeOf(paths, directory);
    const mount = table
      .of(await numbersOf(directory), node)
      .find(({ mountPoint }) => isSystemMount(mountPoint));
    if (mount === undefined) continue;
    return `The system runs from it: ${node} is mounted at ${placeOf(mount)}, which is never unmounted`;
  }
  if (needed.length === 0) return undefined;
  const partition = await swappedTo(paths, needed);
  if (partition !== undefined) return partition;
  const swapFile = swaps.find((path) =>
    [...mounts].some(({ mountPoint }) => path.startsWith(`${mountPoint}/`)),
  );
  return swapFile === undefined
    ? "The system runs from it: nothing is unmounted"
    : `${wordOf(swapFile)} is used as swap space; see swapoff(8)`;
}

/** Loop devices over it, and uses of what is below it. */
async function usedOtherwise(
  paths: SystemPaths,
  directory: string,
  ask: AskLoop,
): Promise<string | undefined> {
  const key = diskKey((await numbersOf(directory)) ?? "");
  const uses = await usesOf(paths, key, ask);
  return (await explainUses(paths, nodeOf(paths, directory), key, uses))?.what;
}

/** A loop device over a file on one of the file systems: the kernel keeps that file open, and no process has it. */
async function underLoop(
  paths: SystemPaths,
  mounts: ReadonlySet<Mount>,
  ask: AskLoop,
): Promise<string | undefined> {
  const loops = (await attachedLoops(paths, ask)) ?? [];
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
      const place = wordOf(mount.mountPoint.slice(0, -"//deleted".length));
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
  return wordOf(mountPoint);
}

function wordOf(path: string): string {
  return shellWord(bytesOfText(path));
}
