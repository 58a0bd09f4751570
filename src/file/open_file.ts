// The open file behind `File`: checks arguments, then hands operations to proactor.ts (one buffer) or transfer.ts
// (vectors, large foreign views).

import { waitWithin } from "../cancellation/registry.ts";
import {
  type CancelReason,
  CancelScope,
  cancelError,
  cancelScope,
  TIMED_OUT,
} from "../cancellation/scope.ts";
import { argumentType } from "../common/argument_errors.ts";
import {
  checkIoOptions,
  checkOffset,
  checkOptions,
  checkRange,
  IO_OPTION_NAMES,
  type IoData,
  type IoOptions,
  type Offset,
  remainder,
} from "../common/arguments.ts";
import {
  allBytesOf,
  byteLengthOf,
  byteOffsetOf,
  bytesOf,
  checkData,
} from "../common/memory_views.ts";
import { traced } from "../errors/call_site.ts";
import { emptiedError } from "../errors/device_gone.ts";
import { syscallName } from "../errors/hints.ts";
import { IoError, wasAsked } from "../errors/io_error.ts";
import {
  closedError,
  type ErrorContext,
  givenUpError,
  missingError,
  ringClosedError,
  statusError,
  syncError,
} from "../errors/status.ts";
import { slabOf } from "../memory/slab.ts";
import * as abi from "../native/abi.gen.ts";
import { type EntryStarter, entryStarterOf } from "../ring/batch.ts";
import { orGone } from "../ring/device_gone.ts";
import type { FileState } from "../ring/file_state.ts";
import type { Proactor } from "../ring/proactor.ts";
import type { Receiver } from "../ring/receiver.ts";
import type { Outcome, Request } from "../ring/request.ts";
import { Reply } from "../ring/slots.ts";
import { readWidened, WIDENED_BYTES_MAX } from "../transfer/bounced.ts";
import type { Change, Transfer } from "../transfer/request.ts";
import { checkTransfer, needsCare, runTransfer } from "../transfer/transfer.ts";
import { closeState, holdSyncs } from "./close.ts";
import { copiedInfo } from "./file_info.ts";

/** The arguments of a longer transfer. */
type Asked = Omit<Transfer, "proactor" | "file" | "change">;

/** An open file: implements `File` and `BlockDevice`, and what streams and copies need. */
export class OpenFile implements EntryStarter {
  readonly proactor: Proactor;
  readonly state: FileState;
  #closing: Promise<void> | undefined;

  constructor(proactor: Proactor, state: FileState) {
    this.proactor = proactor;
    this.state = state;
  }

  /**
   * Waits for the file's operations, then closes the descriptor if it is owned. A second call returns the same
   * promise.
   */
  close(): Promise<void> {
    this.#closing ??= traced(closeState(this.proactor, this.state));
    return this.#closing;
  }

