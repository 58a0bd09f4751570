// `Slots`: slot and generation to promise, pure, so tested to the end.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { NO_SLOT, SlotState, Slots } from "../../src/ring/slots.ts";

function fresh(): Slots<string, string> {
  return new Slots();
}

test("slots are taken once each, and given back empty", () => {
  const slots = fresh();
  const capacity = slots.capacity;
  const taken = new Set<number>();
  for (let i = 0; i < capacity; i++) {
    const slot = slots.take();
    expect(slots.state[slot]).toBe(SlotState.waiting);
    expect(slots.next[slot]).toBe(NO_SLOT);
    slots.owner[slot] = "file";
    slots.memory[slot] = "view";
    taken.add(slot);
  }
  expect(taken.size).toBe(capacity);
  expect(slots.used).toBe(capacity);
  expect(slots.capacity).toBe(capacity);
  for (const slot of taken) {
    slots.give(slot);
    expect(slots.state[slot]).toBe(SlotState.free);
    expect(slots.owner[slot]).toBeUndefined();
    expect(slots.memory[slot]).toBeUndefined();
  }
  expect(slots.used).toBe(0);
});

test("growing keeps what every slot holds", () => {
  const slots = fresh();
  const before = slots.capacity;
  const count = before * 4 + 1;
  const taken: number[] = [];
  for (let i = 0; i < count; i++) {
    const slot = slots.take();
    taken.push(slot);
    slots.offsetLow[slot] = i;
    slots.offsetHigh[slot] = i * 3;
    slots.length[slot] = i * 2 ** 33;
    slots.address[slot] = i + 0.5;
    slots.slab[slot] = -i;
    slots.block[slot] = i;
    slots.order[slot] = i;
    slots.kind[slot] = i & 7;
    slots.reply[slot] = i & 3;
    slots.owner[slot] = `owner ${i}`;
    slots.memory[slot] = `memory ${i}`;
  }
  expect(new Set(taken).size).toBe(count);
  expect(slots.capacity).toBe(before * 8);
  for (const [i, slot] of taken.entries()) {
    expect([
      slots.offsetLow[slot],
      slots.offsetHigh[slot],
      slots.length[slot],
      slots.address[slot],
      slots.slab[slot],
      slots.block[slot],
      slots.order[slot],
      slots.kind[slot],
      slots.reply[slot],
      slots.owner[slot],
      slots.memory[slot],
    ]).toEqual([
      i,
      i * 3,
      i * 2 ** 33,
      i + 0.5,
      -i,
      i,
      i,
      i & 7,
      i & 3,
      `owner ${i}`,
      `memory ${i}`,
    ]);
  }
});

test("a completion is current only for the operation that it belongs to", () => {
  const slots = fresh();
  const slot = slots.take();
  const generation = slots.generation[slot] ?? -1;
  expect(slots.isCurrent(slot, generation)).toBe(false); // waiting
  slots.state[slot] = SlotState.native;
  expect(slots.isCurrent(slot, generation)).toBe(true);
  expect(slots.isCurrent(slot, generation + 1)).toBe(false);
  slots.state[slot] = SlotState.dead;
  expect(slots.isCurrent(slot, generation)).toBe(false);
  slots.give(slot);
  expect(slots.isCurrent(slot, generation)).toBe(false);
  expect(slots.take()).toBe(slot);
  slots.state[slot] = SlotState.native;
  expect(slots.isCurrent(slot, generation)).toBe(false);
  expect(slots.isCurrent(slot, generation + 1)).toBe(true);
  expect(slots.isCurrent(1_000_000, 0)).toBe(false);
});

test("generations wrap around without leaving u32", () => {
  const slots = fresh();
  const slot = slots.take();
  slots.generation[slot] = 0xffff_ffff;
  slots.give(slot);
  expect(slots.generation[slot]).toBe(0);
});

test("any sequence of taking and giving keeps slots apart", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 2 ** 16 }), { maxLength: 2000 }), (choices) => {
      const slots = fresh();
      const live = new Map<number, number>();
      const generations = new Map<number, number>();
      for (const choice of choices) {
        if (live.size === 0 || choice % 3 !== 0) {
          const slot = slots.take();
          expect(live.has(slot)).toBe(false);
          const generation = slots.generation[slot] ?? -1;
          expect(generation).toBeGreaterThanOrEqual(generations.get(slot) ?? 0);
          slots.state[slot] = SlotState.native;
          live.set(slot, generation);
        } else {
          const slot = [...live.keys()][choice % live.size] ?? NO_SLOT;
          const generation = live.get(slot) ?? -1;
          expect(slots.isCurrent(slot, generation)).toBe(true);
          slots.give(slot);
          expect(slots.isCurrent(slot, generation)).toBe(false);
          live.delete(slot);
          generations.set(slot, generation + 1);
        }
        expect(slots.used).toBe(live.size);
      }
    }),
    { numRuns: 50 },
  );
});

test("offsets are exact up to the last one of a file", () => {
  const slots = fresh();
  const slot = slots.take();
  const last = 2n ** 53n;
  for (const offset of [0, 2 ** 32 - 1, 2 ** 32, Number(last) - 1, last + 1n, 2n ** 63n - 1n]) {
    slots.setOffset(slot, offset);
    expect(slots.offset(slot)).toBe(offset);
  }
});
