// `file.readable()`: a web stream over positions. Reads run ahead and are delivered in order; a fixed number of them,
// and only as the reader asks. Data in the page cache is read at once into the memory of the chunk itself. All other
// reads go to buffers of the stream, from which they are copied: a read in flight needs native memory, and a chunk
// belongs to the reader.

import { ChildScope } from "../cancellation/child_scope.ts";
import { type CancelReason, type CancelScope, cancelScope } from "../cancellation/scope.ts";
import {
  addOffset,
  type Bytes,
  checkInteger,
  checkIoOptions,
  checkOffset,
  checkOptions,
  type Offset,
  remainder,
  roundUp,
} from "../common/arguments.ts";
import { checkEnd } from "../common/byte_range.ts";
import { type CallSite, calledFrom, callSite } from "../errors/call_site.ts";
import { allocBuffer } from "../memory/alloc_buffer.ts";
import * as abi from "../native/abi.gen.ts";
import { Reply } from "../ring/slots.ts";
import { type OpenFile, openFileOf } from "./open_file.ts";
import { cancelled, checkConcurrency } from "./streams.ts";

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

const CHUNK_BYTES_DEFAULT = 256 * 1024;
const CHUNK_BYTES_MAX = 2 ** 30;
/** Longest read made at once: it blocks the event loop for about 0.2 ms. */
const AT_ONCE_BYTES_MAX = 2 ** 20;
const { allocUnsafeSlow } = Buffer;

/** A part of the file that is being read ahead of the reader. */
interface Ahead {
  /** Of the stream; of the reader, if the read was made at once. */
  readonly memory: Bytes;
  /** Bytes wanted; the request may be longer, rounded up to whole units. */
  readonly length: number;
  /** Resolves when the read has ended, well or not; undefined: it was made at once. */
  readonly settled: Promise<void> | undefined;
  bytes: number;
  error: unknown;
  failed: boolean;
  /** Bytes delivered so far (BYOB readers take what fits). */
  taken: number;
}

export function readableOf(file: object, options: ReadableOptions = {}): ReadableStream<Bytes> {
  checkOptions("File.readable", options, ["start", "end", "chunkSize", "concurrency", "signal"]);
  const parent = cancelScope(checkIoOptions({ signal: options.signal }));
  return new ReadableStream(new ReadAhead(file, options, parent)) as ReadableStream<Bytes>;
}

class ReadAhead {
  readonly type: "bytes" = "bytes";
  /** The `File`: its descriptor is closed if it is collected. */
  readonly owner: object;
  readonly #file: OpenFile;
  readonly #start: Offset;
  /** Bytes from `#start`; Infinity: up to the end of the file. */
  readonly #limit: number;
  readonly #chunkSize: number;
  readonly #concurrency: number;
  readonly #queue: Ahead[] = [];
  readonly #free: Bytes[] = [];
  /** Memory for the next chunk that is read at once. */
  #spare: Bytes | undefined;
  /** Whether reads ahead wait for the next turn. */
  #willFill = false;
  readonly #site: CallSite = callSite();
  /** The scope of every read. */
  readonly #scope: ChildScope;
  #controller: ReadableByteStreamController | undefined;
  /** Bytes requested from the file so far. */
  #issued = 0;
  /** The end of the file was reached, or the stream has ended: no more reads. */
  #ended = false;

  constructor(owner: object, options: ReadableOptions, parent: CancelScope | undefined) {
    this.owner = owner;
    this.#file = openFileOf(owner);
    this.#start = checkOffset("options.start", options.start ?? 0);
    const { end, chunkSize = CHUNK_BYTES_DEFAULT } = options;
    this.#limit = checkEnd("options.end", end, this.#start);
    checkInteger("options.chunkSize", chunkSize, 1, CHUNK_BYTES_MAX);
    this.#chunkSize = roundUp(chunkSize, this.#file.state.alignment.offset);
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
  pull(controller: ReadableByteStreamController): Promise<void> | undefined {
    if (this.#queue.length === 0) {
      if (this.#waitsForTurn) return this.#pullInNextTurn(controller);
      if (this.#readIntoView(controller)) return undefined;
    }
    this.#fill();
    const [first] = this.#queue;
    if (first === undefined || first.settled !== undefined) return this.#pullLater(controller);
    this.#hand(controller, first);
    return undefined;
  }

  async #pullInNextTurn(controller: ReadableByteStreamController): Promise<void> {
    await this.#file.proactor.nextTurn();
    if (this.#scope.reason === undefined) await this.pull(controller);
  }

  async #pullLater(controller: ReadableByteStreamController): Promise<void> {
    const [first] = this.#queue;
    await first?.settled;
    if (this.#scope.reason !== undefined) return;
    if (first?.failed === true) {
      this.#stop(first.error);
      throw calledFrom(first.error, this.#site);
    }
    if (first === undefined || first.taken === first.bytes) {
      this.#stop(undefined);
      controller.close();
      controller.byobRequest?.respond(0);
      return;
    }
    this.#hand(controller, first);
  }

  async cancel(reason: unknown): Promise<void> {
    const running = this.#queue.map(({ settled }) => settled);
    this.#stop(reason);
    // Once this settles the kernel no longer uses the buffers.
    await Promise.all(running);
  }

  #stop(reason: unknown): void {
    this.#ended = true;
    this.#scope.cancel(reason);
    this.#queue.length = 0;
    this.#free.length = 0;
    this.#spare = undefined;
  }

  get #isAllIssued(): boolean {
    return this.#ended || this.#issued >= this.#limit;
  }

  /** What was submitted now would wait for the next turn, too, which may make the read at once. */
  get #waitsForTurn(): boolean {
    const { proactor, state } = this.#file;
    return !this.#isAllIssued && proactor.canReadAtOnce(state) && proactor.isTurnOver();
  }

  #fill(): void {
    while (!this.#isAllIssued && this.#queue.length < this.#concurrency) {
      if (this.#waitsForTurn) {
        void this.#fillInNextTurn();
        return;
      }
      this.#queue.push(this.#read());
    }
  }

