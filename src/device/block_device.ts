// `BlockDevice`: a disk, a partition, or a regular file that stands in for one (an image). Adds to `File`: geometry,
// exclusive use, the end of the device as an error, discarding and zeroing.

import type { CancelScope } from "../cancellation/scope.ts";
import {
  addOffset,
  checkInteger,
  checkOffset,
  checkOptions,
  type IoOptions,
  lowBits,
  type Offset,
} from "../common/arguments.ts";
import { traced } from "../errors/call_site.ts";
import { syscallName } from "../errors/hints.ts";
import { hinted, IoError } from "../errors/io_error.ts";
import { holdSyncs } from "../file/close.ts";
import { File } from "../file/file.ts";
import { adoptFd } from "../file/open.ts";
import { type OpenFile, openFileOf } from "../file/open_file.ts";
import type { Path } from "../file/path.ts";
import * as abi from "../native/abi.gen.ts";
import type { FileState } from "../ring/file_state.ts";
import { proactorOf } from "../ring/ring.ts";
import type { Geometry } from "../system/device_info.ts";
import { busyHint } from "../system/holders.ts";
import { systemOf } from "../system/loop_devices.ts";
import type { Change } from "../transfer/request.ts";
import { writeZeroChunks } from "../transfer/zeroes.ts";
import {
  type BlockDeviceFromFdOptions,
  type BlockDeviceOptions,
  checkSectorSize,
  type DeviceInit,
  examined,
  openInit,
} from "./open_device.ts";

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

// Hints -----------------------------------------------------------------------------------------------

const REREAD_HINTS: Readonly<Record<string, string>> = {
  EBUSY: "A partition of it is in use",
  EINVAL: "It is a partition, or a device that is not scanned for partitions",
  ENOTTY: "An image has no partitions that the system knows; attach it as a loop device",
  EACCES: "Reading the partition table again needs root",
};
