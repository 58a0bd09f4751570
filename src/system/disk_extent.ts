// Where the bytes of a file or device are stored, so that two names of the same bytes are recognised: a partition
// and its disk, a loop device and the file or disk behind it. Other systems than Linux, and devices built in other
// ways (device mapper, RAID), count as media of their own.

import { join } from "node:path";
import { behindLoop, diskKey, type Key, numbersOfKey, type System } from "./loop_devices.ts";
import {
  bytesIn,
  type DeviceNode,
  deviceNodes,
  directoryOf,
  numbersOf,
  partitionsOf,
  type SystemPaths,
  wholeOf,
} from "./sysfs.ts";

export interface Extent {
  /** Identifies the medium: a key, or the ring of a simulated device, which has no key. */
  readonly medium: unknown;
  /** Position of the first byte on it. */
  readonly start: number;
}

/** Limit for loop devices over loop devices. */
const DEPTH_MAX = 8;

/** Where a file or device is stored, down to the bottom of the stack. */
export interface Placement extends Extent {
  readonly medium: Key;
  /** Infinity if unknown. */
  readonly bytes: number;
  /** Its own key; for a partition, also that of its disk. */
  readonly own: readonly Key[];
  /** The keys below it, if it is a loop device or a partition of one, from top to bottom. */
  readonly below: readonly Key[];
}

/** Never fails: what the system does not describe counts as a medium of its own. */
export async function placementOf(system: System, key: Key, depth = 0): Promise<Placement> {
  const nowhere = { medium: key, start: 0, bytes: Infinity, own: [key], below: [] };
  const numbers = numbersOfKey(key);
  const directory = numbers === undefined ? null : await directoryOf(system, numbers);
  if (directory === null) return nowhere;
  const whole = await wholeOf(directory);
  const disk = whole === directory ? key : diskKey((await numbersOf(whole)) ?? "");
  const start = whole === directory ? 0 : ((await bytesIn(join(directory, "start"))) ?? 0);
  const bytes = (await bytesIn(join(directory, "size"))) ?? Infinity;
  const own = [...new Set([key, disk])];
  const behind = depth < DEPTH_MAX ? await behindLoop(system, whole) : undefined;
  if (behind === undefined) return { medium: disk, start, bytes, own, below: [] };
  const lower = await placementOf(system, behind.key, depth + 1);
  return {
    medium: lower.medium,
    start: lower.start + behind.offset + start,
    ...{ bytes, own },
    below: [...lower.own, ...lower.below],
  };
}

/** The device and what overlaps it, its partitions or its disk: who holds the one holds the other. None for a file. */
export async function overlapping(paths: SystemPaths, key: Key): Promise<readonly DeviceNode[]> {
  const numbers = numbersOfKey(key);
  const directory = numbers === undefined ? null : await directoryOf(paths, numbers);
  if (directory === null) return [];
  const whole = await wholeOf(directory);
  const others = whole === directory ? await partitionsOf(whole) : [whole];
  return deviceNodes(paths, [directory, ...others]);
}
