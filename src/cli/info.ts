// `bun-aio info`: the backend and why it was chosen, and what is known of all disks or of one path.

import { release } from "node:os";
import { BlockDevice } from "../device/block_device.ts";
import { listBlockDevices } from "../device/list_devices.ts";
import { IoError } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import type { Alignment } from "../ring/file_state.ts";
import { proactorOf, Ring } from "../ring/ring.ts";
import type { BlockDeviceInfo, Geometry } from "../system/device_info.ts";
import { Arguments } from "./arguments.ts";
import { contentsOf } from "./contents.ts";
import { Exit } from "./exit.ts";
import { wordsOf } from "./hints.ts";
import { look, nameOf, openForReading, type Place, thereIsNo, traitsOf } from "./places.ts";
import { pathOf } from "./raw_words.ts";
import { paint, print, printable, table, warn } from "./terminal.ts";
import { formatExactSize, formatSize } from "./units.ts";
import { version } from "./version.ts";

export async function infoCommand(argv: readonly string[]): Promise<number> {
  const args = new Arguments("info", { flags: ["json"] }, argv);
  const [path] = args.operands(["PATH"], 1);
  const system = systemInfo();
  if (path === undefined) {
    const devices = await devicesIfTold();
    if (args.flag("json")) print(JSON.stringify({ ...system, devices: devices ?? null }, null, 2));
    else print(`${shownSystem(system)}\n\n${shownDevices(devices)}`);
    return devices === undefined ? Exit.failed : Exit.done;
  }
  const about = await pathInfo(path);
  if (args.flag("json")) print(JSON.stringify({ ...system, ...about }, null, 2));
  else print(`${shownPath(about)}\n${shownSystem(system)}`);
  return Exit.done;
}

// The backend ------------------------------------------------------------------------------------------

/** Bits of io_uring_setup(2) flags, as the kernel's header names them after IORING_SETUP_. */
const URING_FLAGS: readonly string[] = [
  ...["IOPOLL", "SQPOLL", "SQ_AFF", "CQSIZE", "CLAMP", "ATTACH_WQ", "R_DISABLED", "SUBMIT_ALL"],
  ...["COOP_TASKRUN", "TASKRUN_FLAG", "SQE128", "CQE32", "SINGLE_ISSUER", "DEFER_TASKRUN"],
  ...["NO_MMAP", "REGISTERED_FD_ONLY", "NO_SQARRAY", "HYBRID_IOPOLL"],
];

const POSIX_AIO_FLAGS: readonly string[] = ["VECTORS", "DATA_SYNC"];

export function featureNames(backend: string, bits: number): string[] {
  const names =
    backend === "io_uring" ? URING_FLAGS : backend === "posix_aio" ? POSIX_AIO_FLAGS : [];
  const out: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    if (((bits >>> bit) & 1) === 1) out.push(names[bit] ?? `bit ${bit}`);
  }
  return out;
}

function systemInfo() {
  const ring = Ring.default();
  return {
    version,
    bun: Bun.version,
    system: `${process.platform} ${process.arch}, ${release()}`,
    backend: ring.backend,
    backendReason: ring.backendReason,
    features: featureNames(ring.backend, proactorOf(ring).features),
    queueDepth: ring.queueDepth,
  };
}

function shownSystem(info: ReturnType<typeof systemInfo>): string {
  return labelled([
    ["backend", `${info.backend}  (${info.backendReason})`],
    ["features", info.features.length === 0 ? "none" : info.features.join(" ")],
    ["queue depth", String(info.queueDepth)],
    ["version", `bun-aio ${info.version}, Bun ${info.bun}, ${info.system}`],
  ]);
}

function labelled(rows: readonly (readonly string[])[]): string {
  return table(rows.map(([name = "", value = ""]) => [bold(name), value]));
}

function bold(text: string): string {
  return paint(process.stdout, "bold", text);
}

// All devices ------------------------------------------------------------------------------------------

async function devicesIfTold(): Promise<BlockDeviceInfo[] | undefined> {
  try {
    return await listBlockDevices();
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    warn(`the block devices cannot be listed: ${error.message}`);
    return undefined;
  }
}

function shownDevices(devices: readonly BlockDeviceInfo[] | undefined): string {
  if (devices === undefined) return "block devices: unknown";
  if (devices.length === 0) return "no block devices";
  const head = ["DEVICE", "SIZE", "SECTOR", "TYPE", "MODEL OR FILE", "MOUNTED AT"].map(bold);
  const rows = [head];
  for (const disk of devices) {
    rows.push(deviceRow(disk, disk.path));
    for (const part of disk.partitions) rows.push(deviceRow(part, `  ${part.path}`));
  }
  return table(rows, [1, 2]);
}

