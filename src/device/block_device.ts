// `BlockDevice`: a disk, a partition, or a regular file that stands in for one (an image). Adds to `File`: geometry,
// exclusive use, the end of the device as an error, discarding and zeroing.

import type { CancelScope } from "../cancellation/scope.ts";
import { argumentRange, argumentValue } from "../common/argument_errors.ts";
import {
  addOffset,
  checkBoolean,
  checkInteger,
  checkOffset,
  checkOptions,
  type IoOptions,
  lowBits,
  type Offset,
} from "../common/arguments.ts";
import { traced } from "../errors/call_site.ts";
import { syscallName } from "../errors/hints.ts";
import { errnoOf, hinted, IoError } from "../errors/io_error.ts";
import { statusError } from "../errors/status.ts";
import { closeState, holdSyncs } from "../file/close.ts";
import { File } from "../file/file.ts";
import {
  adoptFd,
  checkOpen,
  checkRing,
  type FileInit,
  type FromFdOptions,
  OPEN_OPTION_NAMES,
  type OpenOptions,
  openFile,
} from "../file/open.ts";
import { type OpenFile, openFileOf } from "../file/open_file.ts";
import { isDeviceFolder, noDevice } from "../file/open_hints.ts";
import { type Path, PathName } from "../file/path.ts";
import * as abi from "../native/abi.gen.ts";
import { now } from "../native/clock.ts";
import type { FileState } from "../ring/file_state.ts";
import type { Proactor } from "../ring/proactor.ts";
import { proactorOf } from "../ring/ring.ts";
import type { Geometry } from "../system/device_info.ts";
import { busyHint } from "../system/holders.ts";
import { systemOf } from "../system/loop_devices.ts";
import { explainUses, usesOf } from "../system/uses.ts";
import type { Change } from "../transfer/request.ts";
import { writeZeroChunks } from "../transfer/zeroes.ts";
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

/** The parts of a `BlockDevice`. */
export interface DeviceInit extends FileInit {
  readonly geometry: Geometry;
}

const SECTOR_BYTES_DEFAULT = 512;
const SECTOR_BYTES_MAX = 65536;
/** One native call cannot be aborted, so long ranges take several. */
const DISCARD_BYTES_MAX = 2 ** 30;
const ZERO_BYTES_MAX = 2 ** 28;

/**
 * A disk, a partition, or an image in a regular file. Reads of any range work. Writes are whole sectors, unless it
 * is opened with `unalignedWrites: "rmw"`. A device does not grow: a read past the end is short, and a write past
 * the end is refused with ENOSPC before any of it is written.
 */
export class BlockDevice extends File {
  readonly #open: OpenFile;
  readonly #state: FileState;
  #geometry: Geometry;

  /** Use `BlockDevice.open` or `BlockDevice.fromFd`. @internal */
  constructor(init: DeviceInit) {
    super(init);
    this.#open = openFileOf(this);
    this.#state = init.state;
    this.#geometry = init.geometry;
  }

  /**
   * Opens a device or an image. `direct` defaults to true (an image on a file system without direct I/O is opened
   * without it), `exclusive` to true when writing.
   *
   * Rejects with EBUSY when the device or image is in use (see `exclusive`; the hint names the user), EROFS when it
   * is read-only and `write` was requested, ENOTBLK when it is neither a disk nor a regular file, and ENOENT when
   * there is no such disk in /dev: `create` makes images, but not there.
   */
  static override async open(path: Path, options: BlockDeviceOptions = {}): Promise<BlockDevice> {
    return new BlockDevice(await traced(openInit(path, options)));
  }

  /** Adopts an open descriptor of a device or image, like `File.fromFd`. */
  static override async fromFd(
    fd: number,
    options: BlockDeviceFromFdOptions = {},
  ): Promise<BlockDevice> {
    checkOptions("BlockDevice.fromFd", options, ["path", "ownsFd", "ring", "sectorSize"]);
    const { sectorSize, ...rest } = options;
    const sector = checkSectorSize(sectorSize);
    const init = adoptFd(fd, rest).then((adopted) => examined(adopted, sector, { adopted: true }));
    return new BlockDevice(await traced(init));
  }