  transfer(
    kind: number,
    data: IoData,
    offset: Offset,
    options: IoOptions | undefined,
    reply: number,
    receiver?: Receiver,
  ): Promise<never> {
    try {
      const state = this.state;
      this.#checkOpen(kind);
      const given = ArrayBuffer.isView(data) ? data : undefined;
      let length = given === undefined ? 0 : byteLengthOf(given);
      const view = given === undefined || length === 0 ? checkData("data", data) : given;
      if (length === 0) length = byteLengthOf(view);
      const slab = slabOf(view);
      const slabOffset = slab === undefined ? 0 : byteOffsetOf(view);
      const from =
        typeof offset === "number" && offset >= 0 && Number.isSafeInteger(offset)
          ? offset
          : checkRange(checkOffset("offset", offset), length);
      const scope = options === undefined ? undefined : this.#scope(kind, options, from, length);
      if (
        (state.careful && needsCare(state, kind, from, length, slab, slabOffset)) ||
        (slab === undefined && length > abi.BOUNCE_BLOCK_BYTES_MAX)
      ) {
        const lengths = [length];
        if (kind === abi.Kind.read && length <= WIDENED_BYTES_MAX && slab?.lender === undefined) {
          return this.#widened(view, from, length, reply, scope) as Promise<never>;
        }
        const piece = bytesOf(view, length);
        return this.#long(
          { kind, views: [piece], lengths, offset: from, length, scope },
          reply,
        ) as Promise<never>;
      }
      return this.proactor.startTransfer(
        state,
        kind,
        view,
        slab,
        slabOffset,
        length,
        from,
        reply,
        scope,
        receiver,
      );
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Whether `readAtOnce` may be tried: the ring is idle, and the turn of the event loop is not over. */
  get canReadAtOnce(): boolean {
    const { proactor, state } = this;
    if (state.closing || proactor.closing) return false;
    return proactor.canReadAtOnce(state) && !proactor.isTurnOver();
  }

  /** Reads exactly `view` from the page cache. False: the read must be submitted. */
  readAtOnce(view: ArrayBufferView, offset: Offset): boolean {
    if (typeof offset === "bigint") return false;
    return this.proactor.readAtOnce(this.state, view, view.byteLength, offset);
  }

  /** An unaligned read that is one native operation: cheaper than `#long`. */
  async #widened(
    view: ArrayBufferView,
    offset: Offset,
    length: number,
    reply: number,
    scope: CancelScope | undefined,
  ): Promise<number | undefined> {
    const { proactor, state } = this;
    const views = [bytesOf(view, length)];
    let transferred: number;
    // Open until it is known whether a failure means that the device is gone.
    proactor.hold(state);
    try {
      transferred = await readWidened({
        proactor,
        file: state,
        kind: abi.Kind.read,
        views,
        lengths: [length],
        offset,
        length,
        scope,
      });
    } finally {
      proactor.letGo(state);
    }
    if (reply === Reply.bytes) return transferred;
    if (transferred === length) return undefined;
    throw statusError(abi.Status.ok, 0, this.#context(abi.Kind.read, offset, length, transferred));
  }

  vector(
    kind: number,
    data: readonly IoData[],
    offset: Offset,
    options: IoOptions | undefined,
  ): Promise<number> {
    try {
      this.#checkOpen(kind);
      if (!Array.isArray(data)) throw argumentType("data", "an array of buffers", data);
      const views: Uint8Array[] = [];
      const lengths: number[] = [];
      let length = 0;
      for (let index = 0; index < data.length; index++) {
        // The argument name is built only for an error: vectors may be long.
        const value = data[index];
        let view = ArrayBuffer.isView(value) ? value : undefined;
        let bytes = view === undefined ? 0 : byteLengthOf(view);
        if (view === undefined || bytes === 0) {
          view = checkData(`data[${index}]`, value);
          bytes = byteLengthOf(view);
        }
        views.push(allBytesOf(view, bytes));
        lengths.push(bytes);
        length += bytes;
      }
      const from = checkRange(checkOffset("offset", offset), length);
      const scope = options === undefined ? undefined : this.#scope(kind, options, from, length);
      this.#checkOpen(kind);
      const asked = { kind, views, lengths, offset: from, length, scope };
      return this.#long(asked, Reply.bytes) as Promise<number>;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * `writeAt` for any range, whatever `unalignedWrites` of the file. Preserves the rest of partial units, and a
   * regular file does not grow beyond the range.
   */
  async writeAnywhere(data: Uint8Array, offset: Offset, scope: CancelScope): Promise<void> {
    const unit = this.state.alignment.offset;
    if (remainder(offset, unit) === 0 && data.byteLength % unit === 0) {
      await this.transfer(abi.Kind.write, data, offset, scope, Reply.bytes);
      return;
    }
    const kind = abi.Kind.write;
    const length = data.byteLength;
    this.begin(kind, scope, offset, length);
    const asked = { kind, views: [data], lengths: [length], offset, length, scope };
    await this.#long({ ...asked, mayBeUnaligned: true }, Reply.nothing);
  }

  startEntry(
    kind: number,
    data: IoData | readonly IoData[],
    offset: Offset,
    scope: CancelScope | undefined,
    receiver: Receiver,
  ): Promise<number | undefined> {
    if (kind === abi.Kind.syncAll || kind === abi.Kind.syncData) {
      return this.sync(kind, scope) as Promise<undefined>;
    }
    return isVector(data)
      ? this.vector(kind, data, offset, scope)
      : this.transfer(kind, data, offset, scope, Reply.bytes, receiver);
  }

  /** A transfer of several parts. Syncs and close of the file wait for all of them. */
  async #long(asked: Asked, reply: number): Promise<number | undefined> {
    const { proactor, state } = this;
    const { kind, offset, length, scope } = asked;
    const change: Change | undefined = kind === abi.Kind.write ? { hasBegun: false } : undefined;
    const transfer: Transfer = { ...asked, proactor, file: state, change };
    checkTransfer(transfer);
    const order = change === undefined ? 0 : ++state.order;
    const running = proactor.holding(state, () => runTransfer(transfer));
    if (change !== undefined) holdSyncs(state, running);
    let transferred: number;
    try {
      transferred = await running;
    } catch (error) {
      if (change !== undefined && error instanceof IoError) {
        state.reports.writeFailed({ order, error, hadBegun: change.hasBegun, scope });
      }
      throw error;
    }
    if (reply === Reply.bytes) return transferred;
    if (transferred === length) return undefined;
    throw statusError(abi.Status.ok, 0, this.#context(kind, offset, length, transferred));
  }

  async sync(kind: number, options: IoOptions | undefined): Promise<void> {
    const state = this.state;
    this.#checkOpen(kind);
    const scope =
      options === undefined ? undefined : this.#scope(kind, options, undefined, undefined);
    // Open until it is known whether a failure means that the device is gone.
    await this.proactor.holding(state, () => this.#syncBegun(kind, scope));
  }

  async #syncBegun(kind: number, scope: CancelScope | undefined): Promise<void> {
    const { path, reports } = this.state;
    if (reports.lasting !== undefined) throw await this.#syncError(kind, reports.lasting);
    const sync = reports.beginSync(++this.state.order);
    try {
      await this.#syncWrites(kind, scope);
    } catch (error) {
      const isItsOwn = error instanceof IoError && wasAsked(error);
      if (sync.failure !== undefined && !isItsOwn) throw await this.#syncError(kind, sync.failure);
      // The sync reports its own failure.
      reports.handOn(sync);
      throw error;
    } finally {
      reports.endSync(sync);
    }
    if (sync.failure !== undefined) throw await this.#syncError(kind, sync.failure);
    for (const missing of sync.untold.values()) throw missingError(kind, path, missing);
  }

  async #syncWrites(kind: number, scope: CancelScope | undefined): Promise<void> {
    const state = this.state;
    if (state.longWrites.size > 0) {
      const reason = await waitWithin(Promise.allSettled([...state.longWrites]), scope);
      if (reason !== undefined) throw this.#stoppedError(kind, reason);
    }
    const outcome = await this.proactor.start({ kind, fd: state.fd, file: state, scope });
    if (outcome.error !== undefined) throw outcome.error;
    if (outcome.status === abi.Status.ok) return;
    const error = statusError(outcome.status, outcome.errno, this.#context(kind));
    state.reports.lasting ??= error;
    throw await this.#orGone(error);
  }

  #syncError(kind: number, cause: IoError): Promise<IoError> {
    return this.#orGone(syncError(kind, this.state.path, cause));
  }

  #stoppedError(kind: number, reason: CancelReason): IoError {
    return cancelError(reason, this.#context(kind, undefined, undefined, 0));
  }

  /** Runs a change under the lock, apart from any read-modify-write of the same range. */
  async locked<T>(
    kind: number,
    start: Offset,
    end: Offset,
    scope: CancelScope | undefined,
    run: () => Promise<T>,
  ): Promise<T> {
    const { lock } = this.state;
    const stopped = (reason: CancelReason): IoError => this.#stoppedError(kind, reason);
    const givenUp = (cause: unknown): IoError =>
      givenUpError(this.#context(kind, undefined, undefined, 0), cause);
    const exclusive = kind === abi.Kind.truncate;
    const running = this.proactor.holding(this.state, () =>
      lock.during({ start, end, exclusive }, { scope, stopped, givenUp }, run),
    );
    holdSyncs(this.state, running);
    return traced(running);
  }

  info(kind: number): Promise<DataView> {
    return this.#whileOpen(kind, () => this.#ask(kind));
  }

  size(): Promise<number> {
    const kind = abi.Kind.stat;
    return this.#whileOpen(kind, () => this.#size(kind));
  }

  invalidateCache(): Promise<void> {
    const kind = abi.Kind.invalidateCache;
    const { state } = this;
    return this.#whileOpen(kind, async () => {
      await this.run(kind, { mode: state.kind });
      // Of a disk that is gone the kernel has no pages, and reports success.
      if (state.mediaBytes > 0) await this.#size(kind);
    });
  }

  /** The size in bytes. Throws if the file is a disk that has none any more; `kind`: what was tried. */
  async #size(kind: number): Promise<number> {
    const { state } = this;
    const size = (await this.#ask(abi.Kind.stat)).getFloat64(abi.FileInfo.size, true);
    if (size === 0 && state.mediaBytes > 0) throw emptiedError(state, syscallName(kind));
    return size;
  }

  async #ask(kind: number): Promise<DataView> {
    const { proactor } = this;
    const { block } = await this.run(kind, { blockBytes: abi.FileInfo.SIZE });
    try {
      return copiedInfo(proactor, block);
    } finally {
      proactor.releaseBlock(block);
    }
  }

