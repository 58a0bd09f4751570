// Opens block devices and images: held exclusively, past the page cache, after their file systems are unmounted.

import { argumentRange, argumentValue } from "../common/argument_errors.ts";
import { checkBoolean, checkInteger, checkOptions } from "../common/arguments.ts";
import { IoError } from "../errors/io_error.ts";
import { statusError, wholeFile } from "../errors/status.ts";
import { closeState } from "../file/close.ts";
import {
  checkOpen,
  checkRing,
  type FileInit,
  type FromFdOptions,
  OPEN_OPTION_NAMES,
  type OpenOptions,
  openFile,
} from "../file/open.ts";
import { isDeviceFolder, noDevice } from "../file/open_hints.ts";
import { type Path, PathName } from "../file/path.ts";
import * as abi from "../native/abi.gen.ts";
import { now } from "../native/clock.ts";
import type { FileState } from "../ring/file_state.ts";
import type { Proactor } from "../ring/proactor.ts";
import { proactorOf } from "../ring/ring.ts";
import type { Geometry } from "../system/device_info.ts";
import { systemOf } from "../system/loop_devices.ts";
import { explainUses, usesOf } from "../system/uses.ts";
import { imageGeometry, readGeometry, readOnlyError } from "./geometry.ts";
import { busyError, type Target, toldOf, unmountAll } from "./unmount.ts";

/** How a device is opened: exclusively, past the page cache, as an image, after its file systems are unmounted. */
export interface BlockDeviceOptions extends OpenOptions {
  /**
   * Holds the device exclusively, so that it cannot be mounted or opened exclusively meanwhile (O_EXCL, open(2)). A
   * device that is mounted or held is refused with EBUSY. So is, on Linux and under any name: the backing of a loop
   * device (losetup(8), read-only or not), another loop device over the same bytes, and a swap file. Default: true
   * when writing. An image cannot be held: it can still be attached later.
   */
  exclusive?: boolean | undefined;
  /**
   * First unmounts the file systems on the device and on its partitions (umount2(2), never lazily and never by force).
   * Default false. Rejects with EBUSY, and leaves all of them mounted, if the system runs from the device
   * (`BlockDeviceInfo.system`), if a volume, RAID or loop device is built on it or on a file of it (that takes more
   * than unmounting), or if something else is mounted in or over one of them. If one is in use, it rejects with EBUSY
   * and names the processes; what was unmounted before that stays so, and the error says it. `signal` and `timeout`
   * take effect between two of them. Other mount namespaces are not touched: a file system that is mounted in one of
   * them, too, keeps the device busy. Images are not unmounted. Needs root; Linux and FreeBSD.
   */
  unmount?: boolean | undefined;
  /** Images only: bytes of a sector, a power of two from 512 to 65536. Default 512. */
  sectorSize?: number | undefined;
}

/** How a descriptor that is open already becomes a `BlockDevice`. */
export interface BlockDeviceFromFdOptions extends FromFdOptions {
  /** Images only: bytes of a sector, a power of two from 512 to 65536. Default 512. */
  sectorSize?: number | undefined;
}

export interface DeviceInit extends FileInit {
  readonly geometry: Geometry;
}

const SECTOR_BYTES_DEFAULT = 512;
const SECTOR_BYTES_MAX = 65536;
/** A power of two from 512 to 65536. */
export function checkSectorSize(size: unknown): number | undefined {
  if (size === undefined) return undefined;
  const name = "options.sectorSize";
  const checked = checkInteger(name, size, SECTOR_BYTES_DEFAULT, SECTOR_BYTES_MAX);
  if (Number.isInteger(Math.log2(checked))) return checked;
  throw argumentRange(name, `a power of two from 512 to ${SECTOR_BYTES_MAX}`, size);
}

/** Opens what `BlockDevice.open` wraps. */
export async function openInit(path: Path, options: BlockDeviceOptions): Promise<DeviceInit> {
  const known = [...OPEN_OPTION_NAMES, "exclusive", "sectorSize", "unmount"];
  checkOptions("BlockDevice.open", options, known);
  const { exclusive = options.write === true, sectorSize, unmount = false, ...rest } = options;
  const hold = checkBoolean("options.exclusive", exclusive) ? abi.OpenFlag.exclusive : 0;
  const unmounts = checkBoolean("options.unmount", unmount);
  const sector = checkSectorSize(sectorSize);
  using name = new PathName("path", path);
  const proactor = proactorOf(checkRing(rest.ring));
  name.hold(proactor);
  const open = async (given: OpenOptions): Promise<DeviceInit> =>
    examined(await openDevice(name, given, hold), sector);
  return await (unmounts ? openUnmounted({ name, proactor }, rest, open) : open(rest));
}

async function openUnmounted(
  device: Pick<Target, "name" | "proactor">,
  options: OpenOptions,
  open: (options: OpenOptions) => Promise<DeviceInit>,
): Promise<DeviceInit> {
  // Nothing is unmounted for a call that is refused anyway.
  const { scope } = checkOpen(device.name, options, 0);
  const unmounted = await unmountAll({ ...device, scope, writes: options.write === true });
  // What is left of the timeout.
  const deadline = scope?.deadline ?? Infinity;
  const left = deadline === Infinity ? {} : { timeout: Math.max(0, deadline - now()) };
  try {
    return await open({ ...options, ...left });
  } catch (error) {
    throw toldOf(error, unmounted);
  }
}

