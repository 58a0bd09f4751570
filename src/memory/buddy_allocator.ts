// A buddy allocator for the bounce memory of one ring: blocks of a power of two, for foreign views, paths, structs
// and iovecs.
//
// Blocks are aligned to their size, so that they suit direct I/O. Freed blocks stay split until an allocation fails:
// most requests of a program have the same size.

import { BOUNCE_BLOCK_BYTES_MAX, BOUNCE_BLOCK_BYTES_MIN } from "../native/abi.gen.ts";

const MIN_LOG2 = Math.log2(BOUNCE_BLOCK_BYTES_MIN);
const ORDER_MAX = Math.log2(BOUNCE_BLOCK_BYTES_MAX) - MIN_LOG2;
const NOT_FREE = -1;
/** No block is free at the moment. */
export const NO_BLOCK = -1;

export class BuddyAllocator {
  /** Per smallest unit: the order of the free block that starts there, or NOT_FREE. */
  readonly #freeOrder: Int8Array;
  /** Per smallest unit: the order of the used block that starts there, or NOT_FREE. */
  readonly #usedOrder: Int8Array;
  readonly #free: number[][] = [];
  #bytesUsed = 0;

  constructor(bytes: number) {
    const units = bytes / BOUNCE_BLOCK_BYTES_MIN;
    this.#freeOrder = new Int8Array(units).fill(NOT_FREE);
    this.#usedOrder = new Int8Array(units).fill(NOT_FREE);
    for (let order = 0; order <= ORDER_MAX; order++) this.#free.push([]);
    for (let unit = 0; unit < units; unit += 1 << ORDER_MAX) this.#give(unit, ORDER_MAX);
  }

  /** Bytes allocated, for tests and leak checks. */
  get bytesUsed(): number {
    return this.#bytesUsed;
  }

  /** Byte offset of a block of at least `bytes` (at most BOUNCE_BLOCK_BYTES_MAX), or NO_BLOCK. */
  allocate(bytes: number): number {
    const order = orderOf(bytes);
    let unit = this.#take(order);
    if (unit === NO_BLOCK) {
      this.#merge();
      unit = this.#take(order);
      if (unit === NO_BLOCK) return NO_BLOCK;
    }
    this.#usedOrder[unit] = order;
    this.#bytesUsed += BOUNCE_BLOCK_BYTES_MIN << order;
    return unit * BOUNCE_BLOCK_BYTES_MIN;
  }

  release(block: number): void {
    const unit = block / BOUNCE_BLOCK_BYTES_MIN;
    const order = this.#usedOrder[unit];
    if (order === undefined || order === NOT_FREE) throw new Error(`block ${block} is not in use`);
    this.#usedOrder[unit] = NOT_FREE;
    this.#bytesUsed -= BOUNCE_BLOCK_BYTES_MIN << order;
    this.#give(unit, order);
  }

  #give(unit: number, order: number): void {
    this.#freeOrder[unit] = order;
    this.#free[order]?.push(unit);
  }

  /** Takes a block of exactly this order, splitting a larger one if needed. */
  #take(order: number): number {
    for (let from = order; from <= ORDER_MAX; from++) {
      const unit = this.#free[from]?.pop();
      if (unit === undefined) continue;
      this.#freeOrder[unit] = NOT_FREE;
      for (let half = from - 1; half >= order; half--) this.#give(unit + (1 << half), half);
      return unit;
    }
    return NO_BLOCK;
  }

  /** Joins free buddies, smallest first. */
  #merge(): void {
    for (let order = 0; order < ORDER_MAX; order++) {
      const list = this.#free[order];
      if (list === undefined) continue;
      const kept: number[] = [];
      for (const unit of list) {
        if (this.#freeOrder[unit] !== order) continue;
        const buddy = unit ^ (1 << order);
        if (this.#freeOrder[buddy] !== order) {
          kept.push(unit);
          continue;
        }
        this.#freeOrder[unit] = NOT_FREE;
        this.#freeOrder[buddy] = NOT_FREE;
        this.#give(Math.min(unit, buddy), order + 1);
      }
      this.#free[order] = kept.filter((unit) => this.#freeOrder[unit] === order);
    }
  }
}

function orderOf(bytes: number): number {
  let order = 0;
  while (BOUNCE_BLOCK_BYTES_MIN << order < bytes) order++;
  return order;
}
