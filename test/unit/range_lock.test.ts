import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Offset } from "../../src/common/arguments.ts";
import { type Lease, RangeLock } from "../../src/locks/range_lock.ts";

/** Whether `promise` has settled by the end of this turn's microtasks. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void promise.then(() => {
    settled = true;
  });
  for (let i = 0; i < 4; i++) await Promise.resolve();
  return settled;
}

/** Waits until the range is held. */
async function hold(
  lock: RangeLock,
  start: Offset,
  end: Offset,
  exclusive: boolean,
): Promise<Lease> {
  const lease = lock.acquire({ start, end, exclusive });
  await lease.granted;
  return lease;
}

test("shared leases overlap, an exclusive one waits for them", async () => {
  const lock = new RangeLock();
  const first = await hold(lock, 0, 100, false);
  const second = await hold(lock, 50, 150, false);
  const exclusive = hold(lock, 99, 100, true);
  expect(await isSettled(exclusive)).toBe(false);
  lock.release(first);
  expect(await isSettled(exclusive)).toBe(false);
  lock.release(second);
  lock.release(await exclusive);
  expect(lock.size).toBe(0);
});

test("neighbours do not wait for each other", async () => {
  const lock = new RangeLock();
  const first = await hold(lock, 0, 512, true);
  const second = await hold(lock, 512, 1024, true);
  expect(lock.size).toBe(2);
  lock.release(second);
  lock.release(first);
});

test("a later shared lease does not overtake a waiting exclusive one", async () => {
  const lock = new RangeLock();
  const held = await hold(lock, 0, 10, false);
  const exclusive = hold(lock, 0, 10, true);
  const late = hold(lock, 0, 10, false);
  lock.release(held);
  const lease = await exclusive;
  expect(await isSettled(late)).toBe(false);
  lock.release(lease);
  lock.release(await late);
});

test("a range without end conflicts with everything behind its start", async () => {
  const lock = new RangeLock();
  const open = await hold(lock, 1000, Number.POSITIVE_INFINITY, true);
  lock.release(await hold(lock, 0, 1000, true));
  const behind = hold(lock, 2n ** 60n, 2n ** 60n + 1n, false);
  expect(await isSettled(behind)).toBe(false);
  lock.release(open);
  lock.release(await behind);
});

test("bigint and number offsets are compared exactly", async () => {
  const lock = new RangeLock();
  const at = 2n ** 53n + 1n;
  const first = await hold(lock, at, at + 1n, true);
  lock.release(await hold(lock, at + 1n, at + 2n, true));
  const same = hold(lock, at, at + 1n, true);
  expect(await isSettled(same)).toBe(false);
  lock.release(first);
  lock.release(await same);
});

test("a lease that is not held cannot be released", async () => {
  const lock = new RangeLock();
  const lease = await hold(lock, 0, 1, true);
  lock.release(lease);
  expect(() => lock.release(lease)).toThrow("not held");
});

test("who gives up lets those behind it wait for those before it only", async () => {
  const lock = new RangeLock();
  const first = await hold(lock, 0, 10, true);
  const wide = lock.acquire({ start: 0, end: 1000, exclusive: true });
  const same = hold(lock, 0, 10, true);
  const far = hold(lock, 500, 510, true);
  expect(await isSettled(far)).toBe(false);
  lock.release(wide);
  expect(await isSettled(far)).toBe(true);
  expect(await isSettled(same)).toBe(false);
  lock.release(first);
  lock.release(await same);
  lock.release(await far);
  expect(lock.size).toBe(0);
  expect(Bun.peek.status(wide.granted)).toBe("pending");
});

