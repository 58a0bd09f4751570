// Explains why a path could not be opened, by examining what is there. Advises nothing that was not asked for (to
// create the file, for example). Never fails: without information there is no hint.

import type { Stats } from "node:fs";
import { readFile, readlink, realpath, stat } from "node:fs/promises";
import { textOf } from "../common/text_of_bytes.ts";
import { hinted, IoError } from "../errors/io_error.ts";
import { OpenFlag, Refusal } from "../native/abi.gen.ts";
import { busyHint } from "../system/holders.ts";
import type { System } from "../system/loop_devices.ts";
import type { PathName } from "./path.ts";

/** The request that failed. */
export interface Asked {
  /** The class that opened. */
  readonly as: "file" | "device";
  /** Bits of `OpenFlag`. */
  readonly flags: number;
  /** Bits of `Refusal`. */
  readonly refusal: number;
  readonly system: System;
}

/** The error of an `open`, with a hint for the caller. */
export async function explainRefusal(
  error: unknown,
  name: PathName,
  asked: Asked,
): Promise<unknown> {
  if (!(error instanceof IoError) || error.syscall !== "open") return error;
  try {
    return hinted(error, await explain(error, name, asked));
  } catch {
    return error;
  }
}

async function explain(error: IoError, name: PathName, asked: Asked): Promise<string | undefined> {
  const isDevice = asked.as === "device";
  switch (error.code) {
    case "ENOENT":
      return missing(name, asked);
    case "ENOTDIR":
      return `${await lastFolder(name)} is not a directory`;
    case "EISDIR":
      return (await look(stat(name.place))) === undefined
        ? "A path that ends with / names a directory; to create a file, leave out the /"
        : error.hint;
    case "EACCES":
      return forbidden(name, asked);
    case "EPERM":
      return notPermitted(name, asked);
    case "EINVAL":
      return (asked.flags & OpenFlag.direct) === 0 ? undefined : error.hint;
    case "EBUSY":
      return (await busyHint(name.place, asked.system)) ?? error.hint;
    case "EROFS":
      return isDevice
        ? "The device or its file system is read-only: open it without { write: true }"
        : error.hint;
    case "ENXIO":
    case "ENODEV":
      return "There is no device behind this name: it was removed, or its driver is not loaded";
    default:
      return error.hint;
  }
}

/** Undefined if it does not exist or cannot be seen. */
function look(asking: Promise<Stats>): Promise<Stats | undefined> {
  return asking.catch(() => undefined);
}

// ENOENT ------------------------------------------------------------------------------------------------

async function missing(name: PathName, asked: Asked): Promise<string | undefined> {
  const link = await danglingLink(name.place, name.text);
  if (link !== undefined) return link;
  if (name.text.includes("\ufffd")) {
    return "The path holds U+FFFD, which stands for bytes that are not UTF-8: pass those bytes as a Uint8Array";
  }
  if (await isDeviceFolder(name)) return NO_DEVICE;
  const parent = parentOf(name.place);
  if ((await look(stat(parent))) === undefined) return missingFolder(name);
  const { create, createNew, write } = OpenFlag;
  if ((asked.flags & write) === 0 || (asked.flags & (create | createNew)) !== 0) return undefined;
  if (asked.as === "file") return "To make a new file, pass { write: true, create: true }";
  return "To make a new image, pass { write: true, create: true }, and give it a size with truncate";
}

const NO_DEVICE = "There is no such device; listBlockDevices() lists the devices";

/** The error for a missing device, where a file must not be created in its place. */
export function noDevice(name: PathName): IoError {
  return new IoError("ENOENT", { syscall: "open", path: name.text, hint: NO_DEVICE });
}

/**
 * Whether a missing path is in the folder of devices. Not /dev/shm, which is for files, nor anything else mounted
 * below /dev.
 */
export async function isDeviceFolder(name: PathName): Promise<boolean> {
  try {
    if ((await look(stat(name.place))) !== undefined) return false;
    // For a dangling link its target counts.
    const end = await linkEnd(name.place);
    const parent = await nearestFolder(end);
    if (!/^\/dev(\/|$)/.test(parent) || /^\/dev\/shm(\/|$)/.test(parent)) return false;
    const [folder, devices] = await Promise.all([stat(parent), stat("/dev")]);
    return folder.dev === devices.dev;
  } catch {
    return false;
  }
}

const LINKS_MAX = 40;

/** The target of the last link of a chain. */
async function linkEnd(path: Buffer): Promise<Buffer> {
  let end = path;
  for (let links = 0; links < LINKS_MAX; links++) {
    const target = await readlink(end, { encoding: "buffer" }).catch(() => undefined);
    if (target === undefined) return end;
    end = target[0] === SLASH ? target : Buffer.concat([parentOf(end), SLASHES, target]);
  }
  return end;
}

