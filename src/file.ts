// `File`: what a caller holds. Checks arguments, then hands operations to core.ts (one buffer) or
// transfer.ts (vectors, large foreign views). Nothing here waits for anything but promises.

import fs from "node:fs";
import {
  checkData,
  checkInteger,
  checkOffset,
  checkOptions,
  checkRange,
  type IoData,
  type IoOptions,
  notItsMemory,
  type Offset,
} from "./arguments.ts";
import { isPlausible, slabOf } from "./buffer.ts";
import type { Governor } from "./control.ts";
import type { Core, Outcome, Request } from "./core.ts";
import { argumentType, errnoOf, IoError } from "./errors.ts";
import { type ErrorContext, statusError } from "./failures.ts";
import { type Alignment, type FileState, type PendingSync, wasAsked } from "./file_state.ts";
import { syscallName } from "./hints.ts";
import { closeState, collected, holding, holdSyncs } from "./lifetime.ts";
import * as abi from "./native/abi.gen.ts";
import {
  adoptFd,
  checkGovernor,
  copiedInfo,
  type FileInit,
  type FromFdOptions,
  made,
  OPEN_OPTION_NAMES,
  type OpenOptions,
  openFile,
} from "./open.ts";
import { coreOf, type Ring } from "./ring.ts";
import { Reply } from "./slots.ts";
import { type Region, regionOf, runTransfer } from "./transfer.ts";

/** What was opened; `disk` answers a media-size ioctl. */
export type FileKind = "regular" | "disk" | "character" | "other";

const KINDS: readonly FileKind[] = ["regular", "disk", "character", "other"];
/** The record behind a file, for the other files of the library. */
export let stateOf: (file: File) => FileState;

/**
 * An open file or device that is read and written at positions, asynchronously, by the kernel.
 * Bun has a global of this name: import this one.
 */
export class File implements AsyncDisposable {
  readonly #state: FileState;
  readonly #core: Core;
  #closing: Promise<void> | undefined;
  readonly ring: Ring;

  static {
    stateOf = (file) => file.#state;
  }

