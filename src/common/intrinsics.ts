// The event loop's next turn, and the methods of signals, as they were when the library was loaded. A test may put
// something of its own in their place, or a signal have methods that throw: operations under way must not hang on
// that. Time is in clock.ts.

export const setImmediate: typeof globalThis.setImmediate = globalThis.setImmediate;

const { addEventListener, removeEventListener } = EventTarget.prototype;

/** Calls `listener` once, when the signal is aborted; until `unlisten`. */
export function listen(signal: AbortSignal, listener: () => void): void {
  try {
    signal.addEventListener("abort", listener, { once: true });
  } catch {
    addEventListener.call(signal, "abort", listener, { once: true });
  }
}

/** In a moment: completions may be being read, and a signal's method is its owner's code. */
export function unlisten(signal: AbortSignal, listener: () => void): void {
  queueMicrotask(() => {
    try {
      signal.removeEventListener("abort", listener);
    } catch {
      removeEventListener.call(signal, "abort", listener);
    }
  });
}
