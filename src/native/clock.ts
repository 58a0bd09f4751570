// The library's own clock and timers. `jest.useFakeTimers()` of bun:test stops every clock that JavaScript can read
// and every timer that it can set, even references captured before (measured on Bun 1.4.5: setTimeout, Bun.sleep,
// AbortSignal.timeout, performance.now and Bun.nanoseconds stop; setImmediate, message channels and the timeout of
// Atomics.waitAsync continue). The kernel continues meanwhile. So time comes from the native library, and a timer is
// an Atomics.waitAsync that times out.

import { library } from "./library.ts";

const { setInterval, clearInterval } = globalThis;
const waitAsync: typeof Atomics.waitAsync = Atomics.waitAsync;

/** Never changed and never notified. */
const cell = new Int32Array(new SharedArrayBuffer(4));
/** The longest interval of setInterval. */
const LONG_MS = 2 ** 31 - 1;
/** A wait of 0 ms would end at once instead of in a later turn. */
const SOON_MS = 0.001;

const timers = new Set<Timer>();
/**
 * Ends of pending waits, the soonest last. A wait cannot be cancelled without leaving its timer behind (3.7 us and
 * some hundred bytes each). So a wait is started only if none ends in time, and it outlives cancelled timers. Each
 * timer has a wait that ends no later than it is due.
 */
const waits: number[] = [];

/** Milliseconds since an arbitrary point in the past. Loads the library. */
export function now(): number {
  return library().ba_now_ms();
}

export class Timer {
  readonly #run: () => void;
  readonly #hold: ReturnType<typeof setInterval> | undefined;
  readonly at: number;

  /**
   * Calls `run` once, after `ms` milliseconds, in a turn of its own. Keeps the process alive only with
   * `keepsAlive`.
   */
  constructor(ms: number, run: () => void, options: { readonly keepsAlive?: boolean } = {}) {
    this.#run = run;
    this.at = now() + ms;
    if (options.keepsAlive === true) this.#hold = setInterval(nothing, LONG_MS);
    timers.add(this);
    waitUntil(this.at);
  }

  cancel(): void {
    timers.delete(this);
    clearInterval(this.#hold);
  }

  /** Calls `run` now, unless the timer was cancelled. */
  fire(): void {
    if (!timers.has(this)) return;
    this.cancel();
    this.#run();
  }
}

/** Waits `ms` milliseconds, and keeps the process alive meanwhile. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    new Timer(ms, resolve, { keepsAlive: true });
  });
}

function waitUntil(at: number): void {
  const soonest = waits.at(-1);
  if (soonest !== undefined && soonest <= at) return;
  waits.push(at);
  const { value } = waitAsync(cell, 0, 0, Math.max(at - now(), SOON_MS));
  void (value as Promise<unknown>).then(() => {
    waits.splice(waits.indexOf(at), 1);
    fireDue();
  });
}

function fireDue(): void {
  const time = now();
  const due = [...timers].filter(({ at }) => at <= time).sort((a, b) => a.at - b.at);
  try {
    for (const timer of due) timer.fire();
  } finally {
    let next = Infinity;
    for (const { at } of timers) next = Math.min(next, at);
    if (next !== Infinity) waitUntil(next);
  }
}

function nothing(): void {}
