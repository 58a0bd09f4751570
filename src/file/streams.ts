// `file.readable()` and `file.writable()`: web streams over positions. Reads run ahead and are delivered in order;
// writes run behind and are gathered into aligned requests. Both hold a fixed number of buffers and do only what the
// other side of the stream has asked for.

import { ChildScope } from "../cancellation/child_scope.ts";
import { onCancel } from "../cancellation/registry.ts";
import { type CancelReason, CancelScope, cancelError, cancelScope } from "../cancellation/scope.ts";
import {
  addOffset,
  type Bytes,
  checkBoolean,
  checkInteger,
  checkIoOptions,
  checkOffset,
  checkOptions,
  type IoData,
  type Offset,
  remainder,
  roundUp,
} from "../common/arguments.ts";
import { checkEnd } from "../common/byte_range.ts";
import { checkBytes } from "../common/memory_views.ts";
import { type CallSite, calledFrom, callSite } from "../errors/call_site.ts";
import { IoError } from "../errors/io_error.ts";
import { allocBuffer } from "../memory/alloc_buffer.ts";
import { BufferPool } from "../memory/buffer_pool.ts";
import * as abi from "../native/abi.gen.ts";
import { Reply } from "../ring/slots.ts";
import type { OpenFile } from "./open_file.ts";

/** What `file.readable` reads, and how far ahead. */
export interface ReadableOptions {
  /** Position of the first byte. Default 0. */
  start?: Offset | undefined;
  /** End position, exclusive. Default: the end of the file when it is reached. */
  end?: Offset | undefined;
  /**
   * Bytes of each read and of each chunk but the last; rounded up to `file.alignment`. Default 262144; at most 1
   * GiB.
   */
  chunkSize?: number | undefined;
  /** Reads in flight, or done and not yet consumed, 1 to 1024. Default 8. */
  concurrency?: number | undefined;
  /** Errors the stream with an AbortError and cancels its reads. */
  signal?: AbortSignal | undefined;
}

/** Where `file.writable` writes, and how much at once. */
export interface WritableOptions {
  /** Position of the first byte. Default 0. */
  start?: Offset | undefined;
  /** Writes in flight, 1 to 1024. Default 8. The stream holds one more buffer of 256 KiB than that. */
  concurrency?: number | undefined;
  /** Whether `close` waits until everything is on the medium (`syncAll`). Default false. */
  sync?: boolean | undefined;
  /** Errors the stream with an AbortError and cancels its writes. */
  signal?: AbortSignal | undefined;
}

const CHUNK_BYTES_DEFAULT = 256 * 1024;
const CHUNK_BYTES_MAX = 2 ** 30;
const CONCURRENCY_DEFAULT = 8;
export const CONCURRENCY_MAX = 1024;
/** Bytes of one write of a writable stream. */
const BLOCK_BYTES = 256 * 1024;

function cancelled(reason: CancelReason, syscall: string, file: OpenFile): IoError {
  return cancelError(reason, { syscall, path: file.state.path });
}

function checkConcurrency(value: number | undefined): number {
  if (value === undefined) return CONCURRENCY_DEFAULT;
  return checkInteger("options.concurrency", value, 1, CONCURRENCY_MAX);
}

// Reading ---------------------------------------------------------------------------------------------

/** A read that runs ahead of the reader. */
interface Ahead {
  readonly buffer: Bytes;
  /** Bytes wanted; the request may be longer, rounded up to whole units. */
  readonly length: number;
  /** Never rejects. */
  readonly settled: Promise<void>;
  bytes: number;
  error: unknown;
  failed: boolean;
  /** Bytes delivered so far (BYOB readers take what fits). */
  taken: number;
}

export function readableOf(file: OpenFile, options: ReadableOptions = {}): ReadableStream<Bytes> {
  checkOptions("File.readable", options, ["start", "end", "chunkSize", "concurrency", "signal"]);
  const parent = cancelScope(checkIoOptions({ signal: options.signal }));
  return new ReadableStream(new ReadAhead(file, options, parent)) as ReadableStream<Bytes>;
}

