// The event loop's functions, and those of signals, as they were when the library was loaded. A test may put a clock of
// its own in their place, or a signal have methods that throw: operations under way must not hang on that. The
// caller's `timeout` goes by whatever clock there is (control.ts).

export const setImmediate: typeof globalThis.setImmediate = globalThis.setImmediate;
export const setTimeout: typeof globalThis.setTimeout = globalThis.setTimeout;
export const clearTimeout: typeof globalThis.clearTimeout = globalThis.clearTimeout;

const { addEventListener, removeEventListener } = EventTarget.prototype;

/** Calls `listener` once, when the signal is aborted; until `unlisten`. */
export function listen(signal: AbortSignal | undefined, listener: () => void): void {
  if (signal === undefined) return;
  try {
    signal.addEventListener("abort", listener, { once: true });
  } catch {
    addEventListener.call(signal, "abort", listener, { once: true });
  }
}

export function unlisten(signal: AbortSignal | undefined, listener: () => void): void {
  if (signal === undefined) return;
  try {
    signal.removeEventListener("abort", listener);
  } catch {
    removeEventListener.call(signal, "abort", listener);
  }
}
