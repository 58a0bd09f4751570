// `BufferPool`: equal buffers of one slab, lent one by one.

import { onCancel, type Registration } from "../cancellation/registry.ts";
import { type CancelScope, cancelError, cancelScope } from "../cancellation/scope.ts";
import { argumentRange, argumentType, argumentValue } from "../common/argument_errors.ts";
import { type Bytes, checkInteger, checkIoOptions, checkOptions } from "../common/arguments.ts";
import { noteClosed, noteHeld, noteOpened } from "../common/leaks.ts";
import { isDetachedBuffer } from "../common/memory_views.ts";
import { traced } from "../errors/call_site.ts";
import { IoError } from "../errors/io_error.ts";
import { REGISTERED_CHUNKS_MAX } from "../native/abi.gen.ts";
import { checkAlignment, createSlab, type Lender, SIZE_MAX, slabOfBuffer } from "./slab.ts";

/** Limits for the size of registered chunks, in bytes. */
const CHUNK_BYTES_MIN = 2 ** 18;
const CHUNK_BYTES_MAX = 2 ** 21;

/** How many buffers a pool has, and of what kind. */
export interface BufferPoolOptions {
  /** Bytes of each buffer. */
  size: number;
  /** Number of buffers. */
  count: number;
  /** Alignment of each buffer; a power of two, default 4096. */
  alignment?: number | undefined;
}

type Lease = Bytes & Disposable;

/**
 * Chunk size: whole buffers, few enough to be registered in about the time of a read of as many bytes; 0 if there
 * is none.
 */
function chunkOf(stride: number, count: number): number {
  const bytes = Math.max(CHUNK_BYTES_MIN, (stride * count) / REGISTERED_CHUNKS_MAX);
  const chunk = Math.ceil(bytes / stride) * stride;
  return chunk <= CHUNK_BYTES_MAX ? chunk : 0;
}

interface Waiter {
  resolve(lease: Lease): void;
  reject(error: unknown): void;
  registration: Registration | undefined;
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
  readonly #size: number;
  readonly #loans: Loans;