class ReadAhead {
  readonly type: "bytes" = "bytes";
  readonly #file: OpenFile;
  readonly #start: Offset;
  /** Bytes from `#start`; Infinity: up to the end of the file. */
  readonly #limit: number;
  readonly #chunkSize: number;
  readonly #concurrency: number;
  readonly #queue: Ahead[] = [];
  readonly #free: Bytes[] = [];
  readonly #site: CallSite = callSite();
  /** The scope of every read. */
  readonly #scope: ChildScope;
  #controller: ReadableByteStreamController | undefined;
  /** Bytes requested from the file so far. */
  #issued = 0;
  /** The end of the file was reached, or the stream has ended: no more reads. */
  #ended = false;

  constructor(file: OpenFile, options: ReadableOptions, parent: CancelScope | undefined) {
    this.#file = file;
    this.#start = checkOffset("options.start", options.start ?? 0);
    const { end, chunkSize = CHUNK_BYTES_DEFAULT } = options;
    this.#limit = checkEnd("options.end", end, this.#start);
    checkInteger("options.chunkSize", chunkSize, 1, CHUNK_BYTES_MAX);
    this.#chunkSize = roundUp(chunkSize, file.state.alignment.offset);
    this.#concurrency = checkConcurrency(options.concurrency);
    this.#scope = new ChildScope(parent, (reason) => this.#cancelled(reason));
  }

  start(controller: ReadableByteStreamController): void {
    this.#controller = controller;
    const { reason } = this.#scope;
    if (reason !== undefined) this.#cancelled(reason);
  }

  #cancelled(reason: CancelReason): void {
    this.#controller?.error(calledFrom(cancelled(reason, "read", this.#file), this.#site));
    this.#stop(reason.cause);
  }

  /** Called when the reader wants data and the stream has none queued. */
  async pull(controller: ReadableByteStreamController): Promise<void> {
    this.#fill();
    const [ahead] = this.#queue;
    if (ahead !== undefined) await ahead.settled;
    if (this.#scope.reason !== undefined) return;
    if (ahead?.failed === true) {
      this.#stop(ahead.error);
      throw calledFrom(ahead.error, this.#site);
    }
    if (ahead === undefined || ahead.taken === ahead.bytes) {
      this.#stop(undefined);
      controller.close();
      controller.byobRequest?.respond(0);
      return;
    }
    this.#hand(controller, ahead);
  }

  async cancel(reason: unknown): Promise<void> {
    const running = this.#queue.map((ahead) => ahead.settled);
    this.#stop(reason);
    // Once this settles the kernel no longer uses the buffers.
    await Promise.all(running);
  }

  #stop(reason: unknown): void {
    this.#ended = true;
    this.#scope.cancel(reason);
    this.#queue.length = 0;
    this.#free.length = 0;
  }

  #fill(): void {
    while (!this.#ended && this.#queue.length < this.#concurrency && this.#issued < this.#limit) {
      this.#queue.push(this.#read());
    }
  }

  #read(): Ahead {
    const file = this.#file;
    const unit = file.state.alignment.offset;
    const offset = addOffset(this.#start, this.#issued);
    // The first read ends on a boundary, so that all others are aligned.
    const head = remainder(offset, unit);
    const length = Math.min(this.#chunkSize - head, this.#limit - this.#issued);
    const buffer = this.#free.pop() ?? allocBuffer(this.#chunkSize);
    const wide = head === 0 ? roundUp(length, unit) : length;
    this.#issued += length;
    const reading = file.transfer(
      abi.Kind.read,
      buffer.subarray(0, wide),
      offset,
      this.#scope,
      Reply.bytes,
    ) as Promise<number>;
    const ahead: Ahead = {
      buffer,
      length,
      settled: reading.then(
        (bytes) => {
          ahead.bytes = Math.min(bytes, length);
          if (bytes < length) this.#ended = true;
        },
        (error) => {
          ahead.failed = true;
          ahead.error = error;
          this.#ended = true;
        },
      ),
      bytes: 0,
      error: undefined,
      failed: false,
      taken: 0,
    };
    return ahead;
  }

  #hand(controller: ReadableByteStreamController, ahead: Ahead): void {
    const request = controller.byobRequest;
    const view = request?.view ?? null;
    if (request !== null && view !== null) {
      const bytes = Math.min(view.byteLength, ahead.bytes - ahead.taken);
      const part = ahead.buffer.subarray(ahead.taken, ahead.taken + bytes);
      new Uint8Array(view.buffer, view.byteOffset, bytes).set(part);
      ahead.taken += bytes;
      if (ahead.taken === ahead.bytes) this.#drop(ahead);
      request.respond(bytes);
      return;
    }
    // A copy, because the reader owns the chunk. Handing out native memory, mapped anew and faulted in page by
    // page, took 430 ms of processor time for a gigabyte; this takes 240 ms.
    const chunk = ahead.buffer.slice(ahead.taken, ahead.bytes);
    this.#drop(ahead);
    controller.enqueue(chunk);
  }

  /**
   * The first read has been delivered: its buffer is free. If it reached the end of the file, the reads after it
   * are useless.
   */
  #drop(ahead: Ahead): void {
    this.#queue.shift();
    if (ahead.bytes < ahead.length) {
      this.#queue.length = 0;
      this.#free.length = 0;
    } else {
      this.#free.push(ahead.buffer);
    }
    this.#fill();
  }
}

