// Who holds a block device that the kernel reports as busy: a mount, a swap area, a device built on it, a loop
// device, another process. Never fails: without information there is no answer.

import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { shellWord } from "../common/shell_word.ts";
import { bytesOfText } from "../common/text_of_bytes.ts";
import type { BlockDeviceInfo } from "./device_info.ts";
import { type Placement, placementOf } from "./disk_extent.ts";
import { listFreebsdDevices } from "./list_freebsd.ts";
import {
  type AskLoop,
  attachedLoops,
  diskKey,
  type Key,
  keyOfPath,
  type Loop,
  numbersOfKey,
} from "./loop_devices.ts";
import { type Mount, MountTable, readMounts, readSwaps } from "./mounts.ts";
import { mountedElsewhere, openedBy } from "./processes.ts";
import {
  directoryOf,
  namesIn,
  nodeNumbers,
  nodeOf,
  nodePath,
  numbersOf,
  numbersText,
  partitionsOf,
  SYSTEM_PATHS,
  type SystemPaths,
  textOf,
  wholeOf,
} from "./sysfs.ts";

/** A sentence that names the holder of the device at `path`, or undefined. */
export async function busyHint(path: string | Buffer, ask: AskLoop): Promise<string | undefined> {
  try {
    if (process.platform === "freebsd")
      return explainListed(await listFreebsdDevices(), String(path));
    if (process.platform !== "linux") return undefined;
    return await explainBusy(SYSTEM_PATHS, numbersText((await stat(path)).rdev), ask);
  } catch {
    return undefined;
  }
}

/** Uses of a file or device that the kernel does not count as holding it. */
export interface Uses {
  /** Loop devices over any byte of it, those directly over it first. */
  readonly loops: readonly Loop[];
  /** Loop devices whose backing is unknown. */
  readonly unknownLoops: readonly Loop[];
  /** False if the system does not tell which loop devices exist, what backs them, or what overlaps what. */
  readonly isKnown: boolean;
  /** A swap file, or a loop device over one. */
  readonly isSwap: boolean;
  /** A sentence about who holds the disk below this loop device. */
  readonly heldBelow: string | undefined;
}

/** Other systems have no loop devices. */
const UNUSED: Uses = {
  loops: [],
  unknownLoops: [],
  isKnown: true,
  isSwap: false,
  heldBelow: undefined,
};

/**
 * Uses that the kernel does not protect from writes: it claims a loop device, but not its backing (loop_configure()
 * in drivers/block/loop.c), and refuses writes to a swap file only when they are made.
 */
export async function usesOf(paths: SystemPaths, key: Key, ask: AskLoop): Promise<Uses> {
  if (process.platform !== "linux") return UNUSED;
  const [place, attached] = await Promise.all([
    placementOf(paths, ask, key),
    attachedLoops(paths, ask),
  ]);
  const loops: Loop[] = [];
  for (const loop of attached ?? []) {
    if (await overlaps(paths, ask, loop, place)) loops.push(loop);
  }
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
    isSwap: await isSwapFile(paths, place.medium),
    heldBelow: await heldBelow(paths, place),
  };
}

/** Whether the backing is unknown: neither the driver nor sysfs tells. */
function isUntold({ backing, bytes }: Loop): boolean {
  return backing === undefined && bytes === Infinity;
}

/** Whether a loop device overlaps `place`, without being below it. */
async function overlaps(
  paths: SystemPaths,
  ask: AskLoop,
  loop: Loop,
  place: Placement,
): Promise<boolean> {
  if (loop.backing === undefined || [...place.own, ...place.below].includes(loop.key)) return false;
  // Also while it has no byte of it: losetup(8) may give it some (--set-capacity).
  if (loop.backing.key === place.own[0]) return true;
  const below = await placementOf(paths, ask, loop.backing.key);
  if (below.medium !== place.medium) return false;
  const start = below.start + loop.backing.offset;
  return start < place.start + place.bytes && place.start < start + loop.bytes;
}

/** The kernel knows who holds a device, but not which loop device writes to it. */
async function heldBelow(paths: SystemPaths, { below }: Placement): Promise<string | undefined> {
  for (const key of below) {
    const directories = await overlappingDirectories(paths, key);
    const held =
      (await mountedAt(paths, directories)) ??
      (await swappedTo(paths, directories)) ??
      (await heldBy(directories));
    if (held !== undefined) return held;
  }
  return undefined;
}

function isDisk(key: Key): boolean {
  return key.startsWith("disk ");
}

/** The device and what overlaps it: its partitions, or its disk. For a file, the file. */
export async function overlappingKeys(paths: SystemPaths, key: Key): Promise<ReadonlySet<Key>> {
  const keys = new Set([key]);
  for (const directory of await overlappingDirectories(paths, key)) {
    const found = await numbersOf(directory);
    if (found !== null) keys.add(diskKey(found));
  }
  return keys;
}

/** If /proc does not tell, the kernel still refuses writes to it (ETXTBSY). */
async function isSwapFile(paths: SystemPaths, key: Key): Promise<boolean> {
  if (isDisk(key)) return false;
  const swaps = await readSwaps(paths).catch(() => []);
  return (await Promise.all(swaps.map((path) => keyOfPath(bytesOfText(path))))).includes(key);
}

