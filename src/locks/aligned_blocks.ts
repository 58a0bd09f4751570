// Cuts a range of bytes into the fewest aligned blocks: sizes are powers of two, and each block starts at a multiple
// of its size. Two such blocks are disjoint, or one contains the other: they are nodes of a binary tree
// (range_lock.ts).

import type { Offset } from "../common/arguments.ts";

/** 2 ** level bytes at offset high * 2 ** 32 + low; two numbers of 32 bits, to be exact up to 2 ** 63. */
export interface Block {
  readonly high: number;
  readonly low: number;
  readonly level: number;
}

const WORD = 2 ** 32;
/** `high` past every offset of a file. */
const END_HIGH = 2 ** 31;

/** The blocks of a range; none if it is empty. `end` Infinity: up to 2 ** 63. */
export function blocksOf(start: Offset, end: Offset): Block[] {
  const blocks: Block[] = [];
  if (start >= end) return blocks;
  let first = highOf(start);
  const firstLow = lowOf(start);
  const last = end === Infinity ? END_HIGH : highOf(end);
  const lastLow = end === Infinity ? 0 : lowOf(end);
  const addWithin = (high: number, from: number, to: number): void =>
    cut(from, to, (low, level) => blocks.push({ high, low, level }));
  if (first === last) {
    addWithin(first, firstLow, lastLow);
    return blocks;
  }
  if (firstLow > 0) addWithin(first++, firstLow, WORD);
  cut(first, last, (high, level) => blocks.push({ high, low: 0, level: level + 32 }));
  if (lastLow > 0) addWithin(last, 0, lastLow);
  return blocks;
}

/** The level of the smallest block that contains both. */
export function commonLevel(a: Block, b: Block): number {
  return Math.max(differingBits(a, b), a.level, b.level);
}

/** Whether the block is in the upper half of the block of this level (1 or more) that contains it. */
export function isUpper(block: Block, level: number): boolean {
  const bit = level - 1;
  return (bit < 32 ? (block.low >>> bit) & 1 : (block.high >>> (bit - 32)) & 1) === 1;
}

function differingBits(a: Block, b: Block): number {
  const high = a.high ^ b.high;
  if (high !== 0) return 64 - Math.clz32(high);
  return 32 - Math.clz32(a.low ^ b.low);
}

/** Cuts from both ends, smallest blocks first. Numbers up to 2 ** 32. */
function cut(from: number, to: number, add: (at: number, level: number) => void): void {
  const both = from | to;
  let level = both === 0 ? 32 : 31 - Math.clz32(both & -both);
  for (let size = 2 ** level; from < to; level++, size *= 2) {
    if (from % (2 * size) !== 0) {
      add(from, level);
      from += size;
    }
    if (from < to && to % (2 * size) !== 0) {
      to -= size;
      add(to, level);
    }
  }
}

function highOf(offset: Offset): number {
  return typeof offset === "number" ? Math.floor(offset / WORD) : Number(offset >> 32n);
}

function lowOf(offset: Offset): number {
  return typeof offset === "number" ? offset % WORD : Number(offset & 0xffff_ffffn);
}