test("no two holders ever conflict, and everybody gets through", async () => {
  const range = fc.record({
    start: fc.oneof(fc.nat(40), fc.integer({ min: 0, max: 8 * 2 ** 20 })),
    length: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 6 * 2 ** 20 })),
    exclusive: fc.boolean(),
    big: fc.boolean(),
    turns: fc.nat(5),
    /** Turns after which it gives up, if it does. */
    patience: fc.option(fc.nat(20)),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(range, { maxLength: 60 }), async (ranges) => {
      const lock = new RangeLock();
      const held = new Set<Lease>();
      await Promise.all(
        ranges.map(async ({ start, length, exclusive, big, turns, patience }) => {
          const from = big ? BigInt(start) : start;
          const end = big ? BigInt(start + length) : start + length;
          const lease = lock.acquire({ start: from, end, exclusive });
          let isHeld = lease.granted === undefined;
          void lease.granted?.then(() => {
            isHeld = true;
          });
          for (let turn = 0; !isHeld && turn < (patience ?? Infinity); turn++) {
            await (patience === null ? lease.granted : Promise.resolve());
          }
          if (!isHeld) return lock.release(lease);
          for (const other of held) {
            const apart = lease.start >= other.end || other.start >= lease.end;
            expect(apart || !(lease.exclusive || other.exclusive)).toBe(true);
          }
          held.add(lease);
          for (let turn = 0; turn < turns; turn++) await Promise.resolve();
          held.delete(lease);
          lock.release(lease);
        }),
      );
      expect(lock.size).toBe(0);
    }),
  );
});

interface Range {
  readonly start: Offset;
  readonly end: Offset;
  readonly exclusive: boolean;
}

/** The same, by comparing everything with everything. */
class SlowLock {
  readonly present: { range: Range; held: boolean }[] = [];

  acquire(range: Range): void {
    this.present.push({ range, held: false });
    this.#hold();
  }

  release(index: number): void {
    this.present.splice(index, 1);
    this.#hold();
  }

  #hold(): void {
    this.present.forEach((one, index) => {
      one.held ||= this.present.slice(0, index).every((other) => !conflict(one.range, other.range));
    });
  }
}

function conflict(a: Range, b: Range): boolean {
  if (a.start >= a.end || b.start >= b.end) return false;
  return (a.exclusive || b.exclusive) && a.start < b.end && b.start < a.end;
}

function isHeld({ granted }: Lease): boolean {
  return granted === undefined || Bun.peek.status(granted) === "fulfilled";
}

/** Where ranges start; 64-bit offsets and the borders of 32-bit words are among them. */
const BASES: readonly Offset[] = [0, 2 ** 20, 2 ** 32 - 24, 2 ** 52, 2n ** 53n - 24n, 2n ** 62n];
const LENGTHS: readonly number[] = [0, 1, 7, 8, 16, 40, 2 ** 20, 2 ** 33, 2 ** 52, Infinity];

const anyRange: fc.Arbitrary<Range> = fc
  .record({
    base: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.constantFrom(...BASES)),
    past: fc.nat(48),
    length: fc.oneof({ weight: 2, arbitrary: fc.nat(24) }, fc.constantFrom(...LENGTHS)),
    exclusive: fc.boolean(),
  })
  .map(({ base, past, length, exclusive }) => {
    const start = typeof base === "bigint" ? base + BigInt(past) : base + past;
    if (length === Infinity) return { start, end: Infinity, exclusive };
    const end = BigInt(start) + BigInt(length);
    const isSafe = typeof start === "number" && end <= Number.MAX_SAFE_INTEGER;
    return { start, end: isSafe ? Number(end) : end, exclusive };
  });

/** Few ranges that are asked for again and again. */
const anyRun = fc.record({
  ranges: fc.array(anyRange, { minLength: 1, maxLength: 6 }),
  steps: fc.array(fc.record({ releases: fc.boolean(), index: fc.nat(99) }), {
    minLength: 1,
    maxLength: 100,
    size: "max",
  }),
});

