// Where two sides of a comparison differ.

import type { ByteRange } from "../common/byte_range.ts";
import { isZero, zeroes } from "./zero_range.ts";

/** Equal blocks are passed over at the speed of memory. */
const BLOCK_BYTES = 4096;
/** Ranges in memory at once. Media without anything in common would have one every 256 bytes. */
const RANGES_MAX = 2 ** 18;

/** Bytes of both sides at the same position; undefined: zeroes. */
export interface Pair {
  /** Relative to where the comparison began. */
  readonly begin: number;
  readonly length: number;
  readonly a: Uint8Array | undefined;
  readonly b: Uint8Array | undefined;
}

export class Differences {
  readonly #all: boolean;
  #ranges: ByteRange[] = [];
  /** Ranges nearer to one another than this are joined: 1 until there are too many of them. */
  #gap = 1;
  first: number | undefined;
  /** Bytes that differ; with `all` only. */
  bytes = 0;

  /** Without `all`, only the first difference is looked for. */
  constructor(all: boolean) {
    this.#all = all;
  }

  get isEnough(): boolean {
    return !this.#all && this.first !== undefined;
  }

  /** Ascending. Exact, unless there are more than 262,144: then those close to one another are one. */
  get ranges(): readonly ByteRange[] {
    return this.#ranges;
  }

  note({ begin, length, a, b }: Pair): boolean {
    if (areEqual(a, b)) return true;
    for (let at = 0; at < length && !this.isEnough; at += BLOCK_BYTES) {
      const end = Math.min(at + BLOCK_BYTES, length);
      const left = a?.subarray(at, end) ?? zeroes.subarray(0, end - at);
      const right = b?.subarray(at, end) ?? zeroes.subarray(0, end - at);
      if (Buffer.compare(left, right) !== 0) this.#noteBlock(begin + at, left, right);
    }
    return false;
  }

  #noteBlock(begin: number, a: Uint8Array, b: Uint8Array): void {
    for (let at = 0; at < a.byteLength && !this.isEnough; at++) {
      if (a[at] === b[at]) continue;
      const from = at;
      while (at < a.byteLength && a[at] !== b[at]) at++;
      this.add(begin + from, at - from);
    }
  }

  /** Adds a range that differs as a whole, behind all others. */
  add(offset: number, length: number): void {
    this.first ??= offset;
    if (!this.#all) return;
    this.bytes += length;
    join(this.#ranges, { offset, length }, this.#gap);
    if (this.#ranges.length > RANGES_MAX) this.#thin();
  }

  #thin(): void {
    while (this.#ranges.length > RANGES_MAX / 2) {
      this.#gap *= 2;
      const joined: ByteRange[] = [];
      for (const range of this.#ranges) join(joined, range, this.#gap);
      this.#ranges = joined;
    }
  }
}

function areEqual(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined) return b === undefined || isZero(b);
  return b === undefined ? isZero(a) : Buffer.compare(a, b) === 0;
}

/** Adds a range; joins it with the last one if fewer than `gap` bytes lie between the two. */
function join(ranges: ByteRange[], range: ByteRange, gap: number): void {
  const last = ranges.at(-1);
  if (last !== undefined && range.offset - (last.offset + last.length) < gap) {
    const length = range.offset + range.length - last.offset;
    ranges[ranges.length - 1] = { offset: last.offset, length };
  } else ranges.push(range);
}
