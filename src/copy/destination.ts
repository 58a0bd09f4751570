// The place that a copy writes to: a range of one target, where zeroes may become holes.

import type { CancelScope } from "../cancellation/scope.ts";
import { allSettled } from "../common/all_settled.ts";
import { addOffset, type Bytes, type Offset, remainder } from "../common/arguments.ts";
import type { CopyMethod } from "../errors/copy_result.ts";
import { IoError } from "../errors/io_error.ts";
import type { File } from "../file/file.ts";
import { openFileOf } from "../file/open_file.ts";
import { noRoom, type Plan } from "./plan.ts";
import { isZero, zeroRange } from "./zero_range.ts";

/** Granularity of holes in bytes: a block is left out as a whole or not at all. */
const HOLE_BYTES = 64 * 1024;

/** Positions are relative to the offset in the target. */
export class Destination {
  readonly #plan: Plan;
  readonly #scope: CancelScope;
  bytesCopied = 0;
  bytesSkipped = 0;
  readonly #bytesBy: Record<CopyMethod, number> = { copied: 0, copy_file_range: 0, reflink: 0 };
  /** End of the last data written: holes after it are not part of the file yet. */
  #dataEnd = 0;
  #hasLength = false;

  constructor(plan: Plan, scope: CancelScope) {
    this.#plan = plan;
    this.#scope = scope;
  }

  get bytes(): number {
    return this.bytesCopied + this.bytesSkipped;
  }

  /** Where a regular file ends that is not extended yet; Infinity for others. */
  get end(): number {
    const { target, targetOffset, sizeBefore } = this.#plan;
    if (this.#hasLength || target.kind !== "regular") return Infinity;
    return Math.max(this.#dataEnd, sizeBefore - Number(targetOffset));
  }

  /** Writes data, leaving out its zeroes if the target is to have holes. */
  async put(begin: number, data: Bytes): Promise<void> {
    this.#checkRoom(begin, data.byteLength);
    if (this.#plan.sparse) await this.#putRuns(begin, data);
    else await this.#putData(begin, data);
  }

  /** Makes a hole that begins and ends on the grid. */
  async putHole(begin: number, length: number): Promise<void> {
    this.#checkRoom(begin, length);
    await this.#zero(begin, length);
    this.bytesSkipped += length;
  }

  #checkRoom(begin: number, length: number): void {
    if (begin + length > this.#plan.room) throw noRoom(this.#plan, begin, length);
  }

  /** Writes the runs of zeroes and data, all at once. */
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
      parts.push(zero ? this.#putZeroes(begin + at, part) : this.#putData(begin + at, part));
      at = end;
    }
    await allSettled(parts);
  }

  async #putData(at: number, data: Bytes): Promise<void> {
    const { target, targetOffset } = this.#plan;
    await writeAnywhere(target, data, addOffset(targetOffset, at), this.#scope);
    this.note(at, data.byteLength, "copied");
  }

  note(at: number, bytes: number, method: CopyMethod): void {
    this.bytesCopied += bytes;
    this.#bytesBy[method] += bytes;
    this.#dataEnd = Math.max(this.#dataEnd, at + bytes);
  }

  get method(): CopyMethod {
    const { copied, copy_file_range, reflink } = this.#bytesBy;
    if (reflink > copied + copy_file_range) return "reflink";
    return copy_file_range > copied ? "copy_file_range" : "copied";
  }

  /** Zeroes are a hole, unless they share a sector of a disk with data. */
  async #putZeroes(at: number, data: Bytes): Promise<void> {
    const { target, targetOffset, grid } = this.#plan;
    const length = data.byteLength;
    const unaligned = remainder(addOffset(targetOffset, at), grid) > 0 || length % grid > 0;
    if (target.kind === "disk" && unaligned) {
      await this.#putData(at, data);
      return;
    }
    await this.#zero(at, length);
    this.bytesSkipped += length;
  }

  async #zero(at: number, length: number): Promise<void> {
    const { target, targetOffset, sizeBefore } = this.#plan;
    const offset = addOffset(targetOffset, at);
    // Past the end of a regular file there is nothing to zero.
    const old = target.kind === "regular" ? Math.max(0, sizeBefore - Number(offset)) : Infinity;
    const bytes = Math.min(length, old);
    if (bytes > 0) await zeroRange(openFileOf(target), offset, bytes, this.#scope);
  }

  /** Makes a regular target at least this long: a hole at its end does not extend it. */
  async extendTo(length: number): Promise<void> {
    const { target, targetOffset } = this.#plan;
    const end = addOffset(targetOffset, length);
    const isShort = target.kind === "regular" && length > 0 && (await target.size()) < end;
    if (isShort) await this.#extend(target, end);
    this.#hasLength = true;
  }

  async #extend(target: File, end: Offset): Promise<void> {
    // Not by truncate: another writer may extend the file at this moment.
    const last = addOffset(end, -1);
    try {
      await target.allocate(last, 1, this.#scope);
    } catch (error) {
      if (!(error instanceof IoError) || error.code !== "ENOTSUP") throw error;
      await writeAnywhere(target, new Uint8Array(1), last, this.#scope);
    }
  }
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