  async #fillInNextTurn(): Promise<void> {
    if (this.#willFill) return;
    this.#willFill = true;
    await this.#file.proactor.nextTurn();
    this.#willFill = false;
    this.#fill();
  }

  #read(): Ahead {
    const unit = this.#file.state.alignment.offset;
    const offset = addOffset(this.#start, this.#issued);
    // The first read ends on a boundary, so that all others are aligned.
    const head = remainder(offset, unit);
    const length = Math.min(this.#chunkSize - head, this.#limit - this.#issued);
    this.#issued += length;
    const chunk = this.#readChunk(offset, length);
    return chunk === undefined
      ? this.#submit(offset, length, head === 0 ? roundUp(length, unit) : length)
      : ahead(chunk, length, length, undefined);
  }

  /** A chunk read at once; undefined if that is impossible. */
  #readChunk(offset: Offset, length: number): Bytes | undefined {
    if (length > AT_ONCE_BYTES_MAX || !this.#file.canReadAtOnce) return undefined;
    const chunk = this.#spare?.byteLength === length ? this.#spare : uncleared(length);
    const isRead = this.#file.readAtOnce(chunk, offset);
    this.#spare = isRead ? undefined : chunk;
    return isRead ? chunk : undefined;
  }

  /** Fills the view of a BYOB reader at once, if it has room for a chunk. */
  #readIntoView(controller: ReadableByteStreamController): boolean {
    const request = controller.byobRequest;
    const view = request?.view ?? null;
    if (request === null || view === null) return false;
    const { byteLength } = view;
    if (byteLength < this.#chunkSize || byteLength > AT_ONCE_BYTES_MAX) return false;
    if (this.#ended || this.#issued + byteLength > this.#limit) return false;
    if (!this.#file.canReadAtOnce) return false;
    if (!this.#file.readAtOnce(view, addOffset(this.#start, this.#issued))) return false;
    this.#issued += byteLength;
    request.respond(byteLength);
    return true;
  }

  /** `wide`: `length`, rounded up to whole units if the read begins with one. */
  #submit(offset: Offset, length: number, wide: number): Ahead {
    const buffer = this.#free.pop() ?? allocBuffer(this.#chunkSize);
    const reading = this.#file.transfer(
      abi.Kind.read,
      buffer.subarray(0, wide),
      offset,
      this.#scope,
      Reply.bytes,
    ) as Promise<number>;
    const submitted = ahead(
      buffer,
      length,
      0,
      reading.then(
        (bytes) => {
          submitted.bytes = Math.min(bytes, length);
          if (bytes < length) this.#ended = true;
        },
        (error) => {
          submitted.failed = true;
          submitted.error = error;
          this.#ended = true;
        },
      ),
    );
    return submitted;
  }

  /** The first of the queue, of which there are bytes left. */
  #hand(controller: ReadableByteStreamController, first: Ahead): void {
    const request = controller.byobRequest;
    const view = request?.view ?? null;
    if (request !== null && view !== null) {
      const bytes = Math.min(view.byteLength, first.bytes - first.taken);
      const part = first.memory.subarray(first.taken, first.taken + bytes);
      new Uint8Array(view.buffer, view.byteOffset, bytes).set(part);
      first.taken += bytes;
      if (first.taken === first.bytes) this.#drop(first, true);
      request.respond(bytes);
      return;
    }
    const isChunk = first.settled === undefined && first.taken === 0;
    const chunk = isChunk ? first.memory : first.memory.slice(first.taken, first.bytes);
    this.#drop(first, !isChunk);
    controller.enqueue(chunk);
  }

  /**
   * The first read has been delivered. If it reached the end of the file, the reads after it are useless.
   * `isFree`: its memory can be used again.
   */
  #drop(first: Ahead, isFree: boolean): void {
    this.#queue.shift();
    if (first.bytes < first.length) {
      this.#queue.length = 0;
      this.#free.length = 0;
    } else if (isFree) {
      if (first.settled === undefined) this.#spare = first.memory;
      else this.#free.push(first.memory);
    }
    this.#fill();
  }
}

function ahead(
  memory: Bytes,
  length: number,
  bytes: number,
  settled: Promise<void> | undefined,
): Ahead {
  return { memory, length, settled, bytes, error: undefined, failed: false, taken: 0 };
}

/** Memory of JavaScript, which the caller overwrites before anyone sees it. */
function uncleared(bytes: number): Bytes {
  return new Uint8Array(allocUnsafeSlow(bytes).buffer as ArrayBuffer, 0, bytes);
}