  /** The geometry; null where the system does not tell. Its `size` is updated by `size()` and `truncate`. */
  get geometry(): Geometry {
    return this.#geometry;
  }

  /** The size in bytes. Asks the system, so that it notices when the device was resized. */
  override async size(): Promise<number> {
    const size = await super.size();
    if (size !== this.#geometry.size) {
      this.#geometry = Object.freeze({ ...this.#geometry, size });
      this.#state.setLimit(size);
      if (this.kind === "disk") this.#state.mediaBytes = size;
    }
    return size;
  }

  /** Sets the size of an image. Devices reject with EINVAL. */
  override async truncate(size: Offset, options?: IoOptions): Promise<void> {
    await super.truncate(size, options);
    await this.size();
  }

  /** Reserves space for an image, and extends the image over the range. */
  override async allocate(offset: Offset, length: number, options?: IoOptions): Promise<void> {
    await super.allocate(offset, length, options);
    await this.size();
  }

  /**
   * Discards the range: the device may drop its contents, and what is read there afterwards is undefined. Images
   * free the space (`punch`) and read zeroes.
   *
   * @returns The method that was used. Rejects with ENOTSUP where there is none.
   */
  async discard(
    offset: Offset,
    length: number,
    options?: IoOptions,
  ): Promise<{
    /** `discard`: the device was told; `punch`: a hole was made in the image. */
    method: "discard" | "punch";
  }> {
    const kind = abi.Kind.discard;
    const from = this.#checkRange(kind, offset, length, this.#sectorMask());
    const scope = this.#open.begin(kind, options, from, length);
    const running = this.#open.locked(kind, from, addOffset(from, length), scope, () =>
      this.#eachChunk(kind, from, length, DISCARD_BYTES_MAX, scope),
    );
    holdSyncs(this.#state, running);
    const method = await running;
    return { method: method === abi.Method.punch ? "punch" : "discard" };
  }

