import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Lease, RangeLock } from "../src/range_lock.ts";

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
async function hold(lock: RangeLock, ...range: Parameters<RangeLock["acquire"]>): Promise<Lease> {
  const lease = lock.acquire(...range);
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
  const wide = lock.acquire(0, 1000, true);
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
          const lease = lock.acquire(from, end, exclusive);
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