// Writing ---------------------------------------------------------------------------------------------

export function writableOf(file: OpenFile, options: WritableOptions = {}): WritableStream<IoData> {
  checkOptions("File.writable", options, ["start", "concurrency", "sync", "signal"]);
  const parent = cancelScope(checkIoOptions({ signal: options.signal }));
  return new WritableStream(new WriteBehind(file, options, parent));
}

class WriteBehind {
  readonly #file: OpenFile;
  readonly #sync: boolean;
  readonly #count: number;
  readonly #site: CallSite = callSite();
  readonly #running = new Set<Promise<void>>();
  /** Exists from the first chunk to the end of the stream. */
  #pool: BufferPool | undefined;
  #controller: WritableStreamDefaultController | undefined;
  /** The scope of all writes and syncs of the stream. */
  readonly #scope: ChildScope;
  /** Position in the file of the block that is being filled. */
  #position: Offset;
  #block: (Bytes & Disposable) | undefined;
  #filled = 0;
  #failed = false;
  #failure: unknown;

  constructor(file: OpenFile, options: WritableOptions, parent: CancelScope | undefined) {
    this.#file = file;
    this.#position = checkOffset("options.start", options.start ?? 0);
    this.#sync = options.sync !== undefined && checkBoolean("options.sync", options.sync);
    this.#count = checkConcurrency(options.concurrency) + 1;
    this.#scope = new ChildScope(parent, (reason) => this.#cancelled(reason));
  }

  start(controller: WritableStreamDefaultController): void {
    this.#controller = controller;
    this.#file.state.reports.beginTeller(this.#scope);
    const { reason } = this.#scope;
    if (reason !== undefined) {
      this.#cancelled(reason);
      return;
    }
    // `abort` below is called only after a pending write(); the signal aborts at once.
    const own = signalOf(controller);
    if (own !== undefined) onCancel(new CancelScope(own), ({ cause }) => this.#halt(cause));
  }

  #cancelled(reason: CancelReason): void {
    this.#fail(cancelled(reason, "write", this.#file));
  }

  /** Resolves when the chunk has been copied: the caller may reuse its memory. */
  async write(chunk: IoData): Promise<void> {
    try {
      await this.#gather(chunk);
    } catch (error) {
      this.#fail(error);
      throw error;
    }
  }

