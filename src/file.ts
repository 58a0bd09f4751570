// `File`: what a caller holds. Checks arguments, then hands operations to core.ts (one buffer) or
// transfer.ts (vectors, large foreign views). Nothing here waits for anything but promises.

import type fs from "node:fs";
import {
  addOffset,
  type Bytes,
  bytesOf,
  checkData,
  checkInteger,
  checkOffset,
  checkOptions,
  checkRange,
  dataError,
  type IoData,
  type IoOptions,
  isGone,
  isOrdinary,
  notItsMemory,
  type Offset,
} from "./arguments.ts";
import { readWidened, WIDENED_BYTES_MAX } from "./bounced.ts";
import { isPlausible, slabOf } from "./buffer.ts";
import { type Cause, causeError, type Governor, waitGoverned } from "./control.ts";
import type { Core, Outcome, Request } from "./core.ts";
import { argumentType, IoError } from "./errors.ts";
import {
  closedError,
  type ErrorContext,
  givenUpError,
  statusError,
  syncError,
} from "./failures.ts";
import { copiedInfo, statsOf } from "./file_info.ts";
import { type Alignment, type FileState, type PendingSync, wasAsked } from "./file_state.ts";
import { deviceGone, emptiedError, isSuspect } from "./gone.ts";
import { syscallName } from "./hints.ts";
import { closeState, collected, holding, holdSyncs } from "./lifetime.ts";
import * as abi from "./native/abi.gen.ts";
import {
  adoptFd,
  checkGovernor,
  type FileInit,
  type FromFdOptions,
  made,
  OPEN_OPTION_NAMES,
  type OpenOptions,
  openFile,
} from "./open.ts";
import { noteClosed, noteOpened } from "./registry.ts";
import { coreOf, type Ring } from "./ring.ts";
import { Reply } from "./slots.ts";
import { type ReadableOptions, readableOf, type WritableOptions, writableOf } from "./stream.ts";
import { type Change, checkTransfer, needsCare, runTransfer, type Transfer } from "./transfer.ts";

/** What was opened; `disk` answers a media-size ioctl. */
export type FileKind = "regular" | "disk" | "character" | "other";

const KINDS: readonly FileKind[] = ["regular", "disk", "character", "other"];
/** The record behind a file, for the other files of the library. */
export let stateOf: (file: File) => FileState;
/** Checks that an operation may begin, and its options. */
export let beginOn: (
  file: File,
  kind: number,
  options: IoOptions | undefined,
  offset: Offset | undefined,
  length: number | undefined,
) => Governor | undefined;
/** Runs one native operation of what has begun; rejects with the error that names it. */
export let runOn: (file: File, kind: number, request: Partial<Request>) => Promise<Outcome>;

