// `BuddyAllocator`: the buddy allocator over the bounce memory, pure.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { BuddyAllocator, NO_BLOCK } from "../../src/memory/buddy_allocator.ts";
import {
  BOUNCE_BLOCK_BYTES_MAX,
  BOUNCE_BLOCK_BYTES_MIN,
  BOUNCE_BYTES,
} from "../../src/native/abi.gen.ts";

const MIN = BOUNCE_BLOCK_BYTES_MIN;
const MAX = BOUNCE_BLOCK_BYTES_MAX;

/** Bytes that a request really takes. */
function rounded(bytes: number): number {
  return Math.max(MIN, 2 ** Math.ceil(Math.log2(Math.max(1, bytes))));
}

test("every size gets a block of the next power of two, aligned to its size", () => {
  for (let bytes = MIN; bytes <= MAX; bytes *= 2) {
    for (const asked of [bytes - 1, bytes, bytes + 1]) {
      if (asked > MAX) continue;
      const bounce = new BuddyAllocator(BOUNCE_BYTES);
      const block = bounce.allocate(asked);
      expect(block % rounded(asked)).toBe(0);
      expect(bounce.bytesUsed).toBe(rounded(asked));
      bounce.release(block);
      expect(bounce.bytesUsed).toBe(0);
    }
  }
  const bounce = new BuddyAllocator(BOUNCE_BYTES);
  expect(bounce.allocate(0)).not.toBe(NO_BLOCK);
  expect(bounce.allocate(1)).not.toBe(NO_BLOCK);
  expect(bounce.bytesUsed).toBe(2 * MIN);
});

test("all of the memory can be had in blocks of one size, and no more", () => {
  for (let bytes = MIN; bytes <= MAX; bytes *= 2) {
    const bounce = new BuddyAllocator(BOUNCE_BYTES);
    const blocks = new Set<number>();
    for (let i = 0; i < BOUNCE_BYTES / bytes; i++) blocks.add(bounce.allocate(bytes));
    expect(blocks.size).toBe(BOUNCE_BYTES / bytes);
    expect(blocks.has(NO_BLOCK)).toBe(false);
    expect(bounce.allocate(1)).toBe(NO_BLOCK);
    expect(bounce.bytesUsed).toBe(BOUNCE_BYTES);
  }
});

test("split blocks join again when a large one is wanted", () => {
  const bounce = new BuddyAllocator(BOUNCE_BYTES);
  for (let round = 0; round < 3; round++) {
    const small: number[] = [];
    for (let block = bounce.allocate(MIN); block !== NO_BLOCK; block = bounce.allocate(MIN))
      small.push(block);
    expect(small.length).toBe(BOUNCE_BYTES / MIN);
    // In an order that is neither first nor last.
    for (const [i, block] of small.entries()) if (i % 2 === 1) bounce.release(block);
    expect(bounce.allocate(2 * MIN)).toBe(NO_BLOCK);
    for (const [i, block] of small.entries()) if (i % 2 === 0) bounce.release(block);
    const large = Array.from({ length: BOUNCE_BYTES / MAX }, () => bounce.allocate(MAX));
    expect(new Set(large).size).toBe(BOUNCE_BYTES / MAX);
    expect(large).not.toContain(NO_BLOCK);
    for (const block of large) bounce.release(block);
    expect(bounce.bytesUsed).toBe(0);
  }
});

test("what is not in use cannot be released", () => {
  const bounce = new BuddyAllocator(BOUNCE_BYTES);
  const block = bounce.allocate(8 * MIN);
  for (const wrong of [block + MIN, NO_BLOCK, BOUNCE_BYTES, -MIN, block + 1]) {
    expect(() => bounce.release(wrong)).toThrow("is not in use");
  }
  bounce.release(block);
  expect(() => bounce.release(block)).toThrow(`block ${block} is not in use`);
});

test("any sequence keeps blocks apart, and all comes back", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat({ max: 100 }), fc.integer({ min: 0, max: MAX })), {
        maxLength: 400,
      }),
      (steps) => {
        const bounce = new BuddyAllocator(BOUNCE_BYTES);
        const live = new Map<number, number>();
        let used = 0;
        for (const [choice, asked] of steps) {
          if (choice % 2 === 0 || live.size === 0) {
            // Small ones too: most of a uniform choice is large.
            const bytes = choice % 4 === 0 ? asked % (16 * MIN) : asked;
            const block = bounce.allocate(bytes);
            if (block === NO_BLOCK) {
              expect(used + rounded(bytes)).toBeGreaterThan(BOUNCE_BYTES - live.size * MAX);
              continue;
            }
            const size = rounded(bytes);
            expect(block % size).toBe(0);
            expect(block + size).toBeLessThanOrEqual(BOUNCE_BYTES);
            for (const [other, otherSize] of live) {
              expect(block + size <= other || other + otherSize <= block).toBe(true);
            }
            live.set(block, size);
            used += size;
          } else {
            const block = [...live.keys()][choice % live.size] ?? NO_BLOCK;
            used -= live.get(block) ?? 0;
            live.delete(block);
            bounce.release(block);
          }
          expect(bounce.bytesUsed).toBe(used);
        }
        for (const block of live.keys()) bounce.release(block);
        const whole = Array.from({ length: BOUNCE_BYTES / MAX }, () => bounce.allocate(MAX));
        expect(whole).not.toContain(NO_BLOCK);
      },
    ),
    { numRuns: 60 },
  );
});
