// What Linux reports of block devices in /sys and /proc (Documentation/ABI/stable/sysfs-block). All reads are
// asynchronous: sysfs may wait for a device. The roots are parameters, so that tests can use a tree of their own.

import { readdir, readFile, realpath, stat, statfs } from "node:fs/promises";
import { constants } from "node:os";
import { basename, dirname, join } from "node:path";
import { bytesOfText, escapedText } from "../common/text_of_bytes.ts";

export interface SystemPaths {
  readonly sys: string;
  readonly proc: string;
  readonly dev: string;
}

export const SYSTEM_PATHS: SystemPaths = { sys: "/sys", proc: "/proc", dev: "/dev" };

/** The text of a small file without surrounding blanks; null if it cannot be read or is empty. */
export async function textOf(path: string): Promise<string | null> {
  const text = await readFile(path, "utf8").catch(() => "");
  return text.replaceAll("\0", "").trim() || null;
}

/** The number that a small file holds; null if there is none. */
export async function numberOf(path: string): Promise<number | null> {
  const number = Number((await textOf(path)) ?? Number.NaN);
  return Number.isFinite(number) ? number : null;
}

/** Bytes, of a file that holds sectors: always of 512 bytes, whatever those of the device have. */
export async function bytesIn(path: string): Promise<number | null> {
  const sectors = await numberOf(path);
  return sectors === null ? null : sectors * 512;
}

export async function flagOf(path: string): Promise<boolean | null> {
  const number = await numberOf(path);
  return number === null ? null : number !== 0;
}

/** Names in a directory, sorted; empty if there is no such directory. */
export async function namesIn(path: string): Promise<string[]> {
  return (await readdir(path).catch(() => [])).sort();
}

/** linux/magic.h */
const SYSFS_MAGIC = 0x62656572;

/**
 * Names of all disks. Rejects if the system does not tell: container runtimes hide folders behind empty ones, and
 * files behind /dev/null (maskedPaths of the OCI runtime specification).
 */
export async function diskNames(paths: SystemPaths): Promise<string[]> {
  const path = join(paths.sys, "block");
  const names = await readdir(path);
  if (names.length > 0 || (await statfs(path)).type === SYSFS_MAGIC) return names;
  throw hidden(path);
}

/** Names of all disks and partitions that have a size, from /proc. Rejects as `diskNames` does. */
export async function partitionNames(paths: SystemPaths): Promise<string[]> {
  const lines = await linesOf(join(paths.proc, "partitions"));
  return lines.map((line) => line.trim().split(/\s+/)[3] ?? "");
}

/** The lines of a /proc file. Rejects if there is none. */
export async function linesOf(path: string): Promise<string[]> {
  const text = escapedText(await readFile(path));
  if (text === "") throw hidden(path);
  return text.split("\n");
}

function hidden(path: string): Error {
  const error = new Error(`${path} is empty`);
  return Object.assign(error, { code: "ENOENT", errno: -constants.errno.ENOENT, path });
}

/** The sysfs directory of the device "major:minor", with links resolved. */
export function directoryOf(paths: SystemPaths, numbers: string): Promise<string | null> {
  return resolved(join(paths.sys, "dev", "block", numbers));
}

export function diskDirectory(paths: SystemPaths, name: string): Promise<string | null> {
  return resolved(join(paths.sys, "block", name));
}

export function resolved(path: string): Promise<string | null> {
  return realpath(path).catch(() => null);
}

/** The disk of the partition in `directory`; `directory` itself if it is a whole disk. */
export async function wholeOf(directory: string): Promise<string> {
  return (await textOf(join(directory, "partition"))) === null ? directory : dirname(directory);
}

export async function partitionsOf(disk: string): Promise<string[]> {
  const found: { number: number; directory: string }[] = [];
  for (const name of await namesIn(disk)) {
    // Named after it (disk_name() in block/genhd.c): "sda1", "nvme0n1p1".
    if (!name.startsWith(basename(disk))) continue;
    const directory = join(disk, name);
    const number = await numberOf(join(directory, "partition"));
    if (number !== null) found.push({ number, directory });
  }
  return found.sort((a, b) => a.number - b.number).map(({ directory }) => directory);
}

/** Path under /dev of a device ("!" stands for "/" in sysfs). */
export function nodeOf(paths: SystemPaths, directory: string): string {
  return join(paths.dev, basename(directory).replaceAll("!", "/"));
}

/** "major:minor" */
export function numbersOf(directory: string): Promise<string | null> {
  return textOf(join(directory, "dev"));
}

/** A device in its directory of sysfs. */
export interface DeviceNode {
  readonly directory: string;
  /** Under /dev. */
  readonly path: string;
  /** "major:minor" */
  readonly numbers: string | null;
}

export function deviceNodes(
  paths: SystemPaths,
  directories: readonly string[],
): Promise<readonly DeviceNode[]> {
  const nodes = directories.map(async (directory) => {
    return { directory, path: nodeOf(paths, directory), numbers: await numbersOf(directory) };
  });
  return Promise.all(nodes);
}

/** "major:minor" of how Linux encodes them in st_rdev (makedev(3)). */
export function numbersText(rdev: number | bigint): string {
  const number = BigInt(rdev);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & ~0xfffn);
  const minor = (number & 0xffn) | ((number >> 12n) & ~0xffn & 0xffff_ffffn);
  return `${major}:${minor}`;
}

/** "major:minor" of a block device node, wherever it is; null for everything else. */
export async function nodeNumbers(path: string): Promise<string | null> {
  const found = await stat(bytesOfText(path)).catch(() => undefined);
  return found?.isBlockDevice() === true ? numbersText(found.rdev) : null;
}

// Loop backing -------------------------------------------------------------------------------------------

const DELETED = " (deleted)";

export interface BackingFile {
  /** As the kernel shows it, with " (deleted)" appended when the name is gone. */
  readonly text: string;
  readonly path: string;
  /** The same as bytes: it may not be UTF-8. */
  readonly bytes: Buffer;
  readonly exists: boolean;
}

/** The file behind the loop device of a sysfs directory; null for other devices, and while nothing is attached. */
export async function backingFile(directory: string): Promise<BackingFile | null> {
  const read = await readFile(join(directory, "loop", "backing_file")).catch(() => undefined);
  if (read === undefined || read.byteLength < 2) return null;
  // One line; the name itself may end with blanks.
  const line = read.subarray(0, read.at(-1) === 0x0a ? -1 : undefined);
  const text = escapedText(line);
  const exists = !text.endsWith(DELETED);
  const bytes = exists ? line : line.subarray(0, -DELETED.length);
  return { text, path: bytes.toString(), bytes, exists };
}
