// Places that are written to: what must not be overwritten is refused, the rest is opened.

import { access, constants, readlink } from "node:fs/promises";
import { messageOf } from "../common/shown.ts";
import { escapedText } from "../common/text_of_bytes.ts";
import { BlockDevice } from "../device/block_device.ts";
import { IoError } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import { isDeviceFolder } from "../file/open_hints.ts";
import { PathName } from "../file/path.ts";
import { proactorOf, Ring } from "../ring/ring.ts";
import type { BlockDeviceInfo } from "../system/device_info.ts";
import { keyOfFd, type System, systemOf } from "../system/loop_devices.ts";
import { SYSTEM_PATHS } from "../system/sysfs.ts";
import { explainUses, overlappingKeys, usesOf, writersOf } from "../system/uses.ts";
import { refused, usage } from "./exit.ts";
import { wordsOf } from "./hints.ts";
import type { Place } from "./places.ts";
import { folderOf, pathOf, statOf } from "./raw_words.ts";
import { printable, quoted, warn } from "./terminal.ts";

export interface Writing {
  /** For files; disks always are. */
  readonly direct: boolean;
  readonly unmount: boolean;
}

/**
 * Opens for writing. Disks are held exclusively: a mounted or held one is refused, and the disk cannot be mounted
 * until the copy is over.
 */
export async function openTarget(place: Place, writing: Writing): Promise<File> {
  try {
    return await holdingSame(place, await openForWriting(place, writing));
  } catch (error) {
    throw orInUse(error);
  }
}

/** Refuses instead what is in use; any other error as it is. */
export function orInUse(error: unknown): unknown {
  if (!(error instanceof IoError) || !["EBUSY", "ETXTBSY"].includes(error.code)) return error;
  const { text, hint } = wordsOf(error);
  return refused(text, hint);
}

/** Refuses, before the work, a result file (`option`) that cannot be written at its end. */
export async function refuseUnwritable(option: string, path: string): Promise<void> {
  const place = (await statOf(path)) === undefined ? folderOf(path) : path;
  await access(pathOf(place), constants.W_OK).catch((error: unknown) => {
    throw usage(`${option}: ${messageOf(error)}`);
  });
}

function openForWriting(place: Place, { direct, unmount }: Writing): Promise<File> {
  const path = pathOf(place.path);
  if (place.kind === "disk") return BlockDevice.open(path, { write: true, unmount });
  // A file that appeared meanwhile belongs to somebody else.
  return File.open(path, { write: true, createNew: place.kind === "missing", direct });
}

/** Checks that the open file is the one examined before: the name may belong to another file meanwhile. */
async function holdingSame(place: Place, file: File): Promise<File> {
  if (place.kind === "missing" || (await keyOfFd(file.fd)) === place.identity) return file;
  await file.close();
  throw refused(`${printable(place.path)} was replaced by another file during the checks`);
}

/**
 * Refuses places that must not be overwritten, before anything is opened for writing. With `unmount` a disk may be
 * mounted, unless the running system is on it.
 */
export async function refuseUnsafe(
  place: Place,
  { unmount = false }: Partial<Writing> = {},
): Promise<void> {
  const { path, kind, size, device } = place;
  if (kind === "missing") await refuseUnmade(path);
  if (kind !== "regular" && kind !== "disk") return;
  if (device !== undefined) refuseInUse(device, unmount);
  const uses = await usesOf(thisSystem(), place.identity);
  const use = await explainUses(SYSTEM_PATHS, printable(path), place.identity, uses);
  if (use !== undefined)
    throw refused(use.what, use.remedy === undefined ? undefined : sentence(use.remedy));
  if (!uses.isKnown && size > 0) {
    throw refused(
      `cannot tell whether ${printable(path)} is in use: this system does not show ` +
        "which loop devices exist and which files are behind them",
      "Mount /sys (mount -t sysfs sysfs /sys), or at least /proc",
    );
  }
  for (const loop of uses.unknownLoops) {
    warn(`${loop.path} may be using ${printable(path)}: this user may not query it`);
  }
}

/** Refuses a missing path where no file must be created. */
async function refuseUnmade(path: string): Promise<void> {
  using name = new PathName("path", pathOf(path));
  if (await isDeviceFolder(name)) {
    throw refused(
      `there is no device ${printable(path)}`,
      "A file created there would be in memory, not on a disk; bun-aio info lists the devices",
    );
  }
  const link = await readlink(pathOf(path), { encoding: "buffer" }).catch(() => undefined);
  if (link !== undefined) {
    throw refused(
      `${printable(path)} is a link to ${printable(escapedText(link))}, which does not exist`,
      "Name the file itself, or remove the link",
    );
  }
  if ((await statOf(folderOf(path)))?.isDirectory() !== true) {
    throw refused(`there is no directory ${printable(folderOf(path))}`);
  }
}

function sentence(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

function thisSystem(): System {
  return systemOf(proactorOf(Ring.default()));
}

/** Warns that others may write to the source while it is read. */
export async function warnOfWriters(source: Place): Promise<void> {
  if (source.kind !== "regular" && source.kind !== "disk") return;
  for (const writer of await writersOf(thisSystem(), source.identity)) {
    const name = printable(source.path);
    warn(`${name} ${printable(writer)}: its data may change while it is read`);
  }
}

function refuseInUse(device: BlockDeviceInfo, unmount: boolean): void {
  for (const part of [device, ...device.partitions]) {
    const [mount] = part.mounts;
    if (mount !== undefined && (part.system || !unmount)) {
      const place = printable(mount);
      const hint = part.system
        ? "The running system is on it"
        : `Unmount it first: umount ${quoted(mount)}`;
      throw refused(`${part.path} is mounted at ${place}`, hint);
    }
    const [holder] = part.holders;
    if (holder !== undefined)
      throw refused(`${part.path} is held by ${holder}, which is built on it`);
    if (part.system) {
      throw refused(`the running system uses ${part.path}`, "It may be swap space");
    }
  }
}

/** Refuses two names of the same blocks: a disk and a partition of it, an image and a loop device over it. */
export async function refuseShared(source: Place, target: Place): Promise<void> {
  if (source.identity === target.identity || target.kind !== "disk") return;
  for (const [whole, part] of [
    [source, target],
    [target, source],
  ] as const) {
    const name = part.device?.path ?? part.realPath;
    if (whole.device?.partitions.some(({ path }) => path === name) === true) {
      throw refused(`${printable(part.path)} is a partition of ${printable(whole.path)}`);
    }
  }
  const keys = await overlappingKeys(SYSTEM_PATHS, target.identity);
  const { loops } = await usesOf(thisSystem(), source.identity);
  if (!loops.some(({ key }) => keys.includes(key))) return;
  const name = printable(source.path);
  throw refused(`${printable(target.path)} is ${name}, attached as a loop device`);
}