  /**
   * Zeroes the range. A device may do so without writing (`zeroout`), a file system by freeing the space (`punch`);
   * otherwise zeroes are written (`write`).
   *
   * @returns The method that was used.
   */
  async writeZeroes(
    offset: Offset,
    length: number,
    options?: IoOptions,
  ): Promise<{
    /** `zeroout`: the device did it; `punch`: a hole was made in the image; `write`: zeroes were written. */
    method: "zeroout" | "punch" | "write";
  }> {
    const rmw = this.#state.unalignedWrites === "rmw";
    const mask = this.#sectorMask();
    const from = this.#checkRange(abi.Kind.writeZeroes, offset, length, rmw ? 0 : mask);
    const scope = this.#open.begin(abi.Kind.writeZeroes, options, from, length);
    const change: Change = { hasBegun: false };
    const running = traced(this.#zero(from, length, mask, scope, change));
    const state = this.#state;
    const order = ++state.order;
    holdSyncs(state, running);
    try {
      return { method: await running };
    } catch (error) {
      if (error instanceof IoError) {
        state.reports.writeFailed({ order, error, hadBegun: change.hasBegun, scope });
      }
      throw error;
    }
  }

  /**
   * Makes the system read the partition table again. Rejects with EBUSY while a partition is mounted or held; the
   * hint names it.
   */
  rereadPartitions(): Promise<void> {
    return traced(this.#reread());
  }

  // -------------------------------------------------------------------------------------------------

  async #reread(): Promise<void> {
    try {
      this.#open.begin(abi.Kind.rereadPartitions, undefined, undefined, undefined);
      await this.#open.run(abi.Kind.rereadPartitions, {});
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      const system = systemOf(proactorOf(this.ring));
      const holder = error.code === "EBUSY" ? await busyHint(this.#place(), system) : undefined;
      throw hinted(error, holder ?? REREAD_HINTS[error.code] ?? error.hint);
    }
  }

  /** A path to it that is valid even if the one it was opened by is not. */
  #place(): string {
    if (process.platform !== "linux") return this.path ?? "";
    return `/proc/self/fd/${this.fd}`;
  }

  #sectorMask(): number {
    return Math.max(this.#geometry.logicalSectorSize ?? 1, this.#state.writeMask + 1) - 1;
  }

  async #zero(
    from: Offset,
    length: number,
    mask: number,
    scope: CancelScope | undefined,
    change: Change,
  ): Promise<"zeroout" | "punch" | "write"> {
    const proactor = proactorOf(this.ring);
    const state = this.#state;
    const write = (at: Offset, bytes: number): Promise<void> =>
      writeZeroChunks({ proactor, file: state, offset: at, length: bytes, scope, change });
    return proactor.holding(state, async () => {
      // With "rmw" partial sectors are written, the sectors between them zeroed.
      const head = Math.min(length, (mask + 1 - (lowBits(from) & mask)) & mask);
      const tail = (lowBits(from) + length) & mask;
      const middle = length - head - Math.min(tail, length - head);
      await write(from, head);
      await write(addOffset(from, head + middle), length - head - middle);
      if (middle === 0) return "write";
      const start = addOffset(from, head);
      const kind = abi.Kind.writeZeroes;
      const method = await this.#open.locked(kind, start, addOffset(start, middle), scope, () => {
        change.hasBegun = true;
        return this.#eachChunk(kind, start, middle, ZERO_BYTES_MAX, scope);
      });
      if (method === abi.Method.punch) return "punch";
      if (method === abi.Method.zeroout) return "zeroout";
      await write(start, middle);
      return "write";
    });
  }

  /** Runs a native operation over the range, in chunks; returns the last `abi.Method`. */
  async #eachChunk(
    kind: number,
    from: Offset,
    length: number,
    chunk: number,
    scope: CancelScope | undefined,
  ): Promise<number> {
    let method = 0;
    for (let done = 0; done < length; done += chunk) {
      const bytes = Math.min(chunk, length - done);
      const offset = addOffset(from, done);
      const request = { offset, length: bytes, mode: this.#state.kind, scope };
      method = (await this.#open.run(kind, request)).detail;
      if (method === abi.Method.unsupported) break;
    }
    return method;
  }

  #checkRange(kind: number, offset: unknown, length: unknown, mask: number): Offset {
    const from = checkOffset("offset", offset);
    const bytes = checkInteger("length", length, 1, Number.MAX_SAFE_INTEGER);
    const init = { syscall: syscallName(kind), path: this.path, offset: from, length: bytes };
    if (addOffset(from, bytes) > this.#state.limit) {
      throw new IoError("ENOSPC", {
        ...init,
        errno: -errnoOf("ENOSPC"),
        transferred: 0,
        reason: `the range reaches past the end of the device (${this.#state.limit} bytes)`,
        hint: "Nothing was changed; the size of a device is fixed",
      });
    }
    const past = lowBits(from) & mask;
    const rest = bytes & mask;
    if ((past | rest) === 0) return from;
    const off: string[] = [];
    if (past > 0) off.push(`offset is ${past} bytes past a multiple of ${mask + 1}`);
    if (rest > 0) off.push(`length is ${rest} bytes past a multiple of ${mask + 1}`);
    throw new IoError("ERR_MISALIGNED", {
      ...init,
      transferred: 0,
      reason: `the range is not aligned: ${off.join(", ")}`,
      hint: "Pass whole sectors (see geometry.logicalSectorSize)",
    });
  }
}

/** A power of two from 512 to 65536. */
export function checkSectorSize(size: unknown): number | undefined {
  if (size === undefined) return undefined;
  const name = "options.sectorSize";
  const checked = checkInteger(name, size, SECTOR_BYTES_DEFAULT, SECTOR_BYTES_MAX);
  if (Number.isInteger(Math.log2(checked))) return checked;
  throw argumentRange(name, `a power of two from 512 to ${SECTOR_BYTES_MAX}`, size);
}

