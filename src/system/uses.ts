// Uses of a file or device that the kernel does not count as holding it, so that only we protect them from writes: it
// claims a loop device, but not its backing (loop_configure() in drivers/block/loop.c), and refuses writes to a swap
// file only when they are made.

import { shellWord } from "../common/shell_word.ts";
import { bytesOfText } from "../common/text_of_bytes.ts";
import { overlapping, type Placement, placementOf } from "./disk_extent.ts";
import { holderOf, mountedOn, swappedTo } from "./holders.ts";
import {
  attachedLoops,
  diskKey,
  type Key,
  keyOfPath,
  type Loop,
  numbersOfKey,
  type System,
} from "./loop_devices.ts";
import { readSwaps } from "./mounts.ts";
import type { SystemPaths } from "./sysfs.ts";

export interface Uses {
  /** Loop devices over any byte of it, those directly over it first. */
  readonly loops: readonly Loop[];
  readonly unknownLoops: readonly Loop[];
  /** False if the system does not tell which loop devices exist, what backs them, or what overlaps what. */
  readonly isKnown: boolean;
  /** A swap file, or a loop device over one. */
  readonly isSwap: boolean;
  /** A sentence about who holds the disk below this loop device. */
  readonly heldBelow: string | undefined;
}

const UNUSED: Uses = {
  ...{ loops: [], unknownLoops: [], isKnown: true, isSwap: false, heldBelow: undefined },
};

export async function usesOf(system: System, key: Key): Promise<Uses> {
  if (process.platform !== "linux") return UNUSED;
  const [place, attached] = await Promise.all([placementOf(system, key), attachedLoops(system)]);
  const loops: Loop[] = [];
  for (const loop of attached ?? []) if (await overlaps(system, loop, place)) loops.push(loop);
  const isOver = (loop: Loop): boolean => loop.backing?.key === key;
  // Without sysfs it is unknown which partitions belong to which disk.
  const isDoubtful =
    isDisk(key) &&
    place.bytes === Infinity &&
    attached?.some(({ backing }) => isDisk(backing?.key ?? "")) === true;
  return {
    loops: [...loops.filter(isOver), ...loops.filter((loop) => !isOver(loop))],
    unknownLoops: (attached ?? []).filter(({ backing }) => backing === undefined),
    isKnown: attached !== undefined && !isDoubtful && !attached.some(isUntold),
    isSwap: await isSwapFile(system, place.medium),
    heldBelow: await heldBelow(system, place),
  };
}

/** Whether the backing is unknown: neither the driver nor sysfs tells. */
function isUntold({ backing, bytes }: Loop): boolean {
  return backing === undefined && bytes === Infinity;
}

/** Whether a loop device overlaps `place`, without being below it. */
async function overlaps(system: System, loop: Loop, place: Placement): Promise<boolean> {
  if (loop.backing === undefined || [...place.own, ...place.below].includes(loop.key)) return false;
  // Also while it has no byte of it: losetup(8) may give it some (--set-capacity).
  if (loop.backing.key === place.own[0]) return true;
  const below = await placementOf(system, loop.backing.key);
  if (below.medium !== place.medium) return false;
  const start = below.start + loop.backing.offset;
  return start < place.start + place.bytes && place.start < start + loop.bytes;
}

/** The kernel knows who holds a device, but not which loop device writes to it. */
async function heldBelow(system: System, { below }: Placement): Promise<string | undefined> {
  for (const key of below) {
    const held = await holderOf(system, await overlapping(system, key));
    if (held !== undefined) return held;
  }
  return undefined;
}

function isDisk(key: Key): boolean {
  return key.startsWith("disk ");
}

/** If /proc does not tell, the kernel still refuses writes to it (ETXTBSY). */
async function isSwapFile(paths: SystemPaths, key: Key): Promise<boolean> {
  if (isDisk(key)) return false;
  const swaps = await readSwaps(paths).catch(() => []);
  return (await Promise.all(swaps.map((path) => keyOfPath(bytesOfText(path))))).includes(key);
}

/** The keys of the device and of what overlaps it. For a file, of the file. */
export async function overlappingKeys(paths: SystemPaths, key: Key): Promise<readonly Key[]> {
  const nodes = await overlapping(paths, key);
  return [key, ...nodes.map(({ numbers }) => diskKey(numbers ?? ""))];
}

export interface Use {
  readonly what: string;
  readonly remedy: string | undefined;
}

/** Explains the first use of `key`, if there is one; `name`: how to call it. */
export async function explainUses(
  paths: SystemPaths,
  name: string,
  key: Key,
  { isSwap, heldBelow, loops: [loop] }: Uses,
): Promise<Use | undefined> {
  if (isSwap) return { what: `${name} is used as swap space`, remedy: "see swapoff(8)" };
  if (heldBelow !== undefined) return { what: heldBelow, remedy: undefined };
  if (loop?.backing === undefined) return undefined;
  if (numbersOfKey(loop.backing.key) !== undefined) {
    const [held] = await overlapping(paths, loop.backing.key);
    return { what: `${held?.path ?? name} is held by ${loop.path}`, remedy: undefined };
  }
  const isOver = loop.backing.key === key;
  const what = `${name} ${isOver ? "is attached as" : "shares bytes with"} ${loop.path}`;
  const found = await mountedOn(paths, await overlapping(paths, loop.key));
  if (found === undefined) return { what, remedy: `detach it first (losetup -d ${loop.path})` };
  return {
    what: `${what}, which is mounted at ${shellWord(found.mount.mountPoint)}`,
    remedy: "unmount and detach it first",
  };
}

/**
 * What may write to a file or device while it is read: file systems mounted for writing, swap, loop devices that
 * are not read-only. As phrases: "is mounted at /mnt". Never rejects.
 */
export async function writersOf(system: System, key: Key): Promise<readonly string[]> {
  const { loops, isSwap } = await usesOf(system, key);
  const writers = loops
    .filter(({ readOnly }) => !readOnly)
    .map(({ path }) => `is attached for writing as ${path}`);
  if (isSwap) writers.push("is used as swap space");
  const nodes = await overlapping(system, key);
  const found = await mountedOn(system, nodes, ({ writes }) => writes);
  if (found !== undefined) writers.push(`is mounted for writing at ${found.mount.mountPoint}`);
  if ((await swappedTo(system, nodes)) !== undefined) writers.push("is used as swap space");
  return writers;
}
