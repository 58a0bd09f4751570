// `copy`: from a file, a device or a stream to a file or device. A fixed number of native buffers circulates: each
// is filled from the source, searched for zeroes, written to the target and filled again. Reads and writes overlap,
// and memory is bounded.

import { onCancel } from "../cancellation/registry.ts";
import { type CancelReason, type CancelScope, cancelError } from "../cancellation/scope.ts";
import { addOffset, type Bytes, type Offset, remainder, roundUp } from "../common/arguments.ts";
import { setImmediate } from "../common/intrinsics.ts";
import { traced } from "../errors/call_site.ts";
import type { CopyResult, ReadError } from "../errors/copy_result.ts";
import { IoError, setResult } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import { openFileOf } from "../file/open_file.ts";
import { BufferPool } from "../memory/buffer_pool.ts";
import { now } from "../native/clock.ts";
import { Input } from "./input.ts";
import {
  type CopyOptions,
  checkCopy,
  firstChunkBytes,
  noRoom,
  type Plan,
  planCopy,
} from "./plan.ts";
import { Meter } from "./progress.ts";
import { isBadPlace, joined, salvage } from "./salvage.ts";
import { differs, narrowDown, Sums } from "./verify.ts";
import { isZero, zeroRange } from "./zero_range.ts";

/** Granularity of holes in bytes: a block is left out as a whole or not at all. */
const HOLE_BYTES = 64 * 1024;
/** Bytes hashed in one turn of the event loop: about a millisecond. */
const HASH_SLICE_BYTES = 2 ** 20;

/**
 * Copies `source` to `target`; both stay open. Bytes of the target after the last one copied stay as they are.
 *
 * Rejects before anything is written when the target has too little room (ENOSPC), when both are the same file and
 * the ranges overlap, or when the target can never be synced again because a write or sync of it has failed (see
 * `syncAll`). A failure or abort later is an IoError whose `result` says what was copied.
 */
export function copy(
  source: File | ReadableStream<Uint8Array>,
  target: File,
  options: CopyOptions = {},
): Promise<CopyResult> {
  return traced(checkedCopy(source, target, options));
}

async function checkedCopy(
  source: File | ReadableStream<Uint8Array>,
  target: File,
  options: CopyOptions,
): Promise<CopyResult> {
  const scope = checkCopy(source, target, options);
  const { reason } = scope;
  if (reason !== undefined) throw setResult(cancelled(reason, target), nothing());
  const plan = await planCopy(source, target, options);
  return new Copy(plan, options, scope).run();
}

/** With a signal aborted before the call, no I/O is done: the files are not even examined. */
function nothing(): CopyResult {
  return {
    ...{ bytesCopied: 0, bytesSkipped: 0, prefix: 0, durationMs: 0 },
    ...{ verified: false, digest: undefined, readErrors: [] },
  };
}

function cancelled(reason: CancelReason, target: File): IoError {
  return cancelError(reason, { syscall: "copy", path: target.path });
}

/** A part of the copy; `begin` is relative to the offsets. */
interface Chunk {
  readonly index: number;
  readonly begin: number;
  /** At most; less when the source ends. */
  readonly length: number;
}

class Copy {
  readonly #plan: Plan;
  readonly #options: CopyOptions;
  readonly #started: number = now();
  readonly #pool: BufferPool;
  /** The scope of every operation. */
  readonly #scope: CancelScope;
  readonly #sums: Sums | undefined;
  readonly #hasher: Bun.CryptoHasher | undefined;
  /** Resolves when the previous chunk has been hashed. */
  #hashed: Promise<void> = Promise.resolve();
  #meter: Meter;

  #bytesCopied = 0;
  #bytesSkipped = 0;
  #verified = false;
  /** Lengths of finished chunks beyond the prefix, by where they begin. */
  readonly #done = new Map<number, number>();
  #prefix = 0;
  /** End of the last data written: holes after it are not part of the file yet. */
  #dataEnd = 0;
  #hasLength = false;
  readonly #readErrors: ReadError[] = [];
  /** Where the source ended, once that is known. */
  #end = Infinity;
  #failure: IoError | undefined;
  #stopSource: ((reason: unknown) => void) | undefined;

  constructor(plan: Plan, options: CopyOptions, scope: CancelScope) {
    this.#plan = plan;
    this.#options = options;
    this.#scope = scope;
    this.#pool = new BufferPool({ size: plan.chunkSize, count: plan.concurrency });
    this.#sums = plan.verify ? new Sums(plan.chunkSize) : undefined;
    this.#hasher = plan.hash ? new Bun.CryptoHasher("sha256") : undefined;
    this.#meter = this.#startMeter("copy", plan.total);
  }

