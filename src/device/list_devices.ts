// `listBlockDevices`: the disks of this system, and which of them it runs from. Linux: /sys and /proc. FreeBSD: the
// XML of kern.geom.confxml (list_freebsd.ts).

import { basename, join } from "node:path";
import { checkBoolean, checkOptions } from "../common/arguments.ts";
import { naturalOrder } from "../common/natural_order.ts";
import { IoError, systemError } from "../errors/io_error.ts";
import { readFacts } from "../system/device_facts.ts";
import type { BlockDeviceInfo } from "../system/device_info.ts";
import { listFreebsdDevices } from "../system/list_freebsd.ts";
import { MountTable, readMounts, readSwaps } from "../system/mounts.ts";
import {
  backingFile,
  directoryOf,
  diskDirectory,
  diskNames,
  flagOf,
  namesIn,
  nodeOf,
  numbersOf,
  partitionsOf,
  SYSTEM_PATHS,
  type SystemPaths,
  wholeOf,
} from "../system/sysfs.ts";
import { systemDevices } from "../system/system_disks.ts";
import { hasMedium } from "./medium.ts";

/** Which disks to list; by default all. */
export interface ListBlockDevicesOptions {
  /** Only disks whose medium or device is removable; `false`: only others, also where the system does not say. */
  removable?: boolean | undefined;
  /** Only disks that the system runs from; `false`: only others. */
  system?: boolean | undefined;
  /** Only devices over files: loop devices, and on FreeBSD md(4); `false`: only others. */
  loop?: boolean | undefined;
}

const FILTERS = ["removable", "system", "loop"] as const;

/**
 * The disks of this system with their partitions, sorted by path. Devices without a medium are listed only if they
 * are removable. Needs no privileges, but serial numbers may be hidden without, and `hasMedium` of an optical drive is
 * null for those who may not open it: it is asked, through the default ring. Options choose among the disks:
 * `{ system: false, loop: false }` are those to offer for writing.
 *
 * Rejects with ENOTSUP on systems other than Linux and FreeBSD, and with ENOENT or EACCES where /sys or /proc is
 * missing, as in some sandboxes: a list made without them would show devices as unused that are in use.
 *
 * @example
 * ```ts
 * import { listBlockDevices } from "bun-aio";
 *
 * for (const { path, size, model, allMounts } of await listBlockDevices({ system: false, loop: false }))
 *   console.log(path, size, model ?? "", ...allMounts);
 * ```
 */
export async function listBlockDevices(
  options: ListBlockDevicesOptions = {},
): Promise<BlockDeviceInfo[]> {
  checkOptions("listBlockDevices", options, FILTERS);
  const wanted = FILTERS.map((name) => {
    const value = options[name];
    return value === undefined ? undefined : checkBoolean(`options.${name}`, value);
  });
  const facts = (device: BlockDeviceInfo): boolean[] => [
    device.removable === true,
    device.system,
    isLoop(device),
  ];
  const found = (await allDevices()).filter(isListed);
  return found.filter((device) =>
    facts(device).every((fact, index) => fact === (wanted[index] ?? fact)),
  );
}

function isLoop({ path }: BlockDeviceInfo): boolean {
  return process.platform === "freebsd" ? /\/md\d+$/.test(path) : /\/loop\d+$/.test(path);
}

/** Whether a device has a medium, or may get one. */
export function isListed({ size, removable, transport }: BlockDeviceInfo): boolean {
  return size > 0 || (removable === true && transport !== null);
}

/** All disks, also those without a medium. `names`: on Linux, only these of /sys/block. */
export async function allDevices(names?: readonly string[]): Promise<BlockDeviceInfo[]> {
  if (process.platform === "linux") return allLinuxDevices(SYSTEM_PATHS, names);
  if (process.platform === "freebsd") return listFreebsdDevices();
  throw new IoError("ENOTSUP", {
    reason: `listing block devices is not supported on ${process.platform}`,
    hint: process.platform === "darwin" ? "See `diskutil list`" : undefined,
  });
}

/**
 * What is listed of one disk or partition: of that with these numbers ("major:minor"), or, where they are not known, of
 * that at `path`.
 */
export async function listedDevice(
  path: string,
  numbers: string | undefined,
): Promise<BlockDeviceInfo | undefined> {
  const directory = numbers === undefined ? null : await directoryOf(SYSTEM_PATHS, numbers);
  const names = directory === null ? undefined : [basename(await wholeOf(directory))];
  const node = directory === null ? path : nodeOf(SYSTEM_PATHS, directory);
  const disks = (await allDevices(names)).filter(isListed);
  return disks.flatMap((disk) => [disk, ...disk.partitions]).find((it) => it.path === node);
}

export async function listLinuxDevices(paths: SystemPaths): Promise<BlockDeviceInfo[]> {
  return (await allLinuxDevices(paths)).filter(isListed);
}

async function allLinuxDevices(
  paths: SystemPaths,
  wanted?: readonly string[],
): Promise<BlockDeviceInfo[]> {
  const mounts = new MountTable(await told(readMounts(paths)));
  const swaps = await told(readSwaps(paths));
  const names = wanted ?? (await told(diskNames(paths)));
  const system = await systemDevices(paths, mounts.all, swaps);
  const listed = await Promise.all(
    names.map(async (name) => {
      const directory = await diskDirectory(paths, name);
      // Hidden: a path to an NVMe disk that has several, which have no nodes.
      if (directory === null || (await flagOf(join(directory, "hidden")))) return undefined;
      const device = await describe({ paths, mounts, system }, directory);
      // Of one that is being removed the facts are mixed.
      return (await diskDirectory(paths, name)) === null ? undefined : device;
    }),
  );
  return listed
    .filter((device) => device !== undefined)
    .sort((a, b) => naturalOrder(a.path, b.path));
}

/** Awaits `answer`, or throws an error that names what is missing. */
async function told<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const errno = "errno" in error && typeof error.errno === "number" ? error.errno : undefined;
    const { code } = systemError(-(errno ?? 0));
    const path = "path" in error && typeof error.path === "string" ? error.path : undefined;
    throw new IoError(code, {
      ...{ errno, syscall: "open", path },
      hint: "Block devices and their use are listed there: mount /sys and /proc",
      cause: error,
    });
  }
}

interface Context {
  readonly paths: SystemPaths;
  readonly mounts: MountTable;
  /** Sysfs directories of the devices that the system runs from. */
  readonly system: ReadonlySet<string>;
}

/** `medium`: whether the disk of a partition has one. */
async function describe(
  context: Context,
  directory: string,
  medium?: boolean | null,
): Promise<BlockDeviceInfo> {
  const { paths, mounts, system } = context;
  const path = nodeOf(paths, directory);
  const [facts, numbers, holders, parts, backing] = await Promise.all([
    readFacts(directory),
    numbersOf(directory),
    namesIn(join(directory, "holders")),
    partitionsOf(directory),
    wholeOf(directory).then(backingFile),
  ]);
  const present = medium ?? (await hasMedium(path, facts));
  const partitions = await Promise.all(parts.map((part) => describe(context, part, present)));
  const here = mounts.of({ numbers, path }).map(({ mountPoint }) => mountPoint);
  return {
    path,
    ...facts,
    size: present === false ? 0 : (facts.size ?? 0),
    hasMedium: present,
    system: system.has(directory),
    mounts: [...new Set(here)],
    allMounts: [...new Set([...here, ...partitions.flatMap((part) => part.allMounts)])],
    holders: holders.map((name) => join(paths.dev, name.replaceAll("!", "/"))),
    backingFile: backing?.text ?? null,
    partitions,
  };
}
