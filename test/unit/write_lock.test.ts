// Units of write_lock.ts: which changes of one file wait for which, over all that is open of it.

import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { CancelScope } from "../../src/cancellation/scope.ts";
import { type EachWrite, type Waiter, WriteLock } from "../../src/locks/write_lock.ts";
import { rejection } from "../support/expect.ts";

/** A change that is over when the test says so. */
class Step {
  readonly run: () => Promise<void>;
  hasBegun = false;
  readonly #end = Promise.withResolvers<void>();

  constructor() {
    this.run = () => {
      this.hasBegun = true;
      return this.#end.promise;
    };
  }

  end(): void {
    this.#end.resolve();
  }
}

function waiter(signal?: AbortSignal): Waiter {
  return {
    scope: signal === undefined ? undefined : new CancelScope(signal),
    stopped: ({ code }) => new Error(`stopped: ${code}`),
    givenUp: (cause) => new Error("given up", { cause }),
  };
}

/** Lets everything happen that waits for nothing outside of the lock. */
async function settle(): Promise<void> {
  await new Promise(setImmediate);
}

function shared(lock: WriteLock, start: number, end: number, by = waiter()): [Step, Promise<void>] {
  const step = new Step();
  return [step, lock.during({ start, end }, by, step.run)];
}

function alone(lock: WriteLock, start: number, end: number, by = waiter()): [Step, Promise<void>] {
  const step = new Step();
  return [step, lock.alone(start, end, by, step.run)];
}

async function hasBegun(...steps: Step[]): Promise<boolean[]> {
  await settle();
  return steps.map((step) => step.hasBegun);
}

/** What else is open of the same file. */
function siblings(name: string, count: number): WriteLock[] {
  return Array.from({ length: count }, () => {
    const lock = new WriteLock();
    join(lock, name);
    return lock;
  });
}

function join(lock: WriteLock, name: string, eachWrite: EachWrite = () => {}): void {
  lock.join({ name, instance: 1n }, eachWrite);
}

test("changes that share run at once, in the turn in which they are called", async () => {
  const lock = new WriteLock();
  const [one, first] = shared(lock, 0, 512);
  const [two, second] = shared(lock, 0, 512);
  expect([one.hasBegun, two.hasBegun, lock.isOn]).toEqual([true, true, false]);
  one.end();
  two.end();
  await Promise.all([first, second]);
});

test("who goes alone waits for what is under way in its range, and keeps others out of it", async () => {
  const lock = new WriteLock();
  const [near, nearDone] = shared(lock, 0, 512);
  const [far] = shared(lock, 1024, 2048);
  const [single, singleDone] = alone(lock, 256, 1024);
  expect(lock.isOn).toBe(true);
  expect(await hasBegun(single)).toEqual([false]);
  near.end();
  await nearDone;
  expect(await hasBegun(single)).toEqual([true]);
  const [behind, behindDone] = shared(lock, 0, 257);
  const [beside, besideDone] = shared(lock, 0, 256);
  const [next, nextDone] = alone(lock, 512, 600);
  expect(await hasBegun(behind, beside, next)).toEqual([false, true, false]);
  single.end();
  await singleDone;
  expect(await hasBegun(behind, next)).toEqual([true, true]);
  for (const step of [far, behind, beside, next]) step.end();
  await Promise.all([behindDone, besideDone, nextDone]);
  await settle();
  expect(lock.isOn).toBe(false);
});

test("it is off again when what failed is over, and what it threw is thrown", async () => {
  const lock = new WriteLock();
  const error = new Error("no");
  const failing = (): Promise<void> => Promise.reject(error);
  await expect(lock.alone(0, 1, waiter(), failing)).rejects.toBe(error);
  expect(lock.isOn).toBe(false);
  await expect(lock.during({ start: 0, end: 1 }, waiter(), failing)).rejects.toBe(error);
  const [single, done] = alone(lock, 0, 1);
  expect(await hasBegun(single)).toEqual([true]);
  single.end();
  await done;
});

test("writes of the fast way that are under way are waited for", async () => {
  const lock = new WriteLock();
  join(lock, "fast", (found) => {
    found(3, 0, 512);
    found(9, 4096, 8192);
  });
  lock.fastBegins();
  lock.fastBegins();
  const [single, singleDone] = alone(lock, 0, 4096);
  const [other, otherDone] = alone(lock, 4096, 4097);
  expect(await hasBegun(single, other)).toEqual([false, false]);
  lock.fastEnds(9);
  expect(await hasBegun(single, other)).toEqual([false, true]);
  lock.fastEnds(3);
  expect(await hasBegun(single)).toEqual([true]);
  single.end();
  other.end();
  await Promise.all([singleDone, otherDone]);
  lock.leave();
});

test("all that is open of one file has one lock; other files have theirs", async () => {
  const [one, two] = siblings("same", 2) as [WriteLock, WriteLock];
  const [other] = siblings("other", 1) as [WriteLock];
  const stranger = new WriteLock();
  const [under, underDone] = shared(one, 0, 512);
  const [single, singleDone] = alone(two, 0, 512);
  expect([one.isOn, two.isOn, other.isOn, stranger.isOn]).toEqual([true, true, false, false]);
  expect(await hasBegun(single)).toEqual([false]);
  const [elsewhere, elsewhereDone] = alone(other, 0, 512);
  expect(await hasBegun(elsewhere)).toEqual([true]);
  for (const step of [under, single, elsewhere]) step.end();
  await Promise.all([underDone, singleDone, elsewhereDone]);
  for (const lock of [one, two, other]) lock.leave();
});

