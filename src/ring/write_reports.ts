// Which sync of a file must report which failed write.

import type { CancelScope } from "../cancellation/scope.ts";
import { type IoError, wasAsked } from "../errors/io_error.ts";

/**
 * Unreported writes that were aborted, timed out or never began: the first of each copy or stream, by its scope,
 * and the first of everything else, under `undefined`.
 */
type Untold = Map<CancelScope | undefined, IoError>;

/** A write that has failed. */
export interface FailedWrite {
  /** Sequence number of the call. */
  readonly order: number;
  readonly error: IoError;
  /** Whether some of it may have been written. */
  readonly hadBegun: boolean;
  /** The scope that cancelled it, or could have. */
  readonly scope: CancelScope | undefined;
}

/** A sync that has been called and not settled. */
export interface PendingSync {
  readonly order: number;
  /** The first failed write that it covers: the medium lacks its data. */
  failure: IoError | undefined;
  readonly untold: Untold;
}

export class WriteReports {
  /** Why no later sync can succeed: the medium lacks data. */
  lasting: IoError | undefined;
  #untold: Untold = new Map();
  readonly #pending: Set<PendingSync> = new Set();
  /** Copies and streams report failed writes to their own callers: the sequence number from which those know. */
  readonly #tellers: WeakMap<CancelScope, number> = new WeakMap();

  /** A copy or stream begins: it reports failed writes of `scope` to its own caller. */
  beginTeller(scope: CancelScope): void {
    this.#tellers.set(scope, Infinity);
  }

  /** It has reported all of them, including those not settled yet: syncs called after `order` do not report them. */
  endTeller(scope: CancelScope, order: number): void {
    this.#tellers.set(scope, order);
    this.#untold.delete(scope);
  }

  /** A sync is called; it takes over what is unreported. */
  beginSync(order: number): PendingSync {
    const sync = { order, failure: undefined, untold: this.#untold };
    this.#untold = new Map();
    this.#pending.add(sync);
    return sync;
  }

  endSync(sync: PendingSync): void {
    this.#pending.delete(sync);
  }

  /** The sync reports something else: leaves the rest to the next sync, unless it has been reported meanwhile. */
  handOn(sync: PendingSync): void {
    for (const [scope, error] of sync.untold) this.#keep(scope, error);
  }

  /**
   * A sync that covers the write must report it. If the write had begun, every later sync must, because it is
   * unknown what the medium lacks. A write that was aborted or never began is reported once.
   */
  writeFailed({ order, error, hadBegun, scope }: FailedWrite): void {
    const isLasting = hadBegun && !wasAsked(error);
    if (isLasting) this.lasting ??= error;
    const toldAt = scope === undefined ? undefined : this.#tellers.get(scope);
    const teller = toldAt === undefined ? undefined : scope;
    let isTaken = false;
    for (const sync of this.#pending) {
      if (sync.order <= order) continue;
      if (isLasting) {
        sync.failure ??= error;
      } else if (sync.order <= (toldAt ?? Infinity)) {
        keepFirst(sync.untold, teller, error);
        isTaken = true;
      }
    }
    if (!isLasting && !isTaken) this.#keep(teller, error);
  }

  /** `teller`: the scope of a copy or stream. */
  #keep(teller: CancelScope | undefined, error: IoError): void {
    const isTold = teller !== undefined && this.#tellers.get(teller) !== Infinity;
    if (!isTold) keepFirst(this.#untold, teller, error);
  }
}

function keepFirst(untold: Untold, teller: CancelScope | undefined, error: IoError): void {
  if (!untold.has(teller)) untold.set(teller, error);
}
