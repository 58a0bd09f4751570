// Where the bytes of a file or device really lie, so that `copy` sees when two names mean the same ones: a
// partition and its disk, a loop device and the file or disk behind it. Elsewhere than on Linux, and of what is
// built in other ways (device mapper, RAID), a device counts as a medium of its own.

import { join } from "node:path";
import type { File } from "./file.ts";
import { type AskLoop, askOn, behindLoop, diskKey, keyOfFd } from "./loops.ts";
import { coreOf } from "./ring.ts";
import {
  deviceNumbers,
  directoryOf,
  numberOf,
  numbersOf,
  SYSTEM_PATHS,
  type SystemPaths,
  wholeOf,
} from "./sysfs.ts";

export interface Extent {
  /** Tells one medium from another: a key, or the ring of a simulated device, which has no other. */
  readonly medium: unknown;
  /** Where on it the first byte lies. */
  readonly start: number;
}

/** Bytes of the unit of `start` in sysfs, whatever the sectors of the device. */
const SYSFS_SECTOR = 512;
/** Loop devices over loop devices. */
const DEPTH_MAX = 8;

/** Undefined for what is kept on no medium (/dev/zero, /proc). */
export async function extentOf(file: File): Promise<Extent | undefined> {
  if (file.kind !== "regular" && file.kind !== "disk") return undefined;
  if (file.ring.backend === "simulated") return { medium: file.ring, start: 0 };
  if (file.kind === "regular") return { medium: await keyOfFd(file.fd), start: 0 };
  const { rdev } = await file.stat();
  if (process.platform !== "linux") return { medium: `disk ${rdev}`, start: 0 };
  const { major, minor } = deviceNumbers(rdev);
  return diskExtent(SYSTEM_PATHS, askOn(coreOf(file.ring)), `${major}:${minor}`, 0);
}

/** Never fails: what the system does not tell is a medium of its own. `numbers`: "major:minor". */
async function diskExtent(
  paths: SystemPaths,
  ask: AskLoop,
  numbers: string,
  depth: number,
): Promise<Extent> {
  const [major = 0, minor = 0] = numbers.split(":").map(Number);
  const directory = await directoryOf(paths, major, minor);
  if (directory === null) return { medium: diskKey(numbers), start: 0 };
  const whole = await wholeOf(directory);
  const sectors = whole === directory ? 0 : await numberOf(join(directory, "start"));
  const start = (sectors ?? 0) * SYSFS_SECTOR;
  const behind = depth < DEPTH_MAX ? await behindLoop(ask, whole) : undefined;
  if (behind === undefined) return { medium: diskKey((await numbersOf(whole)) ?? numbers), start };
  const below = /^disk (\d+:\d+)$/.exec(behind.key)?.[1];
  const { medium, start: first } =
    below === undefined
      ? { medium: behind.key, start: 0 }
      : await diskExtent(paths, ask, below, depth + 1);
  return { medium, start: first + behind.offset + start };
}
