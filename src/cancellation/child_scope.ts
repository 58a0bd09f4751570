// The cancellation scope of a stream: cancelled with the caller's scope, or by the stream itself.

import { onCancel, type Registration } from "./registry.ts";
import { type CancelReason, CancelScope } from "./scope.ts";

/** Cancelled with its parent, or by whom it belongs to. */
export class ChildScope extends CancelScope {
  readonly #own: AbortController;
  readonly #parent: Registration | undefined;

  /**
   * `told`: the parent is cancelled, and this, with all that it governs, will be next. If it is cancelled already, so
   * is this from the beginning.
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

  /** Ends what is under way. */
  cancel(cause: unknown): void {
    this.release();
    this.#own.abort(cause);
  }

  /** It is over: the parent cancels nothing any more. */
  release(): void {
    this.#parent?.end();
  }
}
