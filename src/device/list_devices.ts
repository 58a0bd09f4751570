// `listBlockDevices`: the disks of this system, and which of them it runs from. Linux: /sys and /proc. FreeBSD: the
// XML of kern.geom.confxml (list_freebsd.ts).

import { realpath } from "node:fs/promises";
import { basename, join } from "node:path";
import { errnoOf, IoError, systemError } from "../errors/io_error.ts";
import type { BlockDeviceInfo } from "../system/device_info.ts";
import { listFreebsdDevices } from "../system/list_freebsd.ts";
import {
  backingFile,
  directoryOf,
  diskDirectory,
  diskNames,
  type Mount,
  namesIn,
  nodeNumbers,
  nodeOf,
  numbersOf,
  partitionsOf,
  readFacts,
  readMounts,
  readSwaps,
  SYSTEM_PATHS,
  type SystemPaths,
  wholeOf,
} from "../system/sysfs.ts";

/**
 * The disks of this system with their partitions, sorted by path. Devices without a medium are listed only if they
 * are removable. Needs no privileges, but serial numbers may be hidden without.
 *
 * Rejects with ENOTSUP on systems other than Linux and FreeBSD, and with ENOENT or EACCES where /sys or /proc is
 * missing, as in some sandboxes: a list made without them would show devices as unused that are in use.
 */
export function listBlockDevices(): Promise<BlockDeviceInfo[]> {
  if (process.platform === "linux") return listLinuxDevices(SYSTEM_PATHS);
  if (process.platform === "freebsd") return listFreebsdDevices();
  const error = new IoError("ENOTSUP", {
    reason: `listing block devices is not supported on ${process.platform}`,
    errno: -errnoOf("ENOTSUP"),
    hint: process.platform === "darwin" ? "See `diskutil list`" : undefined,
  });
  return Promise.reject(error);
}

/** For `listBlockDevices` and its tests. */
export async function listLinuxDevices(paths: SystemPaths): Promise<BlockDeviceInfo[]> {
  const mounts = await told(readMounts(paths));
  const swaps = await told(readSwaps(paths));
  const names = await told(diskNames(paths));
  const context: Context = { paths, mounts, system: await systemDevices(paths, mounts, swaps) };
  const listed = await Promise.all(
    names.map(async (name) => {
      const directory = await diskDirectory(paths, name);
      return directory === null ? undefined : describe(context, directory);
    }),
  );
  return listed
    .filter((device) => device !== undefined)
    .filter(({ size, removable, transport }) => size > 0 || (removable && transport !== null))
    .sort((a, b) => byName(a.path, b.path));
}

/** Awaits `answer`, or throws an error that names what is missing. */
async function told<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const errno = "errno" in error && typeof error.errno === "number" ? error.errno : undefined;
    const { code, reason } = systemError(-(errno ?? 0));
    const path = "path" in error && typeof error.path === "string" ? error.path : undefined;
    throw new IoError(code, {
      ...{ reason, errno, syscall: "open", path },
      hint: "Devices and their use are listed there: mount /sys and /proc",
      cause: error,
    });
  }
}

interface Context {
  readonly paths: SystemPaths;
  readonly mounts: readonly Mount[];
  /** Sysfs directories of the devices that the system runs from. */
  readonly system: ReadonlySet<string>;
}

const collator = new Intl.Collator("en", { numeric: true });

function byName(a: string, b: string): number {
  return collator.compare(a, b);
}

async function describe(context: Context, directory: string): Promise<BlockDeviceInfo> {
  const { paths, mounts, system } = context;
  const path = nodeOf(paths, directory);
  const [{ size, ...facts }, numbers, holders, parts, backing] = await Promise.all([
    readFacts(directory),
    numbersOf(directory),
    namesIn(join(directory, "holders")),
    partitionsOf(directory),
    wholeOf(directory).then(backingFile),
  ]);
  const here = mounts.filter((mount) => mount.numbers === numbers || mount.source === path);
  return {
    path,
    size: size ?? 0,
    ...facts,
    system: system.has(directory),
    mounts: [...new Set(here.map(({ mountPoint }) => mountPoint))],
    holders: holders.map((name) => join(paths.dev, name.replaceAll("!", "/"))),
    backingFile: backing?.text ?? null,
    partitions: await Promise.all(parts.map((part) => describe(context, part))),
  };
}

// The devices that the system runs from --------------------------------------------------------------------------------

/** Directories of the devices below `/`, `/boot`, the EFI partition and swap, down to the disks. */
async function systemDevices(
  paths: SystemPaths,
  mounts: readonly Mount[],
  swaps: readonly string[],
): Promise<Set<string>> {
  const found = new Set<string>();
  for (const mount of mounts) {
    if (!isSystemMount(mount.mountPoint)) continue;
    await descend(paths, mounts, await mountedDevice(paths, mount), found);
  }
  for (const swap of swaps)
    await descend(paths, mounts, await deviceOf(paths, mounts, swap), found);
  return found;
}

function isSystemMount(mountPoint: string): boolean {
  return ["/", "/boot", "/efi", "/usr"].includes(mountPoint) || mountPoint.startsWith("/boot/");
}

/**
 * Finds the device by its number. btrfs and others mount under numbers of their own: there only the source names
 * the device.
 */
async function mountedDevice(paths: SystemPaths, mount: Mount): Promise<string | null> {
  const [major, minor] = mount.numbers.split(":").map(Number);
  const byNumber =
    major === undefined || minor === undefined ? null : await directoryOf(paths, major, minor);
  return byNumber ?? nodeDirectory(paths, mount.source);
}

/** The device at a path, or the device that holds the file at this path. */
async function deviceOf(
  paths: SystemPaths,
  mounts: readonly Mount[],
  path: string,
): Promise<string | null> {
  const node = (await nodeDirectory(paths, path)) ?? (await numberedDirectory(paths, path));
  if (node !== null) return node;
  let closest: Mount | undefined;
  for (const mount of mounts) {
    const prefix = mount.mountPoint === "/" ? "/" : `${mount.mountPoint}/`;
    if (!path.startsWith(prefix)) continue;
    // Of equal mount points the last covers the others.
    if (closest === undefined || mount.mountPoint.length >= closest.mountPoint.length) {
      closest = mount;
    }
  }
  return closest === undefined ? null : mountedDevice(paths, closest);
}

/** The sysfs directory of a device node outside of /dev (mknod(1)). */
async function numberedDirectory(paths: SystemPaths, path: string): Promise<string | null> {
  const [major, minor] = (await nodeNumbers(path))?.split(":").map(Number) ?? [];
  return major === undefined || minor === undefined ? null : directoryOf(paths, major, minor);
}

/** The sysfs directory of a node under /dev, also by a link to it. */
async function nodeDirectory(paths: SystemPaths, path: string): Promise<string | null> {
  if (!path.startsWith(`${paths.dev}/`)) return null;
  const real = await realpath(path).catch(() => path);
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

/** Adds a device and everything below it. */
async function descend(
  paths: SystemPaths,
  mounts: readonly Mount[],
  directory: string | null,
  found: Set<string>,
): Promise<void> {
  if (directory === null || found.has(directory)) return;
  found.add(directory);
  await descend(paths, mounts, await wholeOf(directory), found);
  for (const name of await namesIn(join(directory, "slaves"))) {
    const below = await realpath(join(directory, "slaves", name)).catch(() => null);
    await descend(paths, mounts, below, found);
  }
  const backing = await backingFile(directory);
  if (backing === null) return;
  await descend(paths, mounts, await deviceOf(paths, mounts, backing.path), found);
}