/** The nearest existing folder above `path`, with links resolved. */
async function nearestFolder(path: Buffer): Promise<string> {
  for (let folder = parentOf(path); ; folder = parentOf(folder)) {
    const found = await realpath(folder).catch(() => undefined);
    if (found !== undefined) return found;
    if (folder.equals(parentOf(folder))) return "/";
  }
}

async function danglingLink(path: Buffer, text: string): Promise<string | undefined> {
  const target = await readlink(path, { encoding: "buffer" }).catch(() => undefined);
  if (target === undefined) return undefined;
  return `'${text}' is a link to '${textOf(target)}', which does not exist`;
}

/** The first folder of the path that does not exist. */
async function missingFolder(name: PathName): Promise<string> {
  let missing = parentOf(name.place);
  for (let above = parentOf(missing); !above.equals(missing); above = parentOf(above)) {
    if ((await look(stat(above))) !== undefined) break;
    missing = above;
  }
  const shown = name.shown(missing);
  return (await danglingLink(missing, shown)) ?? `There is no directory '${shown}'`;
}

const SLASH = 0x2f;
const SLASHES = Buffer.from("/");

/** The part before the last "/"; "." or "/" if that is empty. */
function parentOf(path: Buffer): Buffer {
  let end = path.byteLength;
  while (end > 1 && path[end - 1] === SLASH) end--;
  const at = path.lastIndexOf(SLASH, end - 1);
  if (at < 0) return Buffer.from(".");
  let length = at;
  while (length > 1 && path[length - 1] === SLASH) length--;
  return path.subarray(0, Math.max(1, length));
}

/** The part of the path that is a file where a folder is needed. */
async function lastFolder(name: PathName): Promise<string> {
  let path = name.place;
  for (let above = parentOf(path); !above.equals(path); above = parentOf(above)) {
    path = above;
    const found = await look(stat(path));
    if (found !== undefined)
      return found.isDirectory() ? "Part of the path" : `'${name.shown(path)}'`;
  }
  return "Part of the path";
}

// EACCES, EPERM -----------------------------------------------------------------------------------------

async function forbidden(name: PathName, asked: Asked): Promise<string> {
  const found = await stat(name.place).catch((error: unknown) => error);
  const user = await userName();
  if (found instanceof Error) {
    if ("code" in found && found.code === "ENOENT") {
      return `${user} may not create files in '${name.shown(parentOf(name.place))}'`;
    }
    return `${user} may not enter a directory in the path`;
  }
  if (isDeviceNode(found as Stats)) {
    const readOnly = asked.as === "device" ? ", or the device is read-only" : "";
    return `${user} may not open it${readOnly}; block devices usually need root or the group \`disk\``;
  }
  const ways = (asked.flags & OpenFlag.write) === 0 ? "read" : "write";
  return `${user} may not ${ways} it: see its mode and owner (ls -l)`;
}

/**
 * The name of the user that the kernel sees: userInfo() of Bun returns $USER, which `setpriv` and `su` may leave
 * unchanged.
 */
async function userName(): Promise<string> {
  const id = process.geteuid?.();
  if (id === undefined) return "The user";
  const lines = await readFile("/etc/passwd", "utf8").catch(() => "");
  // passwd(5)
  const line = lines.split("\n").find((text) => text.split(":")[2] === String(id));
  return `The user ${line?.split(":")[0] ?? id}`;
}

function isDeviceNode(found: Stats | undefined): boolean {
  return found?.isBlockDevice() === true || found?.isCharacterDevice() === true;
}

async function notPermitted(name: PathName, asked: Asked): Promise<string> {
  const { immutable, appendOnly, verity, directory } = Refusal;
  const isFolder = (asked.refusal & directory) !== 0;
  const word = name.word(isFolder ? parentOf(name.place) : name.place);
  const what = isFolder ? `The directory ${word}` : "The file";
  const [plus, minus] =
    process.platform === "linux" ? ["chattr +", "chattr -"] : ["chflags ", "chflags no"];
  const flags = process.platform === "linux" ? ["i", "a"] : ["uchg,schg", "uappnd,sappnd"];
  if ((asked.refusal & immutable) !== 0) {
    return `${what} is marked immutable (${plus}${flags[0]}), even for root; \`${minus}${flags[0]} ${word}\` undoes that`;
  }
  if ((asked.refusal & appendOnly) !== 0) {
    const only = isFolder ? "append-only" : "append-only: it cannot be written at positions";
    return `${what} is marked ${only} (${plus}${flags[1]}); \`${minus}${flags[1]} ${word}\` undoes that`;
  }
  if ((asked.refusal & verity) !== 0) return "The file is sealed by fs-verity: it can only be read";
  const found = await look(stat(name.place));
  // Some kernels refuse writing to mounted disks with this error; FreeBSD always does.
  if (isDeviceNode(found)) {
    return (
      (await busyHint(name.place, asked.system)) ??
      "The system forbids it to this user or container, or the device is read-only"
    );
  }
  return "The system forbids it to this user or container, whatever the file's mode says";
}