/** A use, and what to do about it, where known. */
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
  const below = numbersOfKey(loop.backing.key);
  if (below !== undefined) {
    const held = (await nodePath(paths, below)) ?? name;
    return { what: `${held} is held by ${loop.path}`, remedy: undefined };
  }
  const isOver = loop.backing.key === key;
  const what = `${name} ${isOver ? "is attached as" : "shares bytes with"} ${loop.path}`;
  const mount = await mountedOn(paths, await overlappingDirectories(paths, loop.key));
  if (mount === undefined) return { what, remedy: `detach it first (losetup -d ${loop.path})` };
  return {
    what: `${what}, which is mounted at ${shellWord(bytesOfText(mount.entry.mountPoint))}`,
    remedy: "unmount and detach it first",
  };
}

async function overlappingDirectories(paths: SystemPaths, key: Key): Promise<string[]> {
  const numbers = numbersOfKey(key);
  return numbers === undefined ? [] : relativesOf(paths, numbers);
}

/**
 * What may write to a file or device while it is read: file systems mounted for writing, swap, loop devices that
 * are not read-only. As phrases: "is mounted at /mnt". Never rejects.
 */
export async function writersOf(
  paths: SystemPaths,
  key: Key,
  ask: AskLoop,
): Promise<readonly string[]> {
  const { loops, isSwap } = await usesOf(paths, key, ask);
  const writers = loops
    .filter(({ readOnly }) => !readOnly)
    .map(({ path }) => `is attached for writing as ${path}`);
  if (isSwap) writers.push("is used as swap space");
  const relatives = await overlappingDirectories(paths, key);
  const mount = await mountedOn(paths, relatives, (entry) => entry.writes);
  if (mount !== undefined) writers.push(`is mounted for writing at ${mount.entry.mountPoint}`);
  const swap = await swappedTo(paths, relatives);
  if (swap !== undefined) writers.push("is used as swap space");
  return writers;
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
      if (mount !== undefined) return mountedHint(relative.path, mount);
    }
    // A system device without a mount is swap. A disk may be one because of its partitions.
    const swap = relatives.find((it) => it.system && it.partitions.length === 0);
    return swap === undefined ? undefined : `${swap.path} is used as swap space; see swapctl(8)`;
  }
  return undefined;
}

function mountedHint(device: string, mountPoint: string): string {
  // The form that umount(8) takes.
  return `${device} is mounted at ${shellWord(bytesOfText(mountPoint))}; unmount it first`;
}

/** Sysfs directories of the device and of what overlaps it. */
async function relativesOf(paths: SystemPaths, numbers: string): Promise<string[]> {
  const directory = await directoryOf(paths, numbers);
  if (directory === null) return [];
  const whole = await wholeOf(directory);
  // A holder of a partition holds its disk, and vice versa.
  return whole === directory ? [directory, ...(await partitionsOf(whole))] : [directory, whole];
}

/** `numbers`: "major:minor" */
export async function explainBusy(
  paths: SystemPaths,
  numbers: string,
  ask: AskLoop,
): Promise<string | undefined> {
  const relatives = await relativesOf(paths, numbers);
  return (
    (await mountedAt(paths, relatives)) ??
    (await swappedTo(paths, relatives)) ??
    (await heldBy(relatives)) ??
    (await loopedOver(paths, relatives, ask)) ??
    (await mountedOutside(paths, relatives)) ??
    (await openIn(paths, relatives))
  );
}

async function mountedAt(
  paths: SystemPaths,
  relatives: readonly string[],
): Promise<string | undefined> {
  const mount = await mountedOn(paths, relatives);
  if (mount === undefined) return undefined;
  const { directory, entry } = mount;
  return mountedHint(nodeOf(paths, directory), entry.mountPoint);
}

async function mountedOn(
  paths: SystemPaths,
  relatives: readonly string[],
  counts: (entry: Mount) => boolean = () => true,
): Promise<{ readonly directory: string; readonly entry: Mount } | undefined> {
  const mounts = new MountTable((await readMounts(paths).catch(() => [])).filter(counts));
  for (const directory of relatives) {
    const [entry] = mounts.of(await numbersOf(directory), nodeOf(paths, directory));
    if (entry !== undefined) return { directory, entry };
  }
  return undefined;
}

export async function swappedTo(
  paths: SystemPaths,
  relatives: readonly string[],
): Promise<string | undefined> {
  const swaps = new Set<string | null>();
  for (const path of await readSwaps(paths).catch(() => [])) {
    swaps.add((await nodeNumbers(path)) ?? path);
  }
  for (const directory of relatives) {
    const node = nodeOf(paths, directory);
    if (swaps.has(node) || swaps.has((await numbersOf(directory)) ?? node)) {
      return `${node} is used as swap space; see swapoff(8)`;
    }
  }
  return undefined;
}

export async function heldBy(relatives: readonly string[]): Promise<string | undefined> {
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
  ask: AskLoop,
): Promise<string | undefined> {
  const loops = await attachedLoops(paths, ask);
  for (const directory of relatives) {
    const key = diskKey((await numbersOf(directory)) ?? "");
    const loop = loops?.find(({ backing }) => backing?.key === key);
    if (loop !== undefined) return `${nodeOf(paths, directory)} is held by ${loop.path}`;
  }
  return undefined;
}

async function mountedOutside(
  paths: SystemPaths,
  relatives: readonly string[],
): Promise<string | undefined> {
  const mount = await mountedElsewhere(paths, relatives);
  if (mount === undefined) return undefined;
  const { node, pid, seenBy } = mount;
  const place = shellWord(bytesOfText(mount.mountPoint));
  return `${node} is mounted in the mount namespace of ${seenBy}; unmount it there first (nsenter -m -t ${pid} umount ${place})`;
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