  async #gather(chunk: IoData): Promise<void> {
    const bytes = checkBytes("chunk", chunk);
    const length = bytes.byteLength;
    let done = 0;
    while (done < length) {
      const block = this.#block ?? (await this.#nextBlock());
      // The caller detached the memory while this waited.
      if (bytes.byteLength !== length) throw chunkGone(this.#file, length, done);
      const room = this.#room(block) - this.#filled;
      const part = bytes.subarray(done, done + room);
      block.set(part, this.#filled);
      this.#filled += part.byteLength;
      done += part.byteLength;
      if (part.byteLength === room) this.#send(block);
    }
  }

  async close(): Promise<void> {
    try {
      await this.#finish();
    } catch (error) {
      this.#fail(error);
      throw error;
    } finally {
      await this.#end();
    }
  }

  async #finish(): Promise<void> {
    if (this.#block !== undefined) this.#send(this.#block);
    await this.#settled();
    if (this.#sync) await this.#file.sync(abi.Kind.syncAll, this.#scope);
  }

  /** Once this resolves the kernel no longer uses the buffers. */
  abort(reason: unknown): Promise<void> {
    this.#halt(reason);
    return this.#end();
  }

  async #nextBlock(): Promise<Bytes & Disposable> {
    if (this.#failed) throw this.#failure;
    const size = roundUp(BLOCK_BYTES, this.#file.state.alignment.offset);
    this.#pool ??= new BufferPool({ size, count: this.#count });
    const block = await this.#pool.acquire().catch(async (error) => {
      // The error of the write that took the last buffer says more.
      await Promise.all(this.#running);
      throw this.#failed ? this.#failure : error;
    });
    this.#block = block;
    this.#filled = 0;
    // The buffer may be free because a write failed.
    if (this.#failed) {
      this.#dropBlock();
      throw this.#failure;
    }
    return block;
  }

  /** The first block ends on a boundary, so that all others are aligned. */
  #room(block: Bytes): number {
    return block.byteLength - remainder(this.#position, this.#file.state.alignment.offset);
  }

  #send(block: Bytes & Disposable): void {
    const data = block.subarray(0, this.#filled);
    const writing = this.#file.writeAnywhere(data, this.#position, this.#scope);
    this.#position = addOffset(this.#position, this.#filled);
    this.#block = undefined;
    this.#filled = 0;
    const running = writing
      .catch((error) => this.#fail(error))
      .finally(() => {
        this.#running.delete(running);
        block[Symbol.dispose]();
      });
    this.#running.add(running);
  }

  async #settled(): Promise<void> {
    await Promise.all(this.#running);
    if (this.#failed) throw this.#failure;
  }

  /** Errors the stream. */
  #fail(error: unknown): void {
    if (this.#failed) return;
    this.#controller?.error(calledFrom(error, this.#site));
    this.#halt(error);
  }

  #halt(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#failure = error;
    this.#tell();
    this.#scope.cancel(error);
    // A failed stream is never asked for anything, not even its end.
    void this.#end();
  }

  /** The writer of the stream knows from now on that its data may not be written: syncs need not report it. */
  #tell(): void {
    const { order, reports } = this.#file.state;
    reports.endTeller(this.#scope, order);
  }

  /** Releases the stream's memory once the writes in flight have settled. */
  async #end(): Promise<void> {
    this.#scope.release();
    this.#dropBlock();
    await Promise.all(this.#running);
    this.#pool?.[Symbol.dispose]();
    this.#pool = undefined;
  }

  #dropBlock(): void {
    this.#block?.[Symbol.dispose]();
    this.#block = undefined;
  }
}

/** The signal that aborts with the stream; missing in bun-types. */
function signalOf(controller: WritableStreamDefaultController): AbortSignal | undefined {
  const signal: unknown = "signal" in controller ? controller.signal : undefined;
  return signal instanceof AbortSignal ? signal : undefined;
}

function chunkGone(file: OpenFile, length: number, transferred: number): IoError {
  return new IoError("ERR_BUFFER_DETACHED", {
    reason: "the chunk was transferred or has shrunk before its write() resolved",
    syscall: "write",
    path: file.state.path,
    length,
    transferred,
    hint: "Do not transfer or shrink the chunk until write() resolves",
  });
}