test("it stays on as long as somebody who needs it is open", async () => {
  const [one, two] = siblings("kept", 2) as [WriteLock, WriteLock];
  one.keepOn();
  one.keepOn();
  expect([one.isOn, two.isOn]).toEqual([true, true]);
  const [step, done] = shared(two, 0, 1);
  step.end();
  await done;
  expect(two.isOn).toBe(true);
  one.leave();
  expect(two.isOn).toBe(false);
  two.leave();
});

test("a new file under the same name begins with a lock that is off", () => {
  const [one] = siblings("again", 1) as [WriteLock];
  one.keepOn();
  one.leave();
  const [two] = siblings("again", 1) as [WriteLock];
  expect(two.isOn).toBe(false);
  two.leave();
});

test("who waits can be stopped: it never runs, and keeps nobody waiting", async () => {
  for (const kind of ["for a lease", "for what runs loose"]) {
    const lock = new WriteLock();
    const [under, underDone] = kind === "for a lease" ? alone(lock, 0, 512) : shared(lock, 0, 512);
    const controller = new AbortController();
    const [stopped, stoppedDone] = alone(lock, 0, 4096, waiter(controller.signal));
    const [behind, behindDone] = shared(lock, 1024, 4096);
    expect(await hasBegun(stopped, behind)).toEqual([false, false]);
    controller.abort();
    await expect(stoppedDone).rejects.toThrow("stopped: ABORT_ERR");
    expect(await hasBegun(stopped, behind)).toEqual([false, true]);
    under.end();
    behind.end();
    await Promise.all([underDone, behindDone]);
    await settle();
    expect([kind, lock.isOn]).toEqual([kind, false]);
  }
});

test("a change that shares its range is stopped as well, when it is aborted already", async () => {
  const lock = new WriteLock();
  const [under, underDone] = alone(lock, 0, 512);
  const [late, lateDone] = shared(lock, 0, 1, waiter(AbortSignal.abort()));
  await expect(lateDone).rejects.toThrow("stopped: ABORT_ERR");
  under.end();
  await underDone;
  expect(await hasBegun(late)).toEqual([false]);
});

test("in what is given up nobody writes any more, alone or not, through whatever is open", async () => {
  const [one, two] = siblings("given up", 2) as [WriteLock, WriteLock];
  const cause = new Error("nobody knows");
  one.giveUp(512, 1024, cause);
  for (const lock of [one, two]) {
    expect(lock.isOn).toBe(true);
    for (const call of [shared, alone]) {
      const [refused, refusedDone] = call(lock, 1023, 2048);
      await expect(refusedDone).rejects.toMatchObject({ message: "given up", cause });
      expect(refused.hasBegun).toBe(false);
      for (const [start, end] of [
        [0, 512],
        [1024, 2048],
      ] as const) {
        const [step, done] = call(lock, start, end);
        step.end();
        await done;
        expect(step.hasBegun).toBe(true);
      }
    }
  }
  for (const lock of [one, two]) lock.leave();
});

test("what is given up outlives its file, and ends with the file's name", async () => {
  const cause = new Error("nobody knows");
  const opened = (instance: bigint): WriteLock => {
    const lock = new WriteLock();
    lock.join({ name: "reused", instance }, () => {});
    return lock;
  };
  const first = opened(1n);
  first.giveUp(0, 512, cause);
  first.leave();
  const same = opened(1n);
  await expect(alone(same, 0, 512)[1]).rejects.toMatchObject({ message: "given up", cause });
  same.leave();
  const other = opened(2n);
  const [step, done] = alone(other, 0, 512);
  step.end();
  await done;
  expect(step.hasBegun).toBe(true);
  other.leave();
});

test("what is given up of one medium does not concern the next one under its name", async () => {
  const first = new WriteLock();
  first.join({ name: "drive", instance: 1n }, () => {});
  first.giveUp(0, 512, new Error("nobody knows"));
  const next = new WriteLock();
  next.join({ name: "drive", instance: 2n }, () => {});
  const [step, done] = alone(next, 0, 512);
  step.end();
  await done;
  await expect(alone(first, 0, 512)[1]).rejects.toThrow("given up");
  next.leave();
  first.leave();
});

test("what is given up while somebody waits for it is refused to that one, too", async () => {
  const lock = new WriteLock();
  const [under, underDone] = alone(lock, 0, 512);
  const [waiting, waitingDone] = alone(lock, 0, 512);
  const refused = rejection(waitingDone);
  expect(await hasBegun(under, waiting)).toEqual([true, false]);
  lock.giveUp(0, 512, new Error("nobody knows"));
  under.end();
  await underDone;
  expect((await refused).message).toBe("given up");
  expect(waiting.hasBegun).toBe(false);
});

test("files that are closed leave nothing behind", () => {
  const sets = (): number => {
    Bun.gc(true);
    return heapStats().objectTypeCounts["Set"] ?? 0;
  };
  const before = sets();
  for (let i = 0; i < 1000; i++) for (const lock of siblings(`closed ${i}`, 2)) lock.leave();
  expect(sets() - before).toBeLessThan(100);
});
