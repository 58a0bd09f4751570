// Abort signals and timeouts of operations in flight. One listener for each signal however many
// operations it governs, one timer over a heap of deadlines; both are gone when the last operation is.
// Knows slots only as numbers; what cancelling means is told by the callback.

import { listen, unlisten } from "../common/intrinsics.ts";
import { Turns } from "../common/turns.ts";
import { IoError, type IoErrorInit } from "../errors/io_error.ts";
import { now, Timer } from "../native/clock.ts";

/** What governs an operation, or all the parts of a longer one. */
export interface CancelScope {
  readonly signal: AbortSignal | undefined;
  /** When it times out, by the library's clock (clock.ts), or Infinity. */
  readonly deadline: number;
}

/** Why an operation was asked to end. */
export type CancelReason =
  | { readonly code: "ABORT_ERR"; readonly reason: unknown }
  | { readonly code: "ERR_TIMEOUT" };

export const TIMED_OUT: CancelReason = { code: "ERR_TIMEOUT" };

export function cancelScope(options: {
  signal?: AbortSignal | undefined;
  timeout?: number | undefined;
}): CancelScope | undefined {
  const { signal, timeout } = options;
  if (signal === undefined && timeout === undefined) return undefined;
  const deadline = timeout === undefined ? Infinity : now() + timeout;
  return { signal, deadline };
}

/** The cause that holds already, if any: then nothing need be started. */
export function reasonOf(scope: CancelScope): CancelReason | undefined {
  if (scope.signal?.aborted === true) {
    return { code: "ABORT_ERR", reason: scope.signal.reason };
  }
  return scope.deadline <= now() ? TIMED_OUT : undefined;
}

export function cancelError(cause: CancelReason, init: IoErrorInit): IoError {
  if (cause.code === "ABORT_ERR") {
    const reason = "the operation was aborted";
    return new IoError("ABORT_ERR", { ...init, reason, cause: cause.reason });
  }
  return new IoError("ERR_TIMEOUT", { ...init, reason: "the operation timed out" });
}

interface Listening {
  readonly slots: Set<number>;
  readonly listener: () => void;
}

export class CancelRegistry {
  readonly #cancel: (slot: number, cause: CancelReason) => void;
  readonly #bySignal = new Map<AbortSignal, Listening>();
  readonly #signals = new Map<number, AbortSignal>();
  /** Binary heap of slots by deadline, and where each slot stands in it. */
  readonly #heap: number[] = [];
  readonly #position = new Map<number, number>();
  readonly #deadlines = new Map<number, number>();
  #timer: Timer | undefined;
  #timerAt = Infinity;

  constructor(cancel: (slot: number, cause: CancelReason) => void) {
    this.#cancel = cancel;
  }

  /** Starts governing a slot. Whether a cause holds already is for the caller to see. */
  add(slot: number, scope: CancelScope): void {
    if (scope.signal !== undefined) this.#listen(slot, scope.signal);
    if (scope.deadline !== Infinity) this.#push(slot, scope.deadline);
  }

  /** The signal that governs a slot, if any. */
  signalOf(slot: number): AbortSignal | undefined {
    return this.#signals.get(slot);
  }

  /** The slot's operation is over. */
  remove(slot: number): void {
    const signal = this.#signals.get(slot);
    if (signal !== undefined) this.#unlisten(slot, signal);
    if (this.#deadlines.has(slot)) this.#drop(slot);
  }

  #listen(slot: number, signal: AbortSignal): void {
    this.#signals.set(slot, signal);
    let listening = this.#bySignal.get(signal);
    if (listening === undefined) {
      const slots = new Set<number>();
      const listener = (): void => this.#aborted(signal, slots);
      listening = { slots, listener };
      this.#bySignal.set(signal, listening);
      listen(signal, listener);
    }
    listening.slots.add(slot);
  }

