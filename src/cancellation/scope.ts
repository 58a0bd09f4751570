// Cancellation scopes: what can cancel an operation, or every part of a longer one. Callbacks are kept in
// registry.ts.

import { IoError, type IoErrorInit } from "../errors/io_error.ts";
import { now } from "../native/clock.ts";

/** Why something was cancelled. */
export interface CancelReason {
  readonly code: "ABORT_ERR" | "ERR_TIMEOUT";
  /** What the signal was aborted with. */
  readonly cause?: unknown;
}

export const TIMED_OUT: CancelReason = { code: "ERR_TIMEOUT" };

export function abortedBy(signal: AbortSignal): CancelReason {
  return { code: "ABORT_ERR", cause: signal.reason };
}

/**
 * What may cancel an operation. Where the parts of a longer one are calls of public methods, it is handed down in the
 * place of their options: it has the `signal` that they ask for.
 */
export class CancelScope {
  readonly signal: AbortSignal | undefined;
  // Private, so that a copy of all properties still is good as options.
  readonly #deadline: number;

  constructor(signal: AbortSignal | undefined, deadline: number = Infinity) {
    this.signal = signal;
    this.#deadline = deadline;
  }

  /** When it times out, by the library's clock (clock.ts), or Infinity. */
  get deadline(): number {
    return this.#deadline;
  }

  /** Why it is cancelled, if it is. */
  get reason(): CancelReason | undefined {
    if (this.signal?.aborted === true) return abortedBy(this.signal);
    return this.#deadline !== Infinity && this.#deadline <= now() ? TIMED_OUT : undefined;
  }

  /** What is cancelled already does no I/O. */
  throwIfCancelled(init: IoErrorInit): void {
    const { reason } = this;
    if (reason !== undefined) throw cancelError(reason, init);
  }
}

/** Of one operation, by its options; undefined if nothing can cancel it. */
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