  async run(): Promise<CopyResult> {
    const { target } = this.#plan;
    const scope = this.#scope;
    const fail = (reason: CancelReason): void => this.#fail(cancelled(reason, target));
    // Registered before those of its operations, so that the reason is known when they end.
    const registration = onCancel(scope, fail);
    // The copy itself reports failed writes to the caller: syncs need not.
    const { state } = openFileOf(target);
    state.reports.beginTeller(scope);
    try {
      const { reason } = scope;
      if (reason !== undefined) fail(reason);
      else await this.#steps();
    } catch (error) {
      this.#fail(error);
    } finally {
      registration.end();
      state.reports.endTeller(scope, state.order);
      this.#meter[Symbol.dispose]();
      this.#pool[Symbol.dispose]();
    }
    const result = this.#result();
    if (this.#failure !== undefined) throw setResult(this.#failure, result);
    return result;
  }

  async #steps(): Promise<void> {
    const { source, target, sync, verify } = this.#plan;
    if (source instanceof File) await this.#copyFile(source);
    else await this.#copyStream(source);
    if (this.#failure !== undefined) return;
    await this.#finishLength();
    this.#hasLength = true;
    if (sync) await target.syncAll(this.#scope);
    this.#meter.end();
    if (verify && this.#failure === undefined) await this.#verify();
  }

  // From files ----------------------------------------------------------------------------------------

  #copyFile(source: File): Promise<void> {
    return this.#eachChunk(this.#plan.total ?? Infinity, async (chunk, buffer) => {
      const turn = this.#takeTurn();
      try {
        const bytes = await this.#read(source, chunk, buffer);
        if (bytes < chunk.length) this.#sourceEnds(chunk.begin + bytes);
        await this.#put(chunk, buffer.subarray(0, bytes), turn.before);
      } finally {
        turn.over();
      }
    });
  }