  /** Use `File.open` or `File.fromFd`. */
  constructor(init: FileInit) {
    if (init?.key !== made) throw argumentType("File", "made by File.open or File.fromFd", init);
    this.#state = init.state;
    this.ring = init.ring;
    this.#core = coreOf(init.ring);
    collected.register(this, { state: init.state, core: this.#core }, init.state);
  }

  /**
   * Opens a path without blocking the thread. FIFOs, sockets and terminals are refused with ESPIPE,
   * directories with EISDIR: they have no positions.
   */
  static async open(path: string | URL, options: OpenOptions = {}): Promise<File> {
    checkOptions("File.open", options, OPEN_OPTION_NAMES);
    return new File(await openFile(path, options, 0));
  }

  /**
   * Takes over a descriptor that is open already. It is closed by `close` only with `ownsFd`; when
   * this rejects, it stays the caller's.
   */
  static async fromFd(fd: number, options: FromFdOptions = {}): Promise<File> {
    checkOptions("File.fromFd", options, ["path", "ownsFd", "ring"]);
    return new File(await adoptFd(fd, options));
  }

  /** The descriptor; -1 after `close`. */
  get fd(): number {
    return this.#state.closed ? -1 : this.#state.fd;
  }

  get path(): string | undefined {
    return this.#state.path;
  }

  get kind(): FileKind {
    return KINDS[this.#state.kind] ?? "other";
  }

  /** What writes (and memory, for speed) have to be multiples of, in bytes; all 1 without `direct`. */
  get alignment(): Alignment {
    return this.#state.alignment;
  }

  /**
   * Reads into `data` from `offset` on. Resolves with the bytes read: fewer than `data` holds only at
   * the end of the file. The buffer is the kernel's until the promise settles.
   */
  readAt(data: IoData, offset: Offset, options?: IoOptions): Promise<number> {
    return this.#transfer(abi.Kind.read, data, offset, options, Reply.bytes);
  }

  /** Like `readAt`, but the end of the file rejects with `ERR_END_OF_FILE`. */
  readExactAt(data: IoData, offset: Offset, options?: IoOptions): Promise<void> {
    return this.#transfer(abi.Kind.read, data, offset, options, Reply.exact);
  }

  /**
   * Writes all of `data` at `offset` and resolves with its length, or rejects; `transferred` of the
   * error says how much was written. The buffer must not change until the promise settles.
   */
  writeAt(data: IoData, offset: Offset, options?: IoOptions): Promise<number> {
    return this.#transfer(abi.Kind.write, data, offset, options, Reply.bytes);
  }

  /** Reads into several buffers, one after the other, as if they were one. */
  readvAt(data: readonly IoData[], offset: Offset, options?: IoOptions): Promise<number> {
    return this.#vector(abi.Kind.read, data, offset, options);
  }

  /** Writes several buffers, one after the other, as if they were one. */
  writevAt(data: readonly IoData[], offset: Offset, options?: IoOptions): Promise<number> {
    return this.#vector(abi.Kind.write, data, offset, options);
  }

  /**
   * Resolves when every write called on this file before, awaited or not, and its metadata, is on the
   * medium: fsync(2); on devices this flushes the drive's cache; F_FULLFSYNC on macOS. Rejects if a
   * write it covers failed (`cause`), and for good after a sync has failed.
   */
  syncAll(options?: IoOptions): Promise<void> {
    return this.#sync(abi.Kind.syncAll, options);
  }

  /** Like `syncAll`, without metadata that reading back does not need: fdatasync(2). */
  syncData(options?: IoOptions): Promise<void> {
    return this.#sync(abi.Kind.syncData, options);
  }

  /** Bytes; of a device its capacity. */
  async size(): Promise<number> {
    return (await this.#info(abi.Kind.stat)).getFloat64(abi.FileInfo.size, true);
  }

  /** The same as `node:fs`'s `fstat`. */
  async stat(): Promise<fs.Stats> {
    return statsOf(await this.#info(abi.Kind.stat));
  }

  /** Sets the length of a regular file. */
  async truncate(size: Offset, options?: IoOptions): Promise<void> {
    const offset = checkOffset("size", size);
    await this.#run(abi.Kind.truncate, options, { offset });
  }

  /** Reserves space for `length` bytes from `offset` on, and extends the file over them (fallocate(2)). */
  async allocate(offset: Offset, length: number, options?: IoOptions): Promise<void> {
    const from = checkOffset("offset", offset);
    checkInteger("length", length, 1, Number.MAX_SAFE_INTEGER);
    await this.#run(abi.Kind.allocate, options, { offset: checkRange(from, length), length });
  }

  /** Makes later reads come from the medium. Dirty data is written first. */
  async invalidateCache(): Promise<void> {
    await this.#run(abi.Kind.invalidateCache, undefined, { mode: this.#state.kind });
  }

  /**
   * Waits for this file's operations, then closes the descriptor if it is ours. Later calls on the
   * file reject with EBADF; a second `close` is the same promise.
   */
  close(): Promise<void> {
    if (this.#closing === undefined) {
      collected.unregister(this.#state);
      this.#closing = closeState(this.#core, this.#state);
    }
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // -------------------------------------------------------------------------------------------------

  #transfer(
    kind: number,
    data: IoData,
    offset: Offset,
    options: IoOptions | undefined,
    reply: number,
  ): Promise<never> {
    try {
      const state = this.#state;
      if (state.closing || this.#core.closing) throw this.#closedError(kind);
      const view = ArrayBuffer.isView(data) && data.byteLength > 0 ? data : checkData("data", data);
      const isView = ArrayBuffer.isView(view);
      const length = view.byteLength;
      const slab = slabOf(view);
      const slabOffset = isView ? view.byteOffset : 0;
      if (!isPlausible(slab, slabOffset, length)) throw notItsMemory("data", view);
      const from =
        typeof offset === "number" && offset >= 0 && Number.isSafeInteger(offset)
          ? offset
          : checkRange(checkOffset("offset", offset), length);
      const governed =
        options === undefined ? undefined : this.#governor(kind, options, from, length);
      const unaligned =
        (state.offsetMask !== 0 && ((lowBits(from) | length) & state.offsetMask) !== 0) ||
        (slab !== undefined && (slabOffset & state.memoryMask) !== 0);
      if (unaligned || (slab === undefined && length > abi.BOUNCE_BLOCK_BYTES_MAX)) {
        return this.#long(
          kind,
          [{ view, length, slab, slabOffset }],
          from,
          length,
          reply,
          governed,
        ) as Promise<never>;
      }
      return this.#core.startTransfer(
        state,
        kind,
        view,
        slab,
        slabOffset,
        length,
        from,
        reply,
        governed,
      );
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #vector(
    kind: number,
    data: readonly IoData[],
    offset: Offset,
    options: IoOptions | undefined,
  ): Promise<number> {
    try {
      if (this.#state.closing || this.#core.closing) throw this.#closedError(kind);
      if (!Array.isArray(data)) throw argumentType("data", "an array of buffers", data);
      const regions = Array.from(data, (view, index) => regionOf(`data[${index}]`, view));
      const length = regions.reduce((sum, region) => sum + region.length, 0);
      const from = checkRange(checkOffset("offset", offset), length);
      const governed =
        options === undefined ? undefined : this.#governor(kind, options, from, length);
      return this.#long(kind, regions, from, length, Reply.bytes, governed) as Promise<number>;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** A transfer of several parts. The file's syncs and its close wait for all of them. */
  async #long(
    kind: number,
    regions: readonly Region[],
    offset: Offset,
    length: number,
    reply: number,
    governed: Governor | undefined,
  ): Promise<number | undefined> {
    const state = this.#state;
    const core = this.#core;
    const order = kind === abi.Kind.write ? ++state.order : 0;
    const transfer = {
      core,
      file: state,
      kind,
      regions,
      offset,
      length,
      governor: governed,
    };
    const running = holding(core, state, () => runTransfer(transfer));
    if (kind === abi.Kind.write) holdSyncs(state, running);
    let transferred: number;
    try {
      transferred = await running;
    } catch (error) {
      if (kind === abi.Kind.write && error instanceof IoError) state.writeFailed(order, error);
      throw error;
    }
    if (reply === Reply.bytes) return transferred;
    if (transferred === length) return undefined;
    throw statusError(abi.Status.ok, 0, this.#context(kind, offset, length, transferred));
  }

  async #sync(kind: number, options: IoOptions | undefined): Promise<void> {
    const state = this.#state;
    if (state.closing || this.#core.closing) throw this.#closedError(kind);
    const governed =
      options === undefined ? undefined : this.#governor(kind, options, undefined, undefined);
    if (state.syncFailure !== undefined) throw this.#syncError(kind, state.syncFailure);
    const pending: PendingSync = { order: ++state.order, cause: state.unreported };
    state.unreported = undefined;
    state.pendingSyncs.add(pending);
    try {
      await holding(this.#core, state, async () => {
        if (state.longWrites.size > 0) await Promise.allSettled([...state.longWrites]);
        const outcome = await this.#core.start({
          kind,
          fd: state.fd,
          file: state,
          governor: governed,
        });
        if (outcome.error !== undefined) throw outcome.error;
        if (outcome.status !== abi.Status.ok) {
          const error = this.#outcomeError(kind, outcome, undefined, undefined);
          state.syncFailure ??= error;
          throw error;
        }
      });
    } catch (error) {
      if (pending.cause === undefined || !(error instanceof IoError)) throw error;
      if (!wasAsked(error)) throw this.#syncError(kind, pending.cause);
      // An aborted sync tells of itself; the next one has to tell of the write.
      state.unreported ??= pending.cause;
      throw error;
    } finally {
      state.pendingSyncs.delete(pending);
    }
    if (pending.cause !== undefined) throw this.#syncError(kind, pending.cause);
  }

  #syncError(kind: number, cause: IoError): IoError {
    return new IoError(wasAsked(cause) ? "EIO" : cause.code, {
      reason: "data written to this file is not on the medium: an earlier write or sync failed",
      errno: cause.errno ?? -errnoOf("EIO"),
      syscall: syscallName(kind),
      path: this.#state.path,
      hint: "See `cause`. Reopen the file and write the data again",
      cause,
    });
  }

  async #info(kind: number): Promise<DataView> {
    const state = this.#state;
    if (state.closing || this.#core.closing) throw this.#closedError(kind);
    const outcome = await this.#core.start({
      kind,
      fd: state.fd,
      file: state,
      blockBytes: abi.FileInfo.SIZE,
    });
    try {
      if (outcome.status !== abi.Status.ok)
        throw this.#outcomeError(kind, outcome, undefined, undefined);
      return copiedInfo(this.#core, outcome.block);
    } finally {
      this.#core.releaseBlock(outcome.block);
    }
  }

  async #run(
    kind: number,
    options: IoOptions | undefined,
    request: Partial<Request>,
  ): Promise<Outcome> {
    const state = this.#state;
    if (state.closing || this.#core.closing) throw this.#closedError(kind);
    const { offset, length } = request;
    const governed =
      options === undefined ? undefined : this.#governor(kind, options, offset, length);
    const outcome = await this.#core.start({
      ...request,
      kind,
      fd: state.fd,
      file: state,
      governor: governed,
    });
    if (outcome.error !== undefined) throw outcome.error;
    if (outcome.status !== abi.Status.ok) throw this.#outcomeError(kind, outcome, offset, length);
    return outcome;
  }

  /** Checks the options; an already aborted signal or a passed deadline does no I/O. */
  #governor(
    kind: number,
    options: IoOptions,
    offset: Offset | undefined,
    length: number | undefined,
  ): Governor | undefined {
    const context = this.#context(kind, offset, length, 0);
    return checkGovernor(syscallName(kind), options, context);
  }

  #context(
    kind: number,
    offset: Offset | undefined,
    length: number | undefined,
    transferred: number | undefined,
  ): ErrorContext {
    const file = this.#state;
    return { kind, file, syscall: syscallName(kind), path: file.path, offset, length, transferred };
  }