/** Runs a change of a range, beside which no unaligned write is read, modified and written back. Syncs wait for it. */
export let lockedOn: <T>(
  file: File,
  kind: number,
  start: Offset,
  length: number,
  governor: Governor | undefined,
  run: () => Promise<T>,
) => Promise<T>;
/** `writeAt` of a range that is not aligned, whatever the file's `unalignedWrites` says. */
export let writeRagged: (
  file: File,
  data: Uint8Array,
  offset: Offset,
  options: IoOptions,
) => Promise<void>;

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
    runOn = (file, kind, request) => file.#runBegun(kind, request);
    beginOn = (file, kind, options, offset, length) => file.#begin(kind, options, offset, length);
    lockedOn = (file, kind, start, length, governor, run) =>
      file.#locked(kind, start, addOffset(start, length), governor, run);
    writeRagged = (file, data, offset, options) => file.#writeRagged(data, offset, options);
  }

  /** Use `File.open` or `File.fromFd`. */
  constructor(init: FileInit) {
    if (init?.key !== made) throw argumentType("File", "made by File.open or File.fromFd", init);
    this.#state = init.state;
    this.ring = init.ring;
    this.#core = coreOf(init.ring);
    collected.register(this, { state: init.state, core: this.#core }, init.state);
    noteOpened("file", init.state, () => `'${init.state.path ?? `fd ${init.state.fd}`}'`);
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
   * write it covers failed (`cause`), and for good after a sync or a write has failed on its way.
   */
  syncAll(options?: IoOptions): Promise<void> {
    return this.#sync(abi.Kind.syncAll, options);
  }

  /** Like `syncAll`, without metadata that reading back does not need: fdatasync(2). */
  syncData(options?: IoOptions): Promise<void> {
    return this.#sync(abi.Kind.syncData, options);
  }

  /** Bytes; of a device its capacity. A disk that has lost all of it rejects with `ERR_DEVICE_GONE`. */
  async size(): Promise<number> {
    const size = (await this.#info(abi.Kind.stat)).getFloat64(abi.FileInfo.size, true);
    if (size === 0 && this.#state.mediaBytes > 0) throw emptiedError(this.#state);
    return size;
  }

  /** The same as `node:fs`'s `fstat`. */
  async stat(): Promise<fs.Stats> {
    return statsOf(await this.#info(abi.Kind.stat));
  }

  /** Sets the length of a regular file. */
  async truncate(size: Offset, options?: IoOptions): Promise<void> {
    const offset = checkOffset("size", size);
    const kind = abi.Kind.truncate;
    const governed = this.#begin(kind, options, offset, undefined);
    await this.#locked(kind, offset, Infinity, governed, () =>
      this.#runBegun(kind, { offset, governor: governed }),
    );
  }

  /** Reserves space for `length` bytes from `offset` on, and extends the file over them (fallocate(2)). */
  async allocate(offset: Offset, length: number, options?: IoOptions): Promise<void> {
    const from = checkOffset("offset", offset);
    checkInteger("length", length, 1, Number.MAX_SAFE_INTEGER);
    checkRange(from, length);
    const kind = abi.Kind.allocate;
    const governed = this.#begin(kind, options, from, length);
    await this.#locked(kind, from, addOffset(from, length), governed, () =>
      this.#runBegun(kind, { offset: from, length, governor: governed }),
    );
  }

  /** Makes later reads come from the medium. Dirty data is written first. */
  async invalidateCache(): Promise<void> {
    const kind = abi.Kind.invalidateCache;
    this.#begin(kind, undefined, undefined, undefined);
    await this.#runBegun(kind, { mode: this.#state.kind });
  }

  /**
   * The bytes from `start` (default 0) up to `end` (default: the end of the file) as a byte stream;
   * BYOB readers are supported. `concurrency` reads (default 8) of `chunkSize` bytes (default 262144)
   * run ahead of the reader, which bounds the memory; nothing is read before somebody asks. Chunks
   * are the reader's to keep. A failed read errors the stream once the bytes before it are delivered.
   * Cancelling ends the reads. Does not close the file.
   *
   * @throws TypeError, RangeError for wrong options.
   */
  readable(options?: ReadableOptions): ReadableStream<Bytes> {
    return readableOf(this, options);
  }

  /**
   * A stream that writes one chunk behind the other from `start` (default 0) on. Chunks are copied
   * before `write()` resolves and gathered into aligned requests of 256 KiB, of which `concurrency`
   * (default 8) run at once: what is written is in the file when `close()` has resolved, and with
   * `sync` on the medium. On a `direct` file a begin or end within a unit is read, changed and written
   * back, and a regular file keeps its exact length. A failed write errors the stream at once. What
   * lies behind the last byte is left as it is; does not close the file.
   *
   * @throws TypeError, RangeError for wrong options.
   */
  writable(options?: WritableOptions): WritableStream<IoData> {
    return writableOf(this, options);
  }

  /**
   * Waits for this file's operations, then closes the descriptor if it is ours. Later calls on the
   * file reject with EBADF; a second `close` is the same promise.
   */
  close(): Promise<void> {
    if (this.#closing === undefined) {
      collected.unregister(this.#state);
      noteClosed(this.#state);
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
      this.#checkOpen(kind);
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
      // Getters of the data are the caller's code: one may have closed the file.
      this.#checkOpen(kind);
      if (
        (state.careful && needsCare(state, kind, from, length, slab, slabOffset)) ||
        (slab === undefined && length > abi.BOUNCE_BLOCK_BYTES_MAX)
      ) {
        const lengths = [length];
        if (kind === abi.Kind.read && length <= WIDENED_BYTES_MAX && slab?.pool === undefined) {
          return this.#widened(view, from, length, reply, governed) as Promise<never>;
        }
        const piece = pieceOf(view, -1);
        return this.#long(kind, [piece], lengths, from, length, reply, governed) as Promise<never>;
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
      return Promise.reject(dataError("data", data, error));
    }
  }

  /** An unaligned read that is one native operation: it needs less around it than `#long`. */
  async #widened(
    view: IoData,
    offset: Offset,
    length: number,
    reply: number,
    governor: Governor | undefined,
  ): Promise<number | undefined> {
    const transferred = await readWidened({
      core: this.#core,
      file: this.#state,
      kind: abi.Kind.read,
      views: [pieceOf(view, -1)],
      lengths: [length],
      offset,
      length,
      governor,
    });
    if (reply === Reply.bytes) return transferred;
    if (transferred === length) return undefined;
    throw statusError(abi.Status.ok, 0, this.#context(abi.Kind.read, offset, length, transferred));
  }

  #vector(
    kind: number,
    data: readonly IoData[],
    offset: Offset,
    options: IoOptions | undefined,
  ): Promise<number> {
    try {
      this.#checkOpen(kind);
      if (!Array.isArray(data)) throw argumentType("data", "an array of buffers", data);
      const views: IoData[] = [];
      const lengths: number[] = [];
      let length = 0;
      for (let index = 0; index < data.length; index++) {
        const piece = pieceOf(data[index], index);
        views.push(piece);
        lengths.push(piece.byteLength);
        length += piece.byteLength;
      }
      const from = checkRange(checkOffset("offset", offset), length);
      const governed =
        options === undefined ? undefined : this.#governor(kind, options, from, length);
      this.#checkOpen(kind);
      const reply = Reply.bytes;
      return this.#long(kind, views, lengths, from, length, reply, governed) as Promise<number>;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #writeRagged(data: Uint8Array, offset: Offset, options: IoOptions): Promise<void> {
    const kind = abi.Kind.write;
    const length = data.byteLength;
    const governed = this.#begin(kind, options, offset, length);
    await this.#long(kind, [data], [length], offset, length, Reply.nothing, governed, true);
  }

  /** A transfer of several parts. The file's syncs and its close wait for all of them. */
  async #long(
    kind: number,
    views: readonly IoData[],
    lengths: readonly number[],
    offset: Offset,
    length: number,
    reply: number,
    governed: Governor | undefined,
    ragged = false,
  ): Promise<number | undefined> {
    const state = this.#state;
    const core = this.#core;
    const change: Change = { hasBegun: false };
    const transfer: Transfer = {
      core,
      file: state,
      kind,
      views,
      lengths,
      offset,
      length,
      governor: governed,
      ragged,
      change: kind === abi.Kind.write ? change : undefined,
    };
    checkTransfer(transfer);
    const order = kind === abi.Kind.write ? ++state.order : 0;
    const running = holding(core, state, () => runTransfer(transfer));
    if (kind === abi.Kind.write) holdSyncs(state, running);
    let transferred: number;
    try {
      transferred = await running;
    } catch (error) {
      if (kind === abi.Kind.write && error instanceof IoError) {
        state.writeFailed(order, error, change.hasBegun);
      }
      throw error;
    }
    if (reply === Reply.bytes) return transferred;
    if (transferred === length) return undefined;
    throw statusError(abi.Status.ok, 0, this.#context(kind, offset, length, transferred));
  }

  async #sync(kind: number, options: IoOptions | undefined): Promise<void> {
    const state = this.#state;
    this.#checkOpen(kind);
    const governed =
      options === undefined ? undefined : this.#governor(kind, options, undefined, undefined);
    // Open until it is known whether a failure means that the device is gone.
    await holding(this.#core, state, () => this.#syncBegun(kind, governed));
  }

  async #syncBegun(kind: number, governed: Governor | undefined): Promise<void> {
    const state = this.#state;
    if (state.syncFailure !== undefined) throw await this.#syncError(kind, state.syncFailure);
    const pending: PendingSync = { order: ++state.order, cause: state.unreported };
    state.unreported = undefined;
    state.pendingSyncs.add(pending);
    try {
      await this.#syncWrites(kind, governed);
    } catch (error) {
      if (pending.cause === undefined || !(error instanceof IoError)) throw error;
      if (!wasAsked(error)) throw await this.#syncError(kind, pending.cause);
      // An aborted sync tells of itself; the next one has to tell of the write.
      state.unreported ??= pending.cause;
      throw error;
    } finally {
      state.pendingSyncs.delete(pending);
    }
    if (pending.cause !== undefined) throw await this.#syncError(kind, pending.cause);
  }

  async #syncWrites(kind: number, governor: Governor | undefined): Promise<void> {
    const state = this.#state;
    if (state.longWrites.size > 0) {
      const cause = await waitGoverned(Promise.allSettled([...state.longWrites]), governor);
      if (cause !== undefined) throw this.#stoppedError(kind, cause);
    }
    const outcome = await this.#core.start({ kind, fd: state.fd, file: state, governor });
    if (outcome.error !== undefined) throw outcome.error;
    if (outcome.status === abi.Status.ok) return;
    const error = this.#outcomeError(kind, outcome, undefined, undefined);
    state.syncFailure ??= error;
    throw await this.#orGone(error);
  }

  #syncError(kind: number, cause: IoError): Promise<IoError> {
    return this.#orGone(syncError(kind, this.#state.path, cause));
  }

  #stoppedError(kind: number, cause: Cause): IoError {
    const { kind: _kind, file: _file, ...init } = this.#context(kind, undefined, undefined, 0);
    return causeError(cause, init);
  }

  /** Keeps clear of unaligned writes that are being read, modified and written back. */
  async #locked<T>(
    kind: number,
    start: Offset,
    end: Offset,
    governor: Governor | undefined,
    run: () => Promise<T>,
  ): Promise<T> {
    const { lock } = this.#state;
    const stopped = (cause: Cause): IoError => this.#stoppedError(kind, cause);
    const givenUp = (cause: unknown): IoError =>
      givenUpError(this.#context(kind, undefined, undefined, 0), cause);
    const alone = kind === abi.Kind.truncate;
    const running = holding(this.#core, this.#state, () =>
      lock.during(start, end, alone, { governor, stopped, givenUp }, run),
    );
    holdSyncs(this.#state, running);
    return running;
  }

  async #info(kind: number): Promise<DataView> {
    const state = this.#state;
    this.#checkOpen(kind);
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

  /** Refuses a closed file and wrong options. */
  #begin(
    kind: number,
    options: IoOptions | undefined,
    offset: Offset | undefined,
    length: number | undefined,
  ): Governor | undefined {
    this.#checkOpen(kind);
    return options === undefined ? undefined : this.#governor(kind, options, offset, length);
  }

  async #runBegun(kind: number, request: Partial<Request>): Promise<Outcome> {
    const state = this.#state;
    const { offset, length } = request;
    // Open until it is known whether a failure means that the device is gone.
    return holding(this.#core, state, async () => {
      const outcome = await this.#core.start({ ...request, kind, fd: state.fd, file: state });
      if (outcome.error !== undefined) throw outcome.error;
      if (outcome.status !== abi.Status.ok)
        throw await this.#orGone(this.#outcomeError(kind, outcome, offset, length));
      return outcome;
    });
  }

  #checkOpen(kind: number): void {
    if (this.#state.closing || this.#core.closing) throw this.#closedError(kind);
  }

  /** Checks the options; an already aborted signal or a passed deadline does no I/O. */
  #governor(
    kind: number,
    options: IoOptions,
    offset: Offset | undefined,
    length: number | undefined,
  ): Governor | undefined {
    const context = this.#context(kind, offset, length, 0);
    const governor = checkGovernor(syscallName(kind), options, context);
    // Getters of the options are the caller's code: one may have closed the file.
    this.#checkOpen(kind);
    return governor;
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

  /** `error`, unless it turns out that the device is gone. */
  async #orGone(error: IoError): Promise<IoError> {
    if (!isSuspect(this.#state, error.code)) return error;
    return (await deviceGone(this.#core, this.#state, error)) ?? error;
  }

  #closedError(kind: number): IoError {
    const where = { syscall: syscallName(kind), path: this.#state.path };
    if (this.#state.closing) return closedError(where);
    return new IoError("ERR_RING_CLOSED", {
      ...where,
      reason: "the file's ring is closed",
      hint: "Open the file again on another ring",
    });
  }
}

/**
 * The memory of one buffer of a longer transfer as it is now. A copy of the view: what a subclass of
 * the caller says of itself may be another thing, or an exception, at every look. `index`: its place
 * in a vector, or -1. Its name is made only for an error: vectors may be long.
 */
function pieceOf(value: unknown, index: number): Uint8Array {
  if (isOrdinary(value) && value.byteLength > 0) return value;
  const good = ArrayBuffer.isView(value) && !isGone(value);
  const view = good ? value : checkData(pieceName(index), value);
  const length = view.byteLength;
  if (!isPlausible(undefined, 0, length)) throw notItsMemory(pieceName(index), view);
  try {
    return bytesOf(view, length);
  } catch {
    throw notItsMemory(pieceName(index), view);
  }
}

function pieceName(index: number): string {
  return index < 0 ? "data" : `data[${index}]`;
}