  /** Runs operations on the whole file, which stays open meanwhile. */
  async #whileOpen<T>(kind: number, run: () => Promise<T>): Promise<T> {
    this.#checkOpen(kind);
    return this.proactor.holding(this.state, run);
  }

  /** Checks the options, and that an operation may begin. */
  begin(
    kind: number,
    options: IoOptions | undefined,
    offset: Offset | undefined,
    length: number | undefined,
  ): CancelScope | undefined {
    this.#checkOpen(kind);
    return options === undefined ? undefined : this.#scope(kind, options, offset, length);
  }

  /**
   * Runs one native operation; rejects with the error that names it. When it resolves, the caller must release its
   * block.
   */
  async run(kind: number, request: Partial<Request>): Promise<Outcome> {
    const { proactor, state } = this;
    const { offset, length } = request;
    // Open until it is known whether a failure means that the device is gone.
    const running = proactor.holding(state, async () => {
      const outcome = await proactor.start({ ...request, kind, fd: state.fd, file: state });
      if (outcome.status === abi.Status.ok) return outcome;
      proactor.releaseBlock(outcome.block);
      if (outcome.error !== undefined) throw outcome.error;
      const context = this.#context(kind, offset, length);
      throw await this.#orGone(statusError(outcome.status, outcome.errno, context));
    });
    return traced(running);
  }

  #checkOpen(kind: number): void {
    if (this.state.closing || this.proactor.closing) throw this.#closedError(kind);
  }

  /** The scope of checked options, or the one passed in their place. Throws if it is cancelled already. */
  #scope(
    kind: number,
    options: IoOptions,
    offset: Offset | undefined,
    length: number | undefined,
  ): CancelScope | undefined {
    let scope: CancelScope | undefined;
    if (options instanceof CancelScope) {
      scope = options;
    } else {
      checkOptions(syscallName(kind), options, IO_OPTION_NAMES);
      scope = cancelScope(checkIoOptions(options));
    }
    const reason = scope?.reason;
    if (reason !== undefined) {
      const error = cancelError(reason, this.#context(kind, offset, length, 0));
      const { reports } = this.state;
      // With a signal that was aborted before there was no write. Of one whose time ran out on the way here a sync
      // tells, as of any other: when it ran out is chance.
      if (kind === abi.Kind.write && reason === TIMED_OUT)
        reports.writeFailed({ order: ++this.state.order, error, hadBegun: false, scope });
      throw error;
    }
    // Getters of the options are the caller's code: one may have closed the file.
    this.#checkOpen(kind);
    return scope;
  }

  #context(
    kind: number,
    offset?: Offset | undefined,
    length?: number | undefined,
    transferred?: number | undefined,
  ): ErrorContext {
    const file = this.state;
    return { kind, file, syscall: syscallName(kind), path: file.path, offset, length, transferred };
  }

  /** Resolves with `error`, or with ERR_DEVICE_GONE if the device is gone. */
  #orGone(error: IoError): Promise<IoError> {
    return orGone(this.proactor, this.state, error);
  }

  #closedError(kind: number): IoError {
    const where = { syscall: syscallName(kind), path: this.state.path };
    if (this.state.closing) return closedError(where);
    const hint = "Open the file again on another ring";
    return ringClosedError(this.proactor.lostErrno, { ...where, hint });
  }
}

/** The open file behind a `File`. */
export function openFileOf(file: object): OpenFile {
  const open = entryStarterOf(file);
  if (!(open instanceof OpenFile)) throw new Error("bun-aio: internal error: no File");
  return open;
}

function isVector(data: IoData | readonly IoData[]): data is readonly IoData[] {
  return Array.isArray(data);
}