  #outcomeError(
    kind: number,
    outcome: Outcome,
    offset: Offset | undefined,
    length: number | undefined,
  ): IoError {
    if (outcome.error !== undefined) return outcome.error;
    return statusError(
      outcome.status,
      outcome.errno,
      this.#context(kind, offset, length, undefined),
    );
  }

  #closedError(kind: number): IoError {
    const file = this.#state.closing;
    return new IoError(file ? "EBADF" : "ERR_RING_CLOSED", {
      reason: file ? "the file is closed" : "the file's ring is closed",
      ...(file ? { errno: -errnoOf("EBADF") } : {}),
      syscall: syscallName(kind),
      path: this.#state.path,
      hint: file ? "Open it again" : "Open the file again on another ring",
    });
  }
}

/** The low 32 bits: a bigint beyond 2^53 must not be rounded to an aligned number. */
function lowBits(offset: Offset): number {
  return typeof offset === "number" ? offset : Number(BigInt.asUintN(32, offset));
}

/** A `node:fs` Stats with these values. */
function statsOf(info: DataView): fs.Stats {
  const f64 = (offset: number): number => info.getFloat64(offset, true);
  const { FileInfo } = abi;
  return Object.assign(Object.create(fs.Stats.prototype) as fs.Stats, {
    dev: f64(FileInfo.dev),
    ino: f64(FileInfo.ino),
    mode: info.getUint32(FileInfo.mode, true),
    nlink: f64(FileInfo.nlink),
    uid: f64(FileInfo.uid),
    gid: f64(FileInfo.gid),
    rdev: f64(FileInfo.rdev),
    size: f64(FileInfo.size),
    blksize: f64(FileInfo.blksize),
    blocks: f64(FileInfo.blocks),
    atimeMs: f64(FileInfo.atimeMs),
    mtimeMs: f64(FileInfo.mtimeMs),
    ctimeMs: f64(FileInfo.ctimeMs),
    birthtimeMs: f64(FileInfo.birthtimeMs),
  });
}
