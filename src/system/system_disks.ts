// The disks that the system runs from.

import { basename, join } from "node:path";
import { isSystemMount, type Mount } from "./mounts.ts";
import {
  backingFile,
  directoryOf,
  diskDirectory,
  namesIn,
  nodeNumbers,
  partitionsOf,
  resolved,
  type SystemPaths,
  wholeOf,
} from "./sysfs.ts";

/** Sysfs directories of the devices below system mounts and swap, down to the disks. */
export async function systemDevices(
  paths: SystemPaths,
  mounts: readonly Mount[],
  swaps: readonly string[],
): Promise<Set<string>> {
  const found = new Set<string>();
  const addWithAllBelow = async (directories: readonly string[]): Promise<void> => {
    for (const directory of directories) {
      if (found.has(directory)) continue;
      found.add(directory);
      const backing = await backingFile(directory);
      const files = backing === null ? [] : await devicesOf(paths, mounts, backing.path);
      const below = [await wholeOf(directory), ...(await slavesOf(directory)), ...files];
      await addWithAllBelow(below);
    }
  };
  for (const mount of mounts) {
    if (isSystemMount(mount.mountPoint)) await addWithAllBelow(await mountedDevices(paths, mount));
  }
  for (const swap of swaps) await addWithAllBelow(await devicesOf(paths, mounts, swap));
  return found;
}

/** The devices that a volume or RAID is built on. */
async function slavesOf(directory: string): Promise<string[]> {
  const folder = join(directory, "slaves");
  const slaves = await Promise.all(
    (await namesIn(folder)).map((name) => resolved(join(folder, name))),
  );
  return slaves.filter((slave) => slave !== null);
}

/** Finds the device by its number, or, where the file system has a number of its own, the devices by its sources. */
async function mountedDevices(paths: SystemPaths, mount: Mount): Promise<string[]> {
  const byNumber = await directoryOf(paths, mount.numbers);
  if (byNumber !== null) return [byNumber];
  const found = await Promise.all(mount.sources.map((source) => nodeDirectory(paths, source)));
  return found.filter((directory) => directory !== null);
}

/** The device at a path, or the devices that hold the file at this path. */
async function devicesOf(
  paths: SystemPaths,
  mounts: readonly Mount[],
  path: string,
): Promise<string[]> {
  const node = await nodeDirectory(paths, path);
  if (node !== null) return [node];
  // A node outside of /dev (mknod(1)).
  const numbers = await nodeNumbers(path);
  const numbered = numbers === null ? null : await directoryOf(paths, numbers);
  if (numbered !== null) return [numbered];
  const above = mounts.filter(({ mountPoint: at }) => path.startsWith(at === "/" ? at : `${at}/`));
  // Of equal mount points the last covers the others.
  const closest = above.sort((a, b) => a.mountPoint.length - b.mountPoint.length).at(-1);
  return closest === undefined ? [] : mountedDevices(paths, closest);
}

/** The sysfs directory of a node under /dev, also by a link to it. */
async function nodeDirectory(paths: SystemPaths, path: string): Promise<string | null> {
  if (!path.startsWith(`${paths.dev}/`)) return null;
  const real = (await resolved(path)) ?? path;
  const name = real.slice(paths.dev.length + 1).replaceAll("/", "!");
  const disk = await diskDirectory(paths, name);
  if (disk !== null) return disk;
  for (const candidate of await namesIn(join(paths.sys, "block"))) {
    if (!name.startsWith(candidate)) continue;
    const whole = await diskDirectory(paths, candidate);
    const parts = whole === null ? [] : await partitionsOf(whole);
    const part = parts.find((directory) => basename(directory) === name);
    if (part !== undefined) return part;
  }
  return null;
}
