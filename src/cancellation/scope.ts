// Cancellation scopes: what can cancel an operation, or every part of a longer one. Callbacks are kept in
// registry.ts.

import { IoError, type IoErrorInit } from "../errors/io_error.ts";
import { now } from "../native/clock.ts";

/** Why a scope was cancelled. */
export interface CancelReason {
  readonly code: "ABORT_ERR" | "ERR_TIMEOUT";
  /** The reason the signal was aborted with. */
  readonly cause?: unknown;
}

export const TIMED_OUT: CancelReason = { code: "ERR_TIMEOUT" };

export function abortedBy(signal: AbortSignal): CancelReason {
  return { code: "ABORT_ERR", cause: signal.reason };
}

/**
 * What can cancel an operation. Where the parts of a longer operation are calls of public methods, the scope is
 * passed as their options: it has the `signal` they read.
 */
export class CancelScope {
  readonly signal: AbortSignal | undefined;
  // Private, so that a spread copy of the scope still works as options.
  readonly #deadline: number;

  constructor(signal: AbortSignal | undefined, deadline: number = Infinity) {
    this.signal = signal;
    this.#deadline = deadline;
  }

  /** When it times out on the clock of clock.ts, in milliseconds; Infinity for never. */
  get deadline(): number {
    return this.#deadline;
  }

  /** Why it is cancelled; undefined if it is not. */
  get reason(): CancelReason | undefined {
    if (this.signal?.aborted === true) return abortedBy(this.signal);
    return this.#deadline !== Infinity && this.#deadline <= now() ? TIMED_OUT : undefined;
  }

  /** Throws the error of a cancelled operation: what is cancelled before it starts does no I/O. */
  throwIfCancelled(init: IoErrorInit): void {
    const { reason } = this;
    if (reason !== undefined) throw cancelError(reason, init);
  }
}

/** The scope of one operation, from its options; undefined if nothing can cancel it. */
export function cancelScope(options: {
  signal?: AbortSignal | undefined;
  timeout?: number | undefined;
}): CancelScope | undefined {
  const { signal, timeout } = options;
  if (timeout !== undefined) return new CancelScope(signal, now() + timeout);
  return signal === undefined ? undefined : new CancelScope(signal);
}

export function cancelError(reason: CancelReason, init: IoErrorInit): IoError {
  const { code } = reason;
  if (code === "ERR_TIMEOUT") {
    return new IoError(code, { ...init, reason: "the operation timed out" });
  }
  return new IoError(code, {
    ...init,
    reason: "the operation was aborted",
    cause: reason.cause,
  });
}
