// Which sync of a file must report which failed write.

import type { CancelScope } from "../cancellation/scope.ts";
import { type IoError, wasAsked } from "../errors/io_error.ts";

/**
 * Writes that were aborted, timed out or never began: the first of each copy or stream, by the scope of all that
 * it does, and under `undefined` the first of everything else.
 */
type Untold = Map<CancelScope | undefined, IoError>;

/** A write that has failed. */
export interface FailedWrite {
  /** Position of its call. */
  readonly order: number;
  readonly error: IoError;
  /** Whether anything of it may have been written. */
  readonly hadBegun: boolean;
  /** What it was cancelled by, or could have been. */
  readonly scope: CancelScope | undefined;
}

/** A sync that has been called and not settled. */
export interface PendingSync {
  readonly order: number;
  /** The first write among those it covers that failed on its way: the medium lacks data. */
  failure: IoError | undefined;
  readonly untold: Untold;
}

export class WriteReports {
  /** Why no sync can succeed any more: the medium lacks data that was written. */
  lasting: IoError | undefined;
  #untold: Untold = new Map();
  readonly #pending: Set<PendingSync> = new Set();
  /** Of copies and streams: the position of the first call that is made when their callers know. */
  readonly #tellers: WeakMap<CancelScope, number> = new WeakMap();

  /** A copy or stream begins, which tells its own caller of the writes in `scope` that come to nothing. */
  beginTeller(scope: CancelScope): void {
    this.#tellers.set(scope, Infinity);
  }

  /** It has told of them, those included that have not settled yet: no sync called behind `order` does. */
  endTeller(scope: CancelScope, order: number): void {
    this.#tellers.set(scope, order);
    this.#untold.delete(scope);
  }

  /** A sync is called, and takes over what nobody has been told of. */
  beginSync(order: number): PendingSync {
    const sync = { order, failure: undefined, untold: this.#untold };
    this.#untold = new Map();
    this.#pending.add(sync);
    return sync;
  }

  endSync(sync: PendingSync): void {
    this.#pending.delete(sync);
  }

  /** The sync tells of something else: the next one has to tell of this, where that is still news. */
  handOn(sync: PendingSync): void {
    for (const [scope, error] of sync.untold) this.#keep(scope, error);
  }

  /**
   * A sync that covers the write has to tell. If it had begun, every later one, too: nobody knows what the medium
   * lacks. One that was aborted, or never began, is told of once.
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

  /** `teller`: of a copy or stream. */
  #keep(teller: CancelScope | undefined, error: IoError): void {
    const isTold = teller !== undefined && this.#tellers.get(teller) !== Infinity;
    if (!isTold) keepFirst(this.#untold, teller, error);
  }
}

function keepFirst(untold: Untold, teller: CancelScope | undefined, error: IoError): void {
  if (!untold.has(teller)) untold.set(teller, error);
}