// Opening ---------------------------------------------------------------------------------------------

/** Opens what `BlockDevice.open` wraps. */
export async function openInit(path: Path, options: BlockDeviceOptions): Promise<DeviceInit> {
  const known = [...OPEN_OPTION_NAMES, "exclusive", "sectorSize", "unmount"];
  checkOptions("BlockDevice.open", options, known);
  const { exclusive, sectorSize, unmount = false, ...rest } = options;
  const asked =
    exclusive === undefined ? options.write === true : checkBoolean("options.exclusive", exclusive);
  const unmounts = checkBoolean("options.unmount", unmount);
  const sector = checkSectorSize(sectorSize);
  using name = new PathName("path", path);
  const proactor = proactorOf(checkRing(rest.ring));
  name.hold(proactor);
  const open = async (given: OpenOptions): Promise<DeviceInit> =>
    examined(await openDevice(name, given, { exclusive: asked }), sector);
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

/** How the disk is held. */
interface Hold {
  readonly exclusive: boolean;
}

async function openDevice(
  name: PathName,
  options: OpenOptions,
  { exclusive }: Hold,
): Promise<FileInit> {
  if (options.createNew === true) {
    if (await isDeviceFolder(name)) throw noDevice(name);
    return openOrCached(name, options, 0);
  }
  // A file that may be in use as a disk is emptied only once it is known not to be.
  const empties = exclusive && options.write === true && options.truncate === true;
  const chosen = empties ? { ...options, truncate: false } : options;
  const init = await openOrMake(name, chosen, { exclusive });
  if (exclusive) await refuseUsed(init);
  return empties ? emptied(init) : init;
}

async function openOrMake(name: PathName, options: OpenOptions, hold: Hold): Promise<FileInit> {
  const { exclusive } = hold;
  // O_CREAT with O_EXCL would mean "must not exist". So an existing device is opened and held, and a missing image
  // is created, in two steps.
  try {
    const flags = exclusive ? abi.OpenFlag.exclusive : 0;
    return await openOrCached(name, { ...options, create: false }, flags);
  } catch (error) {
    if (options.create !== true || !(error instanceof IoError)) throw error;
    if (error.syscall !== "open" || error.code !== "ENOENT") throw error;
  }
  // A file in /dev would be in memory (devtmpfs), and block the name of the disk.
  if (await isDeviceFolder(name)) throw noDevice(name);
  const made = await openOrCached(name, options, 0);
  if (made.state.kind !== abi.FileKind.disk || !exclusive) return made;
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
    if (options.direct !== undefined || !(error instanceof IoError)) throw error;
    if (error.syscall !== "open" || error.code !== "EINVAL") throw error;
    const cached = await openFile(name, { ...options, direct: false }, flags, "device");
    if (cached.state.kind !== abi.FileKind.disk) return cached;
    await closeState(proactorOf(cached.ring), cached.state);
    throw error;
  }
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

/** Applies `truncate` after the open. */
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
  throw statusError(outcome.status, outcome.errno, {
    ...{ kind: abi.Kind.truncate, file: state, syscall: "open", path: state.path },
    ...{ offset: undefined, length: undefined, transferred: undefined },
  });
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
    const size = init.size;
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
  if (state.writable && geometry.readOnly === true) {
    throw readOnlyError(state.path);
  }
  state.setLimit(geometry.size);
  return geometry;
}

// Hints -----------------------------------------------------------------------------------------------

const REREAD_HINTS: Readonly<Record<string, string>> = {
  EBUSY: "A partition of it is in use",
  EINVAL: "It is a partition, or a device that is not scanned for partitions",
  ENOTTY: "An image has no partitions that the system knows; attach it as a loop device",
  EACCES: "Reading the partition table again needs root",
};
