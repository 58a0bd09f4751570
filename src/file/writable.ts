// `file.writable()`: a web stream over positions. Writes run behind and are gathered into aligned requests, in a fixed
// number of buffers.

import { ChildScope } from "../cancellation/child_scope.ts";
import { onCancel } from "../cancellation/registry.ts";
import { type CancelReason, CancelScope, cancelScope } from "../cancellation/scope.ts";
import {
  addOffset,
  type Bytes,
  checkBoolean,
  checkIoOptions,
  checkOffset,
  checkOptions,
  type IoData,
  type Offset,
  remainder,
  roundUp,
} from "../common/arguments.ts";
import { checkBytes } from "../common/memory_views.ts";
import { type CallSite, calledFrom, callSite } from "../errors/call_site.ts";
import { IoError } from "../errors/io_error.ts";
import { BufferPool } from "../memory/buffer_pool.ts";
import * as abi from "../native/abi.gen.ts";
import { type OpenFile, openFileOf } from "./open_file.ts";
import { cancelled, checkConcurrency } from "./streams.ts";

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

/** Bytes of one write. */
const BLOCK_BYTES = 256 * 1024;

export function writableOf(file: object, options: WritableOptions = {}): WritableStream<IoData> {
  checkOptions("File.writable", options, ["start", "concurrency", "sync", "signal"]);
  const parent = cancelScope(checkIoOptions({ signal: options.signal }));
  return new WritableStream(new WriteBehind(file, options, parent));
}

class WriteBehind {
  /** The `File`: its descriptor is closed if it is collected. */
  readonly owner: object;
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

  constructor(owner: object, options: WritableOptions, parent: CancelScope | undefined) {
    this.owner = owner;
    this.#file = openFileOf(owner);
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
