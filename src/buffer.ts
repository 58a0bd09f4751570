// Memory that the kernel may read and write directly: `allocBuffer` and `BufferPool`. It is native,
// page aligned and counted (zig/slab.zig): what is in flight stays, whatever JavaScript does to the
// ArrayBuffer over it. Any other view works too, by way of a copy (core.ts).

import { type Bytes, checkInteger, checkOptions, type IoData, isSignal } from "./arguments.ts";
import { causeError } from "./control.ts";
import { argumentRange, argumentType, argumentValue, IoError, systemError } from "./errors.ts";
import { listen, unlisten } from "./event_loop.ts";
import { PINNED_CHUNKS_MAX, SlabInfo } from "./native/abi.gen.ts";
import { library, nativeBuffer } from "./native/library.ts";
import { noteClosed, noteHeld, noteOpened } from "./registry.ts";

/** Who has registered memory of pools with a kernel: a ring (pins.ts). */
export interface Pinner {
  readonly over: boolean;
  unpin(header: number): void;
}

/** Native memory behind an ArrayBuffer. */
export interface Slab {
  /** Once it is detached, the memory may be gone at any time. */
  readonly buffer: ArrayBuffer;
  /** Where the native reference count is. */
  readonly header: number;
  readonly address: number;
  readonly bytes: number;
  /** Who counts operations in flight on parts of it. */
  readonly pool: BufferPool | undefined;
  /** Of a pool: what is registered with a kernel at once (pinned); 0 for nothing, and when it is disposed of. */
  chunkBytes: number;
  readonly pinners: WeakRef<Pinner>[];
}

const slabs = new WeakMap<ArrayBufferLike, Slab>();
/** The same for views that were used before: reading `view.buffer` costs 22 ns, this look-up 7. */
const slabsOfViews = new WeakMap<ArrayBufferView, Slab>();

/**
 * Whether these numbers can be a view's. What a subclass or a property of the view says about itself
 * must not reach the kernel unchecked.
 */
export function isPlausible(slab: Slab | undefined, offset: number, length: number): boolean {
  if (!Number.isSafeInteger(length) || length < 0) return false;
  if (slab === undefined) return true;
  return Number.isSafeInteger(offset) && offset >= 0 && offset + length <= slab.bytes;
}

const ALIGNMENT_DEFAULT = 4096;
const ALIGNMENT_MAX = 2 ** 30;
/** Chunks of pools are at least and at most so long. */
const CHUNK_BYTES_MIN = 2 ** 18;
const CHUNK_BYTES_MAX = 2 ** 21;
/** JavaScriptCore's longest ArrayBuffer (MAX_ARRAY_BUFFER_SIZE). */
const SIZE_MAX = 2 ** 32;

/** The slab behind memory made here, undefined for any other. */
export function slabOf(data: IoData): Slab | undefined {
  if (!ArrayBuffer.isView(data)) return slabs.get(data);
  const known = slabsOfViews.get(data);
  if (known !== undefined) return known;
  const slab = slabs.get(data.buffer);
  if (slab !== undefined) {
    slabsOfViews.set(data, slab);
    noteHeld(data.buffer, data);
  }
  return slab;
}

/**
 * Zeroed memory that files read into and write from without a copy.
 *
 * @param size Bytes, from 1 to 2^32, the longest ArrayBuffer there is.
 * @param options.alignment A power of two; default 4096, which suits every device. Smaller values
 *   are rounded up to a page.
 * @throws TypeError, RangeError for wrong arguments; IoError `ENOMEM` when the system has no memory.
 *
 * The memory belongs to the returned view's ArrayBuffer and counts as its garbage-collection
 * pressure. A read or write in flight keeps it alive by itself.
 */
export function allocBuffer(size: number, options?: { alignment?: number | undefined }): Bytes {
  checkInteger("size", size, 1, SIZE_MAX);
  checkOptions("allocBuffer", options, ["alignment"]);
  const memory = createSlab(size, checkAlignment(options?.alignment), undefined, 0);
  const view = new Uint8Array(memory, 0, size);
  noteHeld(memory, view);
  return view;
}

function checkAlignment(alignment: number | undefined): number {
  if (alignment === undefined) return ALIGNMENT_DEFAULT;
  checkInteger("options.alignment", alignment, 1, ALIGNMENT_MAX);
  if (Number.isInteger(Math.log2(alignment))) return alignment;
  throw argumentRange("options.alignment", "a power of two", alignment);
}

