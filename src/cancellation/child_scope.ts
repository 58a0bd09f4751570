// The cancellation scope of a stream: cancelled with the caller's scope, or by the stream itself.

import { onCancel, type Registration } from "./registry.ts";
import { type CancelReason, CancelScope } from "./scope.ts";

/** A scope that is cancelled with its parent, or by its owner. */
export class ChildScope extends CancelScope {
  readonly #own: AbortController;
  readonly #parent: Registration | undefined;

  /**
   * Calls `told` when the parent is cancelled, before this scope is. If the parent is cancelled already, this scope
   * starts cancelled.
   */
  constructor(parent: CancelScope | undefined, told: (reason: CancelReason) => void) {
    const own = new AbortController();
    super(own.signal);
    this.#own = own;
    if (parent === undefined) return;
    const { reason } = parent;
    if (reason !== undefined) {
      own.abort(reason.cause);
      return;
    }
    this.#parent = onCancel(parent, (reason) => {
      told(reason);
      this.cancel(reason.cause);
    });
  }

  /** Cancels what is in flight. */
  cancel(cause: unknown): void {
    this.release();
    this.#own.abort(cause);
  }

  /** Detaches from the parent, at the end of the stream. */
  release(): void {
    this.#parent?.end();
  }
}