  /** Runs `use` on every chunk up to `total`, `concurrency` at a time. Never rejects. */
  async #eachChunk(
    total: number,
    use: (chunk: Chunk, buffer: Bytes) => Promise<void>,
  ): Promise<void> {
    const running = new Set<Promise<void>>();
    const first = firstChunkBytes(this.#plan);
    let begin = 0;
    for (let index = 0; begin < Math.min(total, this.#end); index++) {
      const buffer = await this.#pool.acquire().catch(async (error) => {
        // The error that took all buffers away says more.
        await Promise.all(running);
        this.#fail(error);
        return undefined;
      });
      if (buffer === undefined) return;
      if (this.#failure !== undefined || begin >= this.#end) {
        this.#pool.release(buffer);
        break;
      }
      const length = Math.min(index === 0 ? first : this.#plan.chunkSize, total - begin);
      const work = use({ index, begin, length }, buffer)
        .catch((error) => this.#fail(error))
        .finally(() => {
          running.delete(work);
          this.#pool.release(buffer);
        });
      running.add(work);
      begin += length;
    }
    await Promise.all(running);
  }

  async #read(source: File, chunk: Chunk, buffer: Bytes): Promise<number> {
    const offset = addOffset(this.#plan.sourceOffset, chunk.begin);
    // A request of whole units needs no bounce copy; the buffer has room for it.
    const unit = source.alignment.offset;
    const wide = remainder(offset, unit) === 0 ? roundUp(chunk.length, unit) : chunk.length;
    try {
      const bytes = await source.readAt(buffer.subarray(0, wide), offset, this.#scope);
      return Math.min(bytes, chunk.length);
    } catch (error) {
      if (!this.#plan.skipErrors || !isBadPlace(error)) throw error;
      const rest = buffer.subarray(0, chunk.length);
      return salvage(source, rest, offset, this.#scope, this.#readErrors);
    }
  }

  #sourceEnds(at: number): void {
    this.#end = Math.min(this.#end, at);
    const { total, source, sourceOffset } = this.#plan;
    if (total === undefined || at >= total) return;
    this.#fail(
      new IoError("ERR_END_OF_FILE", {
        reason: `the source ends after ${this.#end} of ${total} bytes`,
        syscall: "read",
        path: source instanceof File ? source.path : undefined,
        offset: sourceOffset,
        length: total,
        transferred: this.#end,
      }),
    );
  }

  // From streams --------------------------------------------------------------------------------------

  /** Fills buffers in turn while the previous ones are written. Never rejects. */
  async #copyStream(source: ReadableStream<Uint8Array>): Promise<void> {
    const input = new Input(source);
    this.#stopSource = (reason) => input.cancel(reason);
    try {
      await input.skip(Number(this.#plan.sourceOffset));
      await this.#drainInput(input);
    } catch (error) {
      this.#fail(error);
    }
    // With a given length the stream may have more.
    input.cancel(this.#failure);
  }

  async #drainInput(input: Input): Promise<void> {
    const running = new Set<Promise<void>>();
    const limit = this.#plan.total ?? Infinity;
    try {
      let begin = 0;
      for (let index = 0; begin < limit; index++) {
        const buffer = await this.#pool.acquire();
        const room = index === 0 ? firstChunkBytes(this.#plan) : this.#plan.chunkSize;
        const data = buffer.subarray(0, Math.min(room, limit - begin));
        const bytes = await input.fill(data).catch((error) => {
          this.#pool.release(buffer);
          throw error;
        });
        if (this.#failure !== undefined || bytes === 0) {
          this.#pool.release(buffer);
        } else {
          const turn = this.#takeTurn();
          const chunk = { index, begin, length: bytes };
          const work = this.#put(chunk, data.subarray(0, bytes), turn.before)
            .catch((error) => this.#fail(error))
            .finally(() => {
              turn.over();
              running.delete(work);
              this.#pool.release(buffer);
            });
          running.add(work);
        }
        begin += bytes;
        if (this.#failure !== undefined) break;
        if (bytes < data.byteLength) {
          this.#sourceEnds(begin);
          break;
        }
      }
    } finally {
      await Promise.all(running);
    }
  }

  // Onto the target -----------------------------------------------------------------------------------

  /** Writes one chunk, leaving out its zeroes. */
  async #put(chunk: Chunk, data: Bytes, before: Promise<void>): Promise<void> {
    if (data.byteLength === 0) return;
    const { begin, index } = chunk;
    if (begin + data.byteLength > this.#plan.room) {
      throw noRoom(this.#plan, begin, data.byteLength);
    }
    this.#sums?.note(index, data);
    const writing = this.#plan.sparse ? this.#putRuns(begin, data) : this.#putData(begin, data);
    const hashing = this.#hasher === undefined ? undefined : this.#hash(this.#hasher, data, before);
    // The buffer is free when both have settled.
    const results = await Promise.allSettled([writing, hashing]);
    for (const result of results) if (result.status === "rejected") throw result.reason;
    this.#doneWith(begin, data.byteLength);
  }

  /** Writes the chunk's runs of zeroes and data, all at once. */
  async #putRuns(begin: number, data: Bytes): Promise<void> {
    const parts: Promise<void>[] = [];
    // The first block ends on the grid, so that no two parts share a sector.
    const head = remainder(addOffset(this.#plan.targetOffset, begin), this.#plan.grid);
    for (let at = 0; at < data.byteLength; ) {
      let end = at + HOLE_BYTES - (at === 0 ? head : 0);
      const zero = isZero(data.subarray(at, end));
      while (end < data.byteLength && isZero(data.subarray(end, end + HOLE_BYTES)) === zero) {
        end += HOLE_BYTES;
      }
      const part = data.subarray(at, end);
      const put = zero ? this.#putHole(begin + at, part) : this.#putData(begin + at, part);
      parts.push(put);
      at = end;
    }
    const results = await Promise.allSettled(parts);
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  async #putData(at: number, data: Bytes): Promise<void> {
    const { target, targetOffset } = this.#plan;
    await writeAnywhere(target, data, addOffset(targetOffset, at), this.#scope);
    this.#bytesCopied += data.byteLength;
    this.#dataEnd = Math.max(this.#dataEnd, at + data.byteLength);
  }

  async #putHole(at: number, data: Bytes): Promise<void> {
    const { target, targetOffset, sizeBefore, grid } = this.#plan;
    const offset = addOffset(targetOffset, at);
    // Past the end of a regular file there is nothing to zero.
    const old = sizeBefore - Number(offset);
    const length =
      target.kind === "regular" ? Math.min(data.byteLength, Math.max(0, old)) : data.byteLength;
    const unaligned = remainder(offset, grid) > 0 || length % grid > 0;
    if (length > 0 && target.kind === "disk" && unaligned) {
      await this.#putData(at, data);
      return;
    }
    if (length > 0) await zeroRange(openFileOf(target), offset, length, this.#scope);
    this.#bytesSkipped += data.byteLength;
  }

  /** Sets the length of a regular target: a hole at its end does not extend it. */
  async #finishLength(): Promise<void> {
    const { target, targetOffset } = this.#plan;
    if (target.kind !== "regular" || this.#prefix === 0) return;
    const end = addOffset(targetOffset, this.#prefix);
    if ((await target.size()) >= end) return;
    // Not by truncate: another writer may extend the file at this moment.
    const last = addOffset(end, -1);
    try {
      await target.allocate(last, 1, this.#scope);
    } catch (error) {
      if (!(error instanceof IoError) || error.code !== "ENOTSUP") throw error;
      await writeAnywhere(target, new Uint8Array(1), last, this.#scope);
    }
  }

  // Hashing, in order ---------------------------------------------------------------------------------

  /** Takes a place in the order in which chunks are hashed. */
  #takeTurn(): { before: Promise<void>; over: () => void } {
    const before = this.#hashed;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#hashed = promise;
    return { before, over: resolve };
  }

  async #hash(hasher: Bun.CryptoHasher, data: Bytes, before: Promise<void>): Promise<void> {
    await before;
    for (let at = 0; at < data.byteLength; at += HASH_SLICE_BYTES) {
      if (this.#failure !== undefined) return;
      if (at > 0) await new Promise(setImmediate);
      hasher.update(data.subarray(at, at + HASH_SLICE_BYTES));
    }
  }

  // Verifying -----------------------------------------------------------------------------------------

  async #verify(): Promise<void> {
    const { target, targetOffset } = this.#plan;
    const total = this.#prefix;
    this.#meter = this.#startMeter("verify", total);
    await target.invalidateCache();
    let first = Infinity;
    await this.#eachChunk(total, async (chunk, buffer) => {
      if (chunk.begin > first) return;
      const offset = addOffset(targetOffset, chunk.begin);
      const unit = target.alignment.offset;
      const wide = remainder(offset, unit) === 0 ? roundUp(chunk.length, unit) : chunk.length;
      const read = await target.readAt(buffer.subarray(0, wide), offset, this.#scope);
      const bytes = Math.min(read, chunk.length);
      const at = this.#sums?.compare(chunk.index, buffer.subarray(0, bytes)) ?? -1;
      if (at >= 0) first = Math.min(first, chunk.begin + at);
      else if (bytes < chunk.length) first = Math.min(first, chunk.begin + bytes);
      this.#meter.add(chunk.length);
    });
    if (this.#failure !== undefined) return;
    if (first !== Infinity) {
      const exact = await narrowDown(this.#plan, first, total, this.#scope);
      this.#prefix = exact;
      throw differs(this.#plan, exact);
    }
    this.#verified = true;
    this.#meter.end();
  }

  // Accounts ------------------------------------------------------------------------------------------

  #startMeter(phase: "copy" | "verify", total: number | undefined): Meter {
    return new Meter(this.#options.onProgress, phase, total, (error) => this.#fail(error));
  }

  #doneWith(begin: number, bytes: number): void {
    this.#done.set(begin, bytes);
    let next = this.#done.get(this.#prefix);
    while (next !== undefined) {
      this.#done.delete(this.#prefix);
      this.#prefix += next;
      next = this.#done.get(this.#prefix);
    }
    this.#meter.add(bytes);
  }

  /** Records the first failure. Operations in flight are completed, so that the prefix gets as far as it can. */
  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = error instanceof IoError ? error : foreign(error);
    this.#stopSource?.(this.#failure);
  }

  /** The prefix, limited to what the target contains: the copy may have ended before the hole at its end was made. */
  #contained(): number {
    const { target, targetOffset, sizeBefore } = this.#plan;
    if (this.#hasLength || target.kind !== "regular") return this.#prefix;
    return Math.min(this.#prefix, Math.max(this.#dataEnd, sizeBefore - Number(targetOffset)));
  }

  #result(): CopyResult {
    return {
      bytesCopied: this.#bytesCopied,
      bytesSkipped: this.#bytesSkipped,
      prefix: this.#contained(),
      durationMs: now() - this.#started,
      verified: this.#verified,
      digest: this.#failure === undefined ? this.#hasher?.digest("hex") : undefined,
      readErrors: joined(this.#readErrors),
    };
  }
}

/** Wraps what a stream or a callback threw: it becomes the `cause` of an IoError. */
function foreign(cause: unknown): IoError {
  const words = cause instanceof Error ? cause.message : String(cause);
  return new IoError("ERR_COPY", {
    reason: `the copy was ended: ${words}`,
    syscall: "copy",
    cause,
  });
}

/** Calls the public method where the write is aligned, because a test may have replaced it. */
async function writeAnywhere(
  target: File,
  data: Uint8Array,
  offset: Offset,
  scope: CancelScope,
): Promise<void> {
  const unit = target.alignment.offset;
  const aligned = remainder(offset, unit) === 0 && data.byteLength % unit === 0;
  if (aligned) await target.writeAt(data, offset, scope);
  else await openFileOf(target).writeAnywhere(data, offset, scope);
}