function deviceRow(device: BlockDeviceInfo, name: string): string[] {
  const { transport, removable, readOnly, system, holders } = device;
  const type = [
    ...(transport === null ? [] : [transport]),
    ...mediumOf(device),
    ...(removable === true ? ["removable"] : []),
    ...(readOnly === true ? ["read-only"] : []),
    ...(system ? ["system"] : []),
  ].join(" ");
  const used = [...device.mounts.map(printable), ...holders.map((path) => `held by ${path}`)];
  return [
    name,
    formatSize(device.size),
    String(device.logicalSectorSize ?? "?"),
    type,
    printable(device.model ?? device.backingFile ?? ""),
    used.join(", "),
  ];
}

/** For a loop device, `rotational` describes the disk below, if anything. */
function mediumOf({ rotational, backingFile }: BlockDeviceInfo): string[] {
  if (backingFile !== null) return ["loop"];
  return rotational === null ? [] : [rotational ? "hdd" : "ssd"];
}

// One path ---------------------------------------------------------------------------------------------

async function pathInfo(path: string) {
  const place = await look(path);
  if (place.kind === "missing") throw thereIsNo(place);
  const { realPath, kind, size, device = null } = place;
  await using file = kind === "other" ? undefined : await openToLook(place);
  const geometry: Geometry | null = file instanceof BlockDevice ? file.geometry : device;
  const contents = (file && (await contentsOf(file))) ?? null;
  return {
    ...{ path, realPath, kind, size, device },
    // Of direct writes; null where there is no direct I/O.
    directAlignment: file === undefined ? null : await directAlignmentOf(path, file),
    ...{ geometry, contents },
  };
}

/** Undefined, with a warning, if only the list of devices describes it. */
async function openToLook(place: Place): Promise<File | undefined> {
  try {
    return await openForReading(place);
  } catch (error) {
    if (!(error instanceof IoError) || place.device === undefined) throw error;
    warn(wordsOf(error).text);
    return undefined;
  }
}

async function directAlignmentOf(path: string, opened: File): Promise<Alignment | null> {
  if (opened.kind === "disk") return opened.alignment;
  try {
    await using file = await File.open(pathOf(path), { direct: true });
    return file.alignment;
  } catch (error) {
    if (error instanceof IoError) return null;
    throw error;
  }
}

function shownPath(about: Awaited<ReturnType<typeof pathInfo>>): string {
  const { directAlignment: unit, device, geometry } = about;
  const rows = [
    ["path", printable(nameOf(about))],
    ["kind", [about.kind, ...(device === null ? [] : traitsOf(device))].join(", ")],
    ["size", formatExactSize(about.size)],
    ["contents", about.contents ?? "empty or unreadable"],
    [
      "direct I/O",
      unit === null
        ? "not possible here"
        : `memory ${unit.memory}, offset ${unit.offset}, length ${unit.length} bytes`,
    ],
    ...(geometry === null ? [] : geometryRows(geometry)),
    ...(device === null ? [] : useRows(device)),
  ];
  return labelled(rows);
}

function geometryRows(geometry: Geometry): string[][] {
  const size = (bytes: number | null): string => (bytes === null ? "unknown" : formatSize(bytes));
  const flag = (value: boolean | null): string =>
    value === null ? "unknown" : value ? "yes" : "no";
  return [
    ["logical sector", size(geometry.logicalSectorSize)],
    ["physical sector", size(geometry.physicalSectorSize)],
    ["minimum request", size(geometry.minimumIoSize)],
    ["optimal request", size(geometry.optimalIoSize)],
    ["maximum transfer", size(geometry.maximumTransferSize)],
    ["alignment offset", size(geometry.alignmentOffset)],
    ["rotational", flag(geometry.rotational)],
    ["read-only", flag(geometry.readOnly)],
  ];
}

function useRows(device: BlockDeviceInfo): string[][] {
  const list = (items: readonly string[]): string =>
    items.length === 0 ? "none" : items.map(printable).join(", ");
  return [
    ...(device.backingFile === null ? [] : [["loop device over", printable(device.backingFile)]]),
    ["mounted at", list(device.mounts)],
    ["held by", list(device.holders)],
    ["partitions", list(device.partitions.map((it) => `${it.path} ${formatSize(it.size)}`))],
    ["running system", device.system ? "yes: / or /boot or swap is on it" : "no"],
  ];
}