  #unlisten(slot: number, signal: AbortSignal): void {
    this.#signals.delete(slot);
    const listening = this.#bySignal.get(signal);
    if (listening === undefined) return;
    listening.slots.delete(slot);
    if (listening.slots.size > 0) return;
    this.#bySignal.delete(signal);
    unlisten(signal, listening.listener);
  }

  #aborted(signal: AbortSignal, slots: Set<number>): void {
    const cause: CancelReason = { code: "ABORT_ERR", reason: signal.reason };
    for (const slot of [...slots]) this.#cancel(slot, cause);
  }

  // Deadlines

  #push(slot: number, deadline: number): void {
    this.#deadlines.set(slot, deadline);
    this.#heap.push(slot);
    this.#position.set(slot, this.#heap.length - 1);
    this.#up(this.#heap.length - 1);
    this.#setTimer();
  }

  #drop(slot: number): void {
    const at = this.#position.get(slot);
    this.#deadlines.delete(slot);
    this.#position.delete(slot);
    if (at === undefined) return;
    const last = this.#heap.pop();
    if (last !== undefined && last !== slot) {
      this.#put(at, last);
      this.#up(at);
      this.#down(this.#position.get(last) ?? at);
    }
    if (this.#heap.length === 0) this.#setTimer();
  }

  #deadline(slot: number | undefined): number {
    return slot === undefined ? Infinity : (this.#deadlines.get(slot) ?? Infinity);
  }

  #put(at: number, slot: number): void {
    this.#heap[at] = slot;
    this.#position.set(slot, at);
  }

  #up(start: number): void {
    let at = start;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#deadline(this.#heap[parent]) <= this.#deadline(this.#heap[at])) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #down(start: number): void {
    let at = start;
    while (true) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (this.#deadline(this.#heap[child]) < this.#deadline(this.#heap[least])) least = child;
      }
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #swap(a: number, b: number): void {
    const first = this.#heap[a];
    const second = this.#heap[b];
    if (first === undefined || second === undefined) return;
    this.#put(a, second);
    this.#put(b, first);
  }

  /** One timer, for the earliest deadline. It keeps nothing alive: the operations do. */
  #setTimer(): void {
    const at = this.#deadline(this.#heap[0]);
    if (at === Infinity) {
      this.#timer?.cancel();
      this.#timer = undefined;
      this.#timerAt = Infinity;
      return;
    }
    if (at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = new Timer(at - now(), this.#expire);
  }

  readonly #expire = (): void => {
    this.#timerAt = Infinity;
    const time = now();
    while (this.#heap.length > 0) {
      const slot = this.#heap[0];
      if (slot === undefined || this.#deadline(slot) > time) break;
      this.#drop(slot);
      this.#cancel(slot, TIMED_OUT);
    }
    this.#setTimer();
  };
}

/** Those that wait outside of the kernel, by number: what ends the wait. */
const waits = new Map<number, (cause: CancelReason | undefined) => void>();
let lastWait = 0;
const stops = new Turns<{ readonly wait: number; readonly cause: CancelReason }>(
  ({ wait, cause }) => waits.get(wait)?.(cause),
);
const waitControl = new CancelRegistry((wait, cause) => stops.add({ wait, cause }));

/**
 * Waits for `work` to settle, at most until a cause to give up holds: that is returned then. For
 * waiting outside of the kernel; nothing is cancelled.
 */
export function waitWithin(
  work: Promise<unknown>,
  scope: CancelScope | undefined,
): Promise<CancelReason | undefined> {
  const settled = work.then(nothing, nothing);
  if (scope === undefined) return settled;
  const cause = reasonOf(scope);
  if (cause !== undefined) return Promise.resolve(cause);
  return new Promise((resolve) => {
    const wait = ++lastWait;
    const done = (cause: CancelReason | undefined): void => {
      if (!waits.delete(wait)) return;
      waitControl.remove(wait);
      resolve(cause);
    };
    waits.set(wait, done);
    waitControl.add(wait, scope);
    void settled.then(done);
  });
}

function nothing(): undefined {}