function createSlab(
  bytes: number,
  alignment: number,
  pool: BufferPool | undefined,
  chunkBytes: number,
): ArrayBuffer {
  const native = library();
  const info = new Float64Array(SlabInfo.SIZE / 8);
  const errno = native.ba_slab_create(bytes, alignment, info);
  if (errno !== 0) {
    const { code, reason } = systemError(errno);
    throw new IoError(code, {
      reason: `${reason}: no memory for a buffer of ${bytes} bytes`,
      errno: -errno,
      syscall: "mmap",
      length: bytes,
    });
  }
  const [header = 0, address = 0, release = 0] = info;
  const buffer = nativeBuffer(address, bytes, header, release);
  slabs.set(buffer, { buffer, header, address, bytes, pool, chunkBytes, pinners: [] });
  noteOpened("slab", buffer, () => `of ${bytes} bytes${pool === undefined ? "" : " (BufferPool)"}`);
  return buffer;
}

export interface BufferPoolOptions {
  /** Bytes of each buffer. */
  size: number;
  /** Number of buffers. */
  count: number;
  /** Of each buffer; a power of two, default 4096. */
  alignment?: number | undefined;
}

type Lease = Bytes & Disposable;

/**
 * Counts an operation that starts (`by` 1) or has settled (-1) on `bytes` bytes at `offset` of a
 * pool's slab. For core.ts.
 */
export let countInFlight: (pool: BufferPool, offset: number, bytes: number, by: 1 | -1) => void;

/** From now on the kernel may use the same bytes for ever: their buffers are never lent again. For core.ts. */
export let loseBuffers: (pool: BufferPool, offset: number, bytes: number) => void;

/** Whether there ever was a pool: without one, long vectors need not be searched for its buffers. */
export let poolsExist: () => boolean;

/** Whole buffers, few enough to be pinned in about the time of a read of as many bytes; 0 if there are none. */
function chunkOf(stride: number, count: number): number {
  const bytes = Math.max(CHUNK_BYTES_MIN, (stride * count) / PINNED_CHUNKS_MAX);
  const chunk = Math.ceil(bytes / stride) * stride;
  return chunk <= CHUNK_BYTES_MAX ? chunk : 0;
}

interface Waiter {
  resolve(lease: Lease): void;
  reject(error: unknown): void;
  stop(): void;
}

/**
 * A fixed number of equal buffers, lent out one by one. `acquire` waits when all are out.
 *
 * ```ts
 * using pool = new BufferPool({ size: 65536, count: 8 });
 * using buffer = await pool.acquire();
 * await file.readAt(buffer, 0);
 * ```
 */
export class BufferPool implements Disposable {
  static #exist = false;
  readonly #size: number;
  readonly #stride: number;
  readonly #slab: ArrayBuffer;
  readonly #free: number[] = [];
  /** The view that holds each buffer now, and operations in flight on it. */
  readonly #holders: (Lease | undefined)[] = [];
  readonly #inFlight: Int32Array;
  /** Every view ever lent, and which buffer it was; so that a second release is told from a foreign one. */
  readonly #leases = new WeakMap<object, number>();
  /** Released while in flight: they return when the last operation settles. */
  readonly #returning = new Set<number>();
  /** Those that the kernel may use for ever. */
  readonly #lost = new Set<number>();
  readonly #waiters = new Set<Waiter>();
  #disposed = false;

  static {
    countInFlight = (pool, offset, bytes, by) => pool.#adjust(offset, bytes, by);
    loseBuffers = (pool, offset, bytes) => pool.#lose(offset, bytes);
    poolsExist = () => BufferPool.#exist;
  }

