// Units of src/cancellation: who is told when a scope is cancelled.

import { expect, test } from "bun:test";
import { getEventListeners } from "node:events";
import { ChildScope } from "../../src/cancellation/child_scope.ts";
import { Deadlines } from "../../src/cancellation/deadlines.ts";
import { onCancel, waitWithin } from "../../src/cancellation/registry.ts";
import { type CancelReason, CancelScope, cancelScope } from "../../src/cancellation/scope.ts";
import { now, pause } from "../../src/native/clock.ts";

/** A scope that the test cancels, and what `onCancel` told of it. */
function told(timeout?: number): [AbortController, CancelScope, CancelReason[]] {
  const controller = new AbortController();
  const { signal } = controller;
  const scope = cancelScope({ signal, timeout }) as CancelScope;
  const reasons: CancelReason[] = [];
  onCancel(scope, (reason) => reasons.push(reason));
  return [controller, scope, reasons];
}

test("a scope has a reason from the moment that it is cancelled", () => {
  expect(cancelScope({})).toBeUndefined();
  const [controller, scope] = told(1000);
  expect(scope.reason).toBeUndefined();
  controller.abort("enough");
  expect(scope.reason).toEqual({ code: "ABORT_ERR", cause: "enough" });
  const past = cancelScope({ timeout: 0 }) as CancelScope;
  expect(past.reason).toEqual({ code: "ERR_TIMEOUT" });
  expect(() => past.throwIfCancelled({ syscall: "read" })).toThrow("timed out");
});

test("a copy of a scope's properties is good as options", () => {
  const { signal } = new AbortController();
  expect(Object.keys(new CancelScope(signal, 5))).toEqual(["signal"]);
});

test("who is told is told once, by what comes first, and not after the end", async () => {
  const [controller, , reasons] = told(0);
  controller.abort(1);
  await pause(5);
  expect(reasons).toEqual([{ code: "ABORT_ERR", cause: 1 }]);
  const [late, , timedOut] = told(0);
  while (timedOut.length === 0) await pause(1);
  late.abort(1);
  expect(timedOut).toEqual([{ code: "ERR_TIMEOUT" }]);
  const other = new AbortController();
  let calls = 0;
  const registration = onCancel(new CancelScope(other.signal, now()), () => calls++);
  registration.end();
  registration.end();
  other.abort();
  await pause(5);
  expect(calls).toBe(0);
});

test("who is ended by another that is told is not told", () => {
  const { signal, abort } = abortable();
  const order: number[] = [];
  const second = new CancelScope(signal);
  onCancel(new CancelScope(signal), () => {
    order.push(1);
    ended.end();
  });
  const ended = onCancel(second, () => order.push(2));
  onCancel(second, () => order.push(3));
  abort();
  expect(order).toEqual([1, 3]);
});

function abortable(): { signal: AbortSignal; abort: () => void } {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
}

test("a child is cancelled after its owner was told; or by its owner, who is told nothing then", () => {
  for (const way of ["parent", "owner", "released"]) {
    const [controller, parent] = told();
    const events: string[] = [];
    const child = new ChildScope(parent, ({ cause }) => events.push(`owner: ${cause}`));
    onCancel(child, ({ cause }) => events.push(`part: ${cause}`));
    if (way === "owner") child.cancel("own");
    if (way === "released") child.release();
    controller.abort("all");
    const expected = {
      parent: ["owner: all", "part: all"],
      owner: ["part: own"],
      released: [],
    };
    expect<string[] | undefined>(events).toEqual(expected[way as "parent"]);
  }
  const late = new ChildScope(new CancelScope(AbortSignal.abort("all")), () =>
    expect.unreachable(),
  );
  expect(late.reason).toEqual({ code: "ABORT_ERR", cause: "all" });
});

test("a wait ends with the work or with the scope, and leaves the work alone", async () => {
  const [controller, scope] = told();
  const { promise, resolve } = Promise.withResolvers<void>();
  const waiting = waitWithin(promise, scope);
  expect(await waitWithin(Promise.reject(new Error("work")), scope)).toBeUndefined();
  expect(await waitWithin(Promise.resolve(), undefined)).toBeUndefined();
  const { signal } = new AbortController();
  expect(await waitWithin(Promise.resolve(), new CancelScope(signal))).toBeUndefined();
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
  controller.abort("enough");
  expect(await waiting).toEqual({ code: "ABORT_ERR", cause: "enough" });
  expect(await waitWithin(promise, scope)).toEqual({ code: "ABORT_ERR", cause: "enough" });
  resolve();
});

test("deadlines pass in their order, whatever was added and removed between", async () => {
  const deadlines = new Deadlines();
  const passed: number[] = [];
  const expected: number[] = [];
  const start = now();
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 48271) % 2147483647;
    return seed % below;
  };
  const open = Array.from({ length: 500 }, () => {
    const due = {
      deadline: start + random(40) + random(1000) / 1000,
      place: -1,
      expire(): void {
        deadlines.remove(due);
        passed.push(due.deadline);
      },
    };
    deadlines.add(due);
    return due;
  });
  // In this turn nothing has passed.
  for (const due of open) {
    if (random(2) === 0) deadlines.remove(due);
    else expected.push(due.deadline);
  }
  while (passed.length < expected.length) await pause(5);
  expect(passed).toEqual(expected.sort((a, b) => a - b));
  await pause(5);
  expect(passed.length).toBe(expected.length);
});

test("a signal that nobody can abort any more takes with it who waits for it", async () => {
  const gone = new Set<number>();
  const registry = new FinalizationRegistry<number>((index) => gone.add(index));
  const abandon = (index: number): void => {
    const waiter = { index };
    registry.register(waiter, index);
    onCancel(new CancelScope(new AbortController().signal), () => waiter.index++);
  };
  for (let index = 0; index < 100; index++) abandon(index);
  // A conservative collector may take a few words on the stack for references.
  for (let round = 0; gone.size < 50 && round < 100; round++) {
    Bun.gc(true);
    await pause(5);
  }
  expect(gone.size).toBeGreaterThanOrEqual(50);
});
