// Resolves a path of the command line: what it stands for. Whether it may be overwritten is in writing.ts.

import { realpath } from "node:fs/promises";
import { escapedText } from "../common/text_of_bytes.ts";
import { BlockDevice } from "../device/block_device.ts";
import { listedDevice } from "../device/list_devices.ts";
import { IoError } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import { knownSize } from "../file/known_size.ts";
import { openFileOf } from "../file/open_file.ts";
import type { BlockDeviceInfo } from "../system/device_info.ts";
import { keyOfFd, keyOfPath, numbersOfKey } from "../system/loop_devices.ts";
import { failure, type Stop, usage } from "./exit.ts";
import { type Role, withoutPositions, wordsOf } from "./hints.ts";
import { absolute, pathOf } from "./raw_words.ts";
import { printable } from "./terminal.ts";
import { formatExactSize, formatSize } from "./units.ts";

export interface Place {
  readonly path: string;
  readonly realPath: string;
  readonly kind: "missing" | "regular" | "disk" | "other";
  /** Size in bytes as the system reports it; 0 if it has none. */
  readonly size: number;
  /** Bytes to its end; undefined if that is known only by reading (knownSize). */
  readonly end: number | undefined;
  /** Identifies the file or device, whatever its names (`Key`); "" if there is none. */
  readonly identity: string;
  /** For disks that the system lists. */
  readonly device: BlockDeviceInfo | undefined;
  readonly why?: string | undefined;
}

/** Rejects with the IoError of opening it, unless it is missing. */
export async function look(path: string, role: Role = "either"): Promise<Place> {
  const realPath = await realpath(pathOf(path), { encoding: "buffer" }).then(
    (bytes) => escapedText(bytes),
    () => path,
  );
  let file: File;
  try {
    file = await File.open(pathOf(path));
  } catch (error) {
    if (error instanceof IoError && error.code === "ENOENT") return missing(path, realPath, error);
    if (error instanceof IoError && error.code === "ESPIPE") {
      throw await withoutPositions(path, role);
    }
    const known = await closedToUs(error, path, realPath);
    if (known === undefined) throw error;
    return known;
  }
  await using _closed = file;
  return await lookAt(file, path, realPath);
}

/** The same for an open file. */
export async function lookAt(file: File, path: string, realPath: string): Promise<Place> {
  const [size, end, identity] = await Promise.all([
    file.size(),
    knownSize(openFileOf(file)),
    keyOfFd(file.fd),
  ]);
  const { kind } = file;
  const known = kind === "regular" || kind === "disk" ? kind : "other";
  const device = kind === "disk" ? await listed(realPath, identity) : undefined;
  return { path, realPath, kind: known, size, end, identity, device };
}

function missing(path: string, realPath: string, error: IoError): Place {
  const nothing = { size: 0, end: undefined, identity: "", device: undefined };
  return { path, realPath, kind: "missing", ...nothing, why: wordsOf(error).hint };
}

export function thereIsNo({ path, why }: Place): Stop {
  return failure(`there is no ${printable(path)}`, why);
}

/** The listed facts of a disk that this user may not open. */
async function closedToUs(
  error: unknown,
  path: string,
  realPath: string,
): Promise<Place | undefined> {
  if (!(error instanceof IoError) || !["EACCES", "EPERM"].includes(error.code)) return undefined;
  const identity = (await keyOfPath(pathOf(path))) ?? "";
  const device = await listed(realPath, identity);
  if (device === undefined) return undefined;
  const { size } = device;
  return { path, realPath, kind: "disk", size, end: size, identity, device };
}

/** What the system lists of a device, if it does. Its node may be anywhere. */
function listed(path: string, identity: string): Promise<BlockDeviceInfo | undefined> {
  return listedDevice(path, numbersOfKey(identity)).catch(() => undefined);
}

/** A file or disk that is there. `what`: for what has neither size nor end. */
export async function lookAtFileOrDisk(path: string): Promise<Place> {
  const place = await look(path);
  if (place.kind === "missing") throw thereIsNo(place);
  if (place.kind === "other") throw neither(place);
  return place;
}

export function neither({ path }: Place, why = ""): Stop {
  return usage(`${printable(path)} is neither a file nor a disk${why}`);
}

/** Opens for reading: disks past the cache, files through it unless `direct` is set. */
export function openForReading(
  place: Place,
  { direct }: { readonly direct?: boolean } = {},
): Promise<File> {
  if (place.kind === "disk") return BlockDevice.open(pathOf(place.path));
  return File.open(pathOf(place.path), { direct });
}

/** Refuses a range that begins or ends past the end, where the size is known. */
export function refuseBeyond(
  { end, path }: Pick<Place, "end" | "path">,
  start: number,
  length: number,
): void {
  if (end === undefined || end === 0 || start + length <= end) return;
  const range = length === 0 ? `begin at ${start}` : `read ${length} bytes from ${start}`;
  throw usage(`${printable(path)} has only ${formatExactSize(end)}: cannot ${range}`);
}

/** The path as typed, with its target if it is a link. */
export function nameOf({ path, realPath }: Pick<Place, "path" | "realPath">): string {
  return absolute(path) === realPath ? path : `${path} -> ${realPath}`;
}

/** "disk, 28.7 GiB, SanDisk Ultra, usb, removable" */
export function describe(place: Place): string {
  const { kind, device, size } = place;
  if (kind === "missing") return "new file";
  if (kind === "regular") return `file, ${formatSize(size)}`;
  if (kind === "other") return "character device";
  return `disk, ${device === undefined ? formatSize(size) : sizeAndTraitsOf({ ...device, size })}`;
}

export function sizeAndTraitsOf(device: BlockDeviceInfo): string {
  return [formatSize(device.size), ...traitsOf(device)].join(", ");
}

export function traitsOf(device: BlockDeviceInfo): string[] {
  const traits: string[] = [];
  if (device.backingFile !== null) traits.push(`loop device over ${printable(device.backingFile)}`);
  if (device.model !== null) traits.push(printable(device.model));
  if (device.serial !== null) traits.push(`serial ${printable(device.serial)}`);
  if (device.transport !== null) traits.push(device.transport);
  if (device.removable === true) traits.push("removable");
  if (device.readOnly === true) traits.push("read-only");
  return traits;
}
