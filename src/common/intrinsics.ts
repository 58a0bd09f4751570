// setImmediate and the listener methods of AbortSignal, captured when the library is loaded: a test may replace the
// globals, and a signal may have methods that throw, but operations in flight must not hang. Time is in clock.ts.

export const setImmediate: typeof globalThis.setImmediate = globalThis.setImmediate;

const { addEventListener, removeEventListener } = EventTarget.prototype;

/** Calls `listener` once when the signal is aborted, until `unlisten`. */
export function listen(signal: AbortSignal, listener: () => void): void {
  try {
    signal.addEventListener("abort", listener, { once: true });
  } catch {
    addEventListener.call(signal, "abort", listener, { once: true });
  }
}

/** Deferred: completions may be being read, and the method of a signal may be the caller's code. */
export function unlisten(signal: AbortSignal, listener: () => void): void {
  queueMicrotask(() => {
    try {
      signal.removeEventListener("abort", listener);
    } catch {
      removeEventListener.call(signal, "abort", listener);
    }
  });
}