test("holds what a lock that compares everything with everything would, step by step", () => {
  fc.assert(
    fc.property(anyRun, ({ ranges, steps }) => {
      const lock = new RangeLock();
      const slow = new SlowLock();
      const leases: Lease[] = [];
      for (const { releases, index } of steps) {
        const range = ranges[index % ranges.length] as Range;
        const at = index % leases.length;
        if (releases && leases.length > 0) {
          lock.release(leases.splice(at, 1)[0] as Lease);
          slow.release(at);
        } else {
          leases.push(lock.acquire(range));
          slow.acquire(range);
        }
        expect(leases.map(isHeld)).toEqual(slow.present.map(({ held }) => held));
      }
      for (const lease of leases) lock.release(lease);
      expectEmpty(lock);
    }),
    { numRuns: 3000 },
  );
}, 60_000);

/** Nothing is left of what was released: the next one meets nobody. */
function expectEmpty(lock: RangeLock): void {
  expect(lock.size).toBe(0);
  const before = lock.steps;
  lock.acquire({ start: 0, end: 1, exclusive: true });
  expect(lock.steps - before).toBeLessThanOrEqual(2);
}

/** Nodes visited for `count` ranges on either side of what `run` does with a long one, by range. */
function stepsPerRange(count: number, run: (lock: RangeLock, longs: Lease[]) => void): number {
  const lock = new RangeLock();
  const small = (_: unknown, index: number): Lease =>
    lock.acquire({ start: index * 4096 + 512, end: index * 4096 + 1024, exclusive: true });
  const before = Array.from({ length: count }, small);
  const longs = Array.from({ length: 8 }, () =>
    lock.acquire({ start: 0, end: count * 4096, exclusive: true }),
  );
  const after = Array.from({ length: count }, small);
  run(lock, longs);
  for (const lease of [...before, ...after]) lock.release(lease);
  const { steps } = lock;
  expectEmpty(lock);
  return steps / (2 * count);
}

test.each([
  ["given up, the first one first", (longs: Lease[]) => longs],
  ["given up, the last one first", (longs: Lease[]) => longs.reverse()],
])("what waits on either side costs no more because of how many there are: %s", (_, order) => {
  const run = (lock: RangeLock, longs: Lease[]): void => {
    const before = lock.steps;
    for (const lease of order(longs)) lock.release(lease);
    // Nobody behind them may go on: this costs nothing.
    expect(lock.steps - before).toBeLessThan(1000);
  };
  const few = stepsPerRange(100, run);
  const many = stepsPerRange(10_000, run);
  // A way through the tree is the logarithm of its nodes: twice as long.
  expect(many).toBeLessThan(2.5 * few);
});

test.each([false, true])(
  "a queue for one range costs no more because of its length: last first %p",
  async (reversed) => {
    const steps = (count: number): number => {
      const lock = new RangeLock();
      const leases = Array.from({ length: count }, (_, i) =>
        lock.acquire({ start: 0, end: 4608, exclusive: i % 3 === 0 }),
      );
      for (const lease of reversed ? leases.reverse() : leases) lock.release(lease);
      expect(lock.size).toBe(0);
      return lock.steps / count;
    };
    expect(steps(10_000)).toBeLessThan(1.2 * steps(100));
  },
);

test("who may go on is told in several turns, in order, unless it has given up", async () => {
  const lock = new RangeLock();
  const long = lock.acquire({ start: 0, end: Infinity, exclusive: true });
  const told: number[] = [];
  const leases = Array.from({ length: 2000 }, (_, index) => {
    const lease = lock.acquire({ start: index * 512, end: index * 512 + 512, exclusive: true });
    void lease.granted?.then(() => told.push(index));
    return lease;
  });
  lock.release(long);
  await new Promise(setImmediate);
  expect(told.length).toBeGreaterThan(0);
  expect(told.length).toBeLessThan(1000);
  lock.release(leases[1999] as Lease);
  while (told.length < 1999) await new Promise(setImmediate);
  expect(told).toEqual(Array.from({ length: 1999 }, (_, index) => index));
  for (const lease of leases.slice(0, 1999)) lock.release(lease);
  expect(lock.size).toBe(0);
  expect(Bun.peek.status(leases[1999]?.granted)).toBe("pending");
});
