// What a copy has written: a checksum of each block.

import type { Part } from "../file/read_ahead.ts";
import { isZero } from "./zero_range.ts";

/** Bytes per checksum of 8 bytes: 128 MiB of checksums for a terabyte. */
export const BLOCK_BYTES: number = 64 * 1024;

/** A chunk that was written. */
export interface Written extends Part {
  readonly index: number;
}

export class Sums {
  readonly #blocksPerChunk: number;
  #sums = new BigUint64Array(1024);
  /** By index: where each chunk begins, and its length; negative for a hole. */
  #begins = new Float64Array(1024);
  #lengths = new Float64Array(1024);
  #count = 0;

  constructor(chunkSize: number) {
    this.#blocksPerChunk = Math.ceil(chunkSize / BLOCK_BYTES);
  }

  /** Records a chunk as it was written. XXH3 (64 bits) runs at 38 GB/s. */
  note(index: number, begin: number, data: Uint8Array): void {
    this.#note(index, begin, data.byteLength);
    const first = index * this.#blocksPerChunk;
    this.#sums = grown(this.#sums, first + this.#blocksPerChunk);
    for (let at = 0; at < data.byteLength; at += BLOCK_BYTES) {
      this.#sums[first + at / BLOCK_BYTES] = sum(data, at);
    }
  }

  noteHole(index: number, begin: number, length: number): void {
    this.#note(index, begin, -length);
  }

  #note(index: number, begin: number, length: number): void {
    this.#begins = grown(this.#begins, index + 1);
    this.#lengths = grown(this.#lengths, index + 1);
    this.#begins[index] = begin;
    this.#lengths[index] = length;
    this.#count = Math.max(this.#count, index + 1);
  }

  /** The chunks, ascending. */
  *written(): Generator<Written> {
    for (let index = 0; index < this.#count; index++) {
      const [begin = 0, length = 0] = [this.#begins[index], this.#lengths[index]];
      if (length !== 0) yield { index, begin, length: Math.abs(length), isHole: length < 0 };
    }
  }

  /** Offset in the piece of the first block that differs; undefined if none does. `index`: of its chunk. */
  differs(index: number, data: Uint8Array | undefined): number | undefined {
    if (data === undefined) return undefined;
    const isHole = (this.#lengths[index] ?? 0) < 0;
    const first = index * this.#blocksPerChunk;
    for (let at = 0; at < data.byteLength; at += BLOCK_BYTES) {
      const isSame = isHole
        ? isZero(data.subarray(at, at + BLOCK_BYTES))
        : this.#sums[first + at / BLOCK_BYTES] === sum(data, at);
      if (!isSame) return at;
    }
    return undefined;
  }
}

function grown<T extends BigUint64Array | Float64Array>(array: T, length: number): T {
  if (length <= array.length) return array;
  const larger = new (array.constructor as new (length: number) => T)(
    Math.max(length, array.length * 2),
  );
  larger.set(array as never);
  return larger;
}

function sum(data: Uint8Array, at: number): bigint {
  return Bun.hash.xxHash3(data.subarray(at, Math.min(at + BLOCK_BYTES, data.byteLength)));
}