  /** Takes the memory of all buffers. */
  constructor(options: BufferPoolOptions) {
    checkOptions("BufferPool", options, ["size", "count", "alignment"]);
    if (options === undefined)
      throw argumentType("options", "an object with size and count", options);
    this.#size = checkInteger("options.size", options.size, 1, SIZE_MAX);
    const count = checkInteger("options.count", options.count, 1, 2 ** 20);
    const alignment = checkAlignment(options.alignment);
    const stride = Math.ceil(this.#size / alignment) * alignment;
    if (stride * count > SIZE_MAX) {
      const expected = `such that all buffers take at most ${SIZE_MAX} bytes`;
      throw argumentRange("options.count", expected, count);
    }
    this.#loans = new Loans(this.#size, stride, count, alignment);
    noteHeld(this.#loans.slab, this);
  }

  /** Bytes of each buffer. */
  get size(): number {
    return this.#size;
  }

  /** Buffers that are free. */
  get available(): number {
    return this.#loans.available;
  }

  /**
   * Lends a buffer, as soon as one is free; first come, first served. Its contents are what the last holder left.
   * Rejects with an AbortError if `signal` aborts first, with `ERR_POOL_DISPOSED` if the pool is disposed of, and
   * with `ERR_OUTCOME_UNKNOWN` if all buffers are lost to operations that ended so.
   */
  acquire(options?: { signal?: AbortSignal | undefined }): Promise<Lease> {
    try {
      checkOptions("BufferPool.acquire", options, ["signal"]);
      return this.#loans.acquire(cancelScope(checkIoOptions({ signal: options?.signal })));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Takes a buffer back; a second release does nothing. While operations on the buffer are in flight, it returns
   * once they have settled. Throws a TypeError for a view that this pool never lent.
   */
  release(buffer: Bytes): void {
    this.#loans.release(buffer);
  }

  /** Rejects waiting and later `acquire`s. Lent buffers stay usable. */
  [Symbol.dispose](): void {
    this.#loans.dispose();
  }
}

/** The buffers of one pool and their holders. Does not reference the `BufferPool`, so that it can be collected. */
class Loans implements Lender {
  readonly #size: number;
  readonly #stride: number;
  readonly slab: ArrayBuffer;
  readonly #free: number[] = [];
  /** The lease of each buffer, and the operations in flight on it. */
  readonly #holders: (Lease | undefined)[] = [];
  readonly #inFlight: Int32Array;
  /** Every view ever lent, with its buffer: tells a second release from a foreign view. */
  readonly #leases = new WeakMap<object, number>();
  /** Buffers released while in flight: they return when the last operation settles. */
  readonly #returning = new Set<number>();
  /** Buffers that the kernel may use for ever. */
  readonly #lost = new Set<number>();
  readonly #waiters = new Set<Waiter>();
  #disposed = false;

  constructor(size: number, stride: number, count: number, alignment: number) {
    this.#size = size;
    this.#stride = stride;
    this.slab = createSlab(stride * count, alignment, this, chunkOf(stride, count));
    this.#inFlight = new Int32Array(count);
    for (let index = count - 1; index >= 0; index--) this.#free.push(index);
  }

  get available(): number {
    return this.#free.length;
  }

  acquire(scope: CancelScope | undefined): Promise<Lease> {
    if (this.#disposed) throw disposedError();
    scope?.throwIfCancelled(ACQUIRE);
    if (isDetachedBuffer(this.slab)) throw detachedError();
    if (this.#areAllLost) throw lostError();
    // None is free while anybody waits.
    const index = this.#free.pop();
    return index === undefined ? traced(this.#wait(scope)) : Promise.resolve(this.#lend(index));
  }

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

  dispose(): void {
    this.#disposed = true;
    this.#refuseWaiters(disposedError);
    const slab = slabOfBuffer(this.slab);
    if (slab === undefined) return;
    slab.chunkBytes = 0;
    for (const registrar of slab.registrars.splice(0)) registrar.deref()?.unregister(slab.header);
  }

  countInFlight(offset: number, bytes: number, by: 1 | -1): void {
    const { first, last } = this.#indexes(offset, bytes);
    for (let index = first; index <= last; index++) {
      const count = (this.#inFlight[index] ?? 0) + by;
      this.#inFlight[index] = count;
      if (count === 0 && this.#returning.delete(index)) this.#takeBack(index);
    }
  }

  lose(offset: number, bytes: number): void {
    const { first, last } = this.#indexes(offset, bytes);
    for (let index = first; index <= last; index++) this.#lost.add(index);
    if (this.#areAllLost) this.#refuseWaiters(lostError);
  }

  #refuseWaiters(error: () => IoError): void {
    for (const waiter of this.#waiters) {
      waiter.registration?.end();
      waiter.reject(error());
    }
    this.#waiters.clear();
  }

  get #areAllLost(): boolean {
    return this.#lost.size === this.#inFlight.length;
  }

  /** Indexes of the buffers that a range touches. */
  #indexes(offset: number, bytes: number): { first: number; last: number } {
    const first = Math.floor(offset / this.#stride);
    return { first, last: Math.floor((offset + Math.max(bytes, 1) - 1) / this.#stride) };
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
    waiter.registration?.end();
    if (isDetachedBuffer(this.slab)) waiter.reject(detachedError());
    else waiter.resolve(this.#lend(index));
  }

  #lend(index: number): Lease {
    const view = new Uint8Array(this.slab, index * this.#stride, this.#size);
    const lease = Object.defineProperty(view, Symbol.dispose, {
      value: (): void => this.release(view),
    }) as Lease;
    this.#holders[index] = lease;
    this.#leases.set(lease, index);
    noteOpened("lease", lease, () => `of ${this.#size} bytes (buffer ${index} of a BufferPool)`);
    return lease;
  }

  #wait(scope: CancelScope | undefined): Promise<Lease> {
    const { promise, resolve, reject } = Promise.withResolvers<Lease>();
    const waiter: Waiter = { resolve, reject, registration: undefined };
    if (scope !== undefined) {
      waiter.registration = onCancel(scope, (reason) => {
        this.#waiters.delete(waiter);
        reject(cancelError(reason, ACQUIRE));
      });
    }
    this.#waiters.add(waiter);
    return promise;
  }
}

const ACQUIRE = { syscall: "acquire" };

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
    hint: "Create another pool",
  });
}

function detachedError(): IoError {
  return new IoError("ERR_BUFFER_DETACHED", {
    reason: "the memory of the buffer pool was transferred elsewhere",
    hint: "All buffers of a pool share one ArrayBuffer: copy instead of transferring it",
  });
}
