// Where the bytes of a file or device really lie, so that `copy` sees when two names mean the same ones: a
// partition and its disk, a loop device and the file or disk behind it. Elsewhere than on Linux, and of what is
// built in other ways (device mapper, RAID), a device counts as a medium of its own.

import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { File } from "./file.ts";
import {
  backingFile,
  deviceNumbers,
  directoryOf,
  numberOf,
  SYSTEM_PATHS,
  type SystemPaths,
  wholeOf,
} from "./sysfs.ts";

export interface Extent {
  /** Tells one medium from another: a name, or the ring of a simulated device, which has no other. */
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
  const { dev, ino, rdev } = await file.stat();
  if (file.kind === "regular") return { medium: fileName(dev, ino), start: 0 };
  if (process.platform !== "linux") return { medium: `disk ${rdev}`, start: 0 };
  return diskExtent(SYSTEM_PATHS, rdev, 0);
}

/** Never fails: what the system does not tell is a medium of its own. */
export async function diskExtent(paths: SystemPaths, rdev: number, depth: number): Promise<Extent> {
  const { major, minor } = deviceNumbers(rdev);
  const directory = await directoryOf(paths, major, minor);
  if (directory === null) return { medium: `disk ${major}:${minor}`, start: 0 };
  const whole = await wholeOf(directory);
  const sectors = whole === directory ? 0 : await numberOf(join(directory, "start"));
  const start = (sectors ?? 0) * SYSFS_SECTOR;
  const behind = depth < DEPTH_MAX ? await behindLoop(paths, whole, depth) : undefined;
  if (behind === undefined) return { medium: `disk ${whole}`, start };
  return { medium: behind.medium, start: behind.start + start };
}

async function behindLoop(
  paths: SystemPaths,
  directory: string,
  depth: number,
): Promise<Extent | undefined> {
  const backing = await backingFile(directory);
  // Another file may have the name of one that was deleted.
  if (backing?.exists !== true) return undefined;
  const found = await stat(backing.path).catch(() => undefined);
  if (found === undefined) return undefined;
  const offset = (await numberOf(join(directory, "loop", "offset"))) ?? 0;
  const { medium, start } = found.isBlockDevice()
    ? await diskExtent(paths, found.rdev, depth + 1)
    : { medium: fileName(found.dev, found.ino), start: 0 };
  return { medium, start: start + offset };
}

function fileName(dev: number, ino: number): string {
  return `file ${dev} ${ino}`;
}