  constructor(options: BufferPoolOptions) {
    checkOptions("BufferPool", options, ["size", "count", "alignment"]);
    if (options === undefined)
      throw argumentType("options", "an object with size and count", options);
    this.#size = checkInteger("options.size", options.size, 1, SIZE_MAX);
    const count = checkInteger("options.count", options.count, 1, 2 ** 20);
    const alignment = checkAlignment(options.alignment);
    BufferPool.#exist = true;
    this.#stride = Math.ceil(this.#size / alignment) * alignment;
    if (this.#stride * count > SIZE_MAX) {
      throw argumentRange(
        "options.count",
        `so that all buffers take at most ${SIZE_MAX} bytes`,
        count,
      );
    }
    this.#slab = createSlab(this.#stride * count, alignment, this, chunkOf(this.#stride, count));
    noteHeld(this.#slab, this);
    this.#inFlight = new Int32Array(count);
    for (let index = count - 1; index >= 0; index--) this.#free.push(index);
  }

  /** Bytes of each buffer. */
  get size(): number {
    return this.#size;
  }

  /** Buffers that nobody holds. */
  get available(): number {
    return this.#free.length;
  }

  /**
   * Lends a buffer, when one is free; first come, first served. Its contents are what the last
   * holder left. Rejects with an AbortError when `signal` aborts first, with `ERR_POOL_DISPOSED` when the
   * pool is disposed of, and with `ERR_OUTCOME_UNKNOWN` when operations on all of its buffers ended so.
   */
  acquire(options?: { signal?: AbortSignal | undefined }): Promise<Lease> {
    try {
      checkOptions("BufferPool.acquire", options, ["signal"]);
      const signal = options?.signal;
      if (signal !== undefined && !isSignal(signal)) {
        throw argumentType("options.signal", "an AbortSignal", signal);
      }
      if (this.#disposed) throw disposedError();
      if (signal?.aborted === true) throw abortedError(signal);
      if (this.#slab.detached) throw detachedError();
      if (this.#areAllLost) throw lostError();
      const index = this.#waiters.size === 0 ? this.#free.pop() : undefined;
      if (index !== undefined) return Promise.resolve(this.#lend(index));
      return this.#wait(signal);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Takes a buffer back. Twice is nothing. While operations on it are in flight it returns once they
   * have settled. A view that this pool never lent is refused with a TypeError.
   */
  release(buffer: Bytes): void {
    const index =
      typeof buffer === "object" && buffer !== null ? this.#leases.get(buffer) : undefined;
    if (index === undefined) throw argumentValue("buffer", "was not lent by this pool", buffer);
    if (this.#holders[index] !== buffer || this.#returning.has(index)) return;
    if ((this.#inFlight[index] ?? 0) > 0) {
      this.#returning.add(index);
      return;
    }
    this.#takeBack(index);
  }

  /** Refuses waiting and later `acquire`s. Buffers that are lent stay usable. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const waiter of this.#waiters) {
      waiter.stop();
      waiter.reject(disposedError());
    }
    this.#waiters.clear();
    const slab = slabs.get(this.#slab);
    if (slab === undefined) return;
    slab.chunkBytes = 0;
    for (const pinner of slab.pinners.splice(0)) pinner.deref()?.unpin(slab.header);
  }

  get #areAllLost(): boolean {
    return this.#lost.size === this.#inFlight.length;
  }

  #lose(offset: number, bytes: number): void {
    const { first, last } = this.#indexes(offset, bytes);
    for (let index = first; index <= last; index++) this.#lost.add(index);
    if (!this.#areAllLost) return;
    for (const waiter of this.#waiters) {
      waiter.stop();
      waiter.reject(lostError());
    }
    this.#waiters.clear();
  }

  /** Of the buffers that a range touches. */
  #indexes(offset: number, bytes: number): { first: number; last: number } {
    const first = Math.floor(offset / this.#stride);
    return { first, last: Math.floor((offset + Math.max(bytes, 1) - 1) / this.#stride) };
  }

  #adjust(offset: number, bytes: number, by: 1 | -1): void {
    const { first, last } = this.#indexes(offset, bytes);
    for (let index = first; index <= last; index++) {
      const count = (this.#inFlight[index] ?? 0) + by;
      this.#inFlight[index] = count;
      if (count === 0 && this.#returning.delete(index)) this.#takeBack(index);
    }
  }

  #takeBack(index: number): void {
    const holder = this.#holders[index];
    if (holder !== undefined) noteClosed(holder);
    this.#holders[index] = undefined;
    if (this.#lost.has(index)) return;
    const [waiter] = this.#waiters;
    if (waiter === undefined) {
      this.#free.push(index);
      return;
    }
    this.#waiters.delete(waiter);
    waiter.stop();
    if (this.#slab.detached) waiter.reject(detachedError());
    else waiter.resolve(this.#lend(index));
  }

  #lend(index: number): Lease {
    const view = new Uint8Array(this.#slab, index * this.#stride, this.#size);
    const lease = Object.defineProperty(view, Symbol.dispose, {
      value: (): void => this.release(view),
    }) as Lease;
    this.#holders[index] = lease;
    this.#leases.set(lease, index);
    noteOpened("lease", lease, () => `of ${this.#size} bytes (buffer ${index} of a BufferPool)`);
    return lease;
  }

  #wait(signal: AbortSignal | undefined): Promise<Lease> {
    const { promise, resolve, reject } = Promise.withResolvers<Lease>();
    const aborted = (): void => {
      this.#waiters.delete(waiter);
      if (signal !== undefined) reject(abortedError(signal));
    };
    const stop = (): void => unlisten(signal, aborted);
    const waiter: Waiter = { resolve, reject, stop };
    listen(signal, aborted);
    this.#waiters.add(waiter);
    return promise;
  }
}

function disposedError(): IoError {
  return new IoError("ERR_POOL_DISPOSED", {
    reason: "the buffer pool was disposed of",
    hint: "Keep the pool until its last acquire has settled",
  });
}

function lostError(): IoError {
  return new IoError("ERR_OUTCOME_UNKNOWN", {
    reason:
      "the kernel may still use every buffer of the pool: operations on them ended with this code",
    hint: "Make another pool",
  });
}

function detachedError(): IoError {
  return new IoError("ERR_BUFFER_DETACHED", {
    reason: "the memory of the buffer pool was transferred elsewhere",
    hint: "All buffers of a pool share one ArrayBuffer: copy instead of transferring it",
  });
}

function abortedError(signal: AbortSignal): IoError {
  return causeError({ code: "ABORT_ERR", reason: signal.reason }, { syscall: "acquire" });
}
