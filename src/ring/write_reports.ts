// Which sync of a file has to tell of which write that failed. One for each `FileState`; told by proactor.ts, file.ts
// and block_device.ts, asked by the syncs of file.ts.

import { type IoError, wasAsked } from "../errors/io_error.ts";

/**
 * Writes that were aborted, timed out or never began: the first of each copy or stream, by the signal of all that
 * it does, and under `undefined` the first of everything else.
 */
type Untold = Map<AbortSignal | undefined, IoError>;

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
  readonly #tellers: WeakMap<AbortSignal, number> = new WeakMap();

  /** A copy or stream begins, which tells its own caller of the writes under `signal` that come to nothing. */
  beginTeller(signal: AbortSignal): void {
    this.#tellers.set(signal, Infinity);
  }

  /** It has told of them, those included that have not settled yet: no sync called behind `order` does. */
  endTeller(signal: AbortSignal, order: number): void {
    this.#tellers.set(signal, order);
    this.#untold.delete(signal);
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
    for (const [signal, error] of sync.untold) this.#keep(signal, error);
  }

  /**
   * The write called at `order` has failed: a sync that covers it has to tell. If it had begun, every later one,
   * too: nobody knows what the medium lacks. One that was aborted, or never began, is told of once.
   */
  writeFailed(
    order: number,
    error: IoError,
    hadBegun: boolean,
    signal: AbortSignal | undefined,
  ): void {
    const isLasting = hadBegun && !wasAsked(error);
    if (isLasting) this.lasting ??= error;
    const toldAt = signal === undefined ? undefined : this.#tellers.get(signal);
    const teller = toldAt === undefined ? undefined : signal;
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

  /** `signal`: of a copy or stream. */
  #keep(signal: AbortSignal | undefined, error: IoError): void {
    const isTold = signal !== undefined && this.#tellers.get(signal) !== Infinity;
    if (!isTold) keepFirst(this.#untold, signal, error);
  }
}

function keepFirst(untold: Untold, signal: AbortSignal | undefined, error: IoError): void {
  if (!untold.has(signal)) untold.set(signal, error);
}