/** `hold`: the flag that holds the disk, or 0. */
async function openDevice(name: PathName, options: OpenOptions, hold: number): Promise<FileInit> {
  if (options.createNew === true) {
    if (await isDeviceFolder(name)) throw noDevice(name);
    return openOrCached(name, options, 0);
  }
  // A file that may be in use as a disk is emptied only once it is known not to be.
  const empties = hold !== 0 && options.write === true && options.truncate === true;
  const chosen = empties ? { ...options, truncate: false } : options;
  const init = await openOrMake(name, chosen, hold);
  if (hold !== 0) await refuseUsed(init);
  return empties ? emptied(init) : init;
}

async function openOrMake(name: PathName, options: OpenOptions, hold: number): Promise<FileInit> {
  // O_CREAT with O_EXCL would mean "must not exist". So an existing device is opened and held, and a missing image
  // is created, in two steps.
  try {
    return await openOrCached(name, { ...options, create: false }, hold);
  } catch (error) {
    if (options.create !== true || !isOfOpen(error, "ENOENT")) throw error;
  }
  // A file in /dev would be in memory (devtmpfs), and block the name of the disk.
  if (await isDeviceFolder(name)) throw noDevice(name);
  const made = await openOrCached(name, options, 0);
  if (made.state.kind !== abi.FileKind.disk || hold === 0) return made;
  // It appeared meanwhile, and is not held.
  await closeState(proactorOf(made.ring), made.state);
  return openOrMake(name, options, hold);
}

/** Some file systems have no direct I/O: an image there is opened without it, unless `direct` was requested. */
async function openOrCached(
  name: PathName,
  options: OpenOptions,
  flags: number,
): Promise<FileInit> {
  try {
    return await openFile(name, { ...options, direct: options.direct ?? true }, flags, "device");
  } catch (error) {
    if (options.direct !== undefined || !isOfOpen(error, "EINVAL")) throw error;
    const cached = await openFile(name, { ...options, direct: false }, flags, "device");
    if (cached.state.kind !== abi.FileKind.disk) return cached;
    await closeState(proactorOf(cached.ring), cached.state);
    throw error;
  }
}

function isOfOpen(error: unknown, code: string): boolean {
  return error instanceof IoError && error.syscall === "open" && error.code === code;
}

/** Refuses the backing of a loop device, and a swap file: the kernel lets others open them. */
async function refuseUsed({ state, ring }: FileInit): Promise<void> {
  const proactor = proactorOf(ring);
  if (process.platform !== "linux" || proactor.backend === abi.Backend.simulated) return;
  const hint = await proactor
    .holding(state, () => usedHint(proactor, state))
    .catch(() => undefined);
  if (hint === undefined) return;
  await closeState(proactor, state);
  throw busyError("open", state.path, hint);
}

async function usedHint(proactor: Proactor, state: FileState): Promise<string | undefined> {
  if (state.kind !== abi.FileKind.regular && state.kind !== abi.FileKind.disk) return undefined;
  const key = state.identity?.name;
  if (key === undefined) return undefined;
  const system = systemOf(proactor);
  const use = await explainUses(system, "It", key, await usesOf(system, key));
  return use?.remedy === undefined ? use?.what : `${use.what}; ${use.remedy}`;
}

async function emptied(init: FileInit): Promise<FileInit> {
  const { state, ring } = init;
  const proactor = proactorOf(ring);
  // open(2) ignores O_TRUNC for devices.
  if (state.kind !== abi.FileKind.regular) return init;
  const request = { kind: abi.Kind.truncate, fd: state.fd, file: state, offset: 0 };
  const outcome = await proactor.start(request);
  if (outcome.error === undefined && outcome.status === abi.Status.ok) return { ...init, size: 0 };
  await closeState(proactor, state);
  if (outcome.error !== undefined) throw outcome.error;
  const context = { ...wholeFile(abi.Kind.truncate, state), syscall: "open" };
  throw statusError(outcome.status, outcome.errno, context);
}

/** Examines what was opened. If it is no device, closes it, or leaves it to the caller of `fromFd`. */
export async function examined(
  init: FileInit,
  sectorSize: number | undefined,
  options: { readonly adopted?: boolean } = {},
): Promise<DeviceInit> {
  const { state } = init;
  const proactor = proactorOf(init.ring);
  try {
    const geometry = await proactor.holding(state, () => examine(init, sectorSize));
    return { ...init, geometry };
  } catch (error) {
    if (options.adopted === true && state.ownsFd) {
      proactor.forgetFile(state.index);
      state.ownsFd = false;
    }
    await closeState(proactor, state).catch(() => {
      // The reason it is refused says more.
    });
    throw error;
  }
}

async function examine(init: FileInit, sectorSize: number | undefined): Promise<Geometry> {
  const { state } = init;
  const proactor = proactorOf(init.ring);
  if (state.kind === abi.FileKind.regular) {
    const sector = sectorSize ?? SECTOR_BYTES_DEFAULT;
    const { size } = init;
    state.setSectorSize(sector);
    state.setLimit(size);
    return imageGeometry(size, sector, state.writable);
  }
  if (state.kind !== abi.FileKind.disk) {
    throw new IoError("ENOTBLK", {
      reason: "neither a block device nor a regular file",
      // The number is the same on every system; node:os does not list it.
      errno: -15,
      syscall: "open",
      path: state.path,
      hint: "Use File.open for other character devices",
    });
  }
  const geometry = await readGeometry(proactor, state);
  const actual = geometry.logicalSectorSize;
  if (sectorSize !== undefined && actual !== null && sectorSize !== actual) {
    throw argumentValue(
      "options.sectorSize",
      `applies only to images; the sectors of this device have ${actual} bytes`,
      sectorSize,
    );
  }
  if (state.writable && geometry.readOnly === true) throw readOnlyError(state.path);
  state.setLimit(geometry.size);
  return geometry;
}
