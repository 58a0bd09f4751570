// The JavaScript half of a ring. Operations wait here without limit. Once per event-loop turn they are handed to
// the native side, as far as it has room; they are settled from the completion table.
//
// The path of a read: `startTransfer` takes a slot and schedules one flush. `#flush` writes rows of the submission
// table (`#handOver`), calls `ba_flush`, and settles operations done at once. The rest completes by a poll in one
// of the next turns (`#poll`), or when the wake descriptor rings (`#drain`).
//
// Hot path: no closures, no spread, no BigInt, and no object for each operation except its promise
// (bench/rows/cached_random.ts).

import type { CancelScope } from "../cancellation/scope.ts";
import { setImmediate } from "../common/intrinsics.ts";
import { addSource } from "../common/leaks.ts";
import { syscallName } from "../errors/hints.ts";
import { closedError, lostError, type Refused, ringClosedError } from "../errors/status.ts";
import type { EachWrite } from "../locks/write_lock.ts";
import { BounceBuffers } from "../memory/bounce_buffers.ts";
import { NO_BLOCK } from "../memory/buddy_allocator.ts";
import { RegisteredBuffers } from "../memory/registered_buffers.ts";
import type { Slab } from "../memory/slab.ts";
import * as abi from "../native/abi.gen.ts";
import { library } from "../native/library.ts";
import type { FileState } from "./file_state.ts";
import { FileTable } from "./file_table.ts";
import { type DeviceParameters, openRing } from "./open_ring.ts";
import { type Host, Operations } from "./operations.ts";
import { Polling } from "./polling.ts";
import { type Receiver, TAKEN } from "./receiver.ts";
import { type Outcome, type Request, refusedOutcome } from "./request.ts";
import { RetryTimer } from "./retry_timer.ts";
import { NO_SLOT, Reply, SlotState } from "./slots.ts";
import { Tables } from "./tables.ts";
import { Turn } from "./turn.ts";
import { Wake } from "./wake.ts";

/** After this many turns of one operation each, the next reads are made at once. */
const LONE_TURNS_MIN = 32;
/** Limit of such a read in bytes. */
const AT_ONCE_BYTES_MAX = 65_536;

export interface ProactorOptions {
  readonly backend: number;
  readonly queueDepth: number;
  /** How long to poll for completions before sleeping, in microseconds; default 0. */
  readonly pollMicroseconds?: number | undefined;
  /** The device of a simulated ring. */
  readonly device?: DeviceParameters | undefined;
}

export class Proactor implements Host {
  readonly backend: number;
  readonly queueDepth: number;
  /** Kernel features in use (io_uring setup flags). */
  readonly features: number;
  /** The backend that was refused before `backend` was chosen. */
  readonly refused: Refused | undefined;

  readonly #native: ReturnType<typeof library>;
  readonly #ring: number;
  readonly #operationsMax: number;
  readonly #tables: Tables;

  readonly #operations: Operations;
  readonly #registered: RegisteredBuffers;
  /** Bounce blocks for foreign views. */
  readonly bounce: BounceBuffers;
  readonly #wake: Wake;
  readonly #polling: Polling;
  #pollScheduled = false;
  /** Operations of several parts that may be between two parts. */
  #longOperations = 0;

  /** Slots that wait for room on the native side, oldest first. */
  #head: number = NO_SLOT;
  #tail: number = NO_SLOT;
  /** Operations that the native side holds. */
  #held = 0;
  #flushScheduled = false;
  /** Whether there are calls for reads at once here. */
  readonly #mayReadAtOnce: boolean;
  /** Flushes in a row that had one operation, which ended at once. */
  #loneTurns = 0;
  /** Whether a read was made at once in this turn. */
  #readsThisTurn = false;
  #drainScheduled = false;
  readonly #turn: Turn;
  /** Calls the native side again when it asks for it, because the wake descriptor may not ring. */
  readonly #retry: RetryTimer = new RetryTimer(() => this.#drainInNewTurn());
  #closed: Promise<void> | undefined;
  #freed = false;
  #onIdle: (() => void) | undefined;
  readonly #forget: () => void;
  /** Indexes into the native table of files. */
  readonly fileTable: FileTable = new FileTable();

  constructor(options: ProactorOptions) {
    this.#native = library();
    const opened = openRing(options.backend, options.queueDepth, options.device);
    this.refused = opened.refused;
    this.backend = opened.backend;
    this.queueDepth = opened.queueDepth;
    this.features = opened.features;
    this.#mayReadAtOnce = opened.backend !== abi.Backend.simulated;
    this.#turn = new Turn(opened.backend === abi.Backend.simulated);
    this.#ring = opened.ring;
    this.#registered = new RegisteredBuffers(opened.ring, opened.memory, opened.backend);
    this.bounce = new BounceBuffers(opened.memory, opened.bounceOffset, opened.bounceAddress);
    this.#operations = new Operations(this, this.bounce, this.#registered);
    this.#operationsMax = opened.operationsMax;
    this.#tables = new Tables(opened);
    this.#wake = new Wake(opened.wakeFd, this.#rang);
    this.#polling = new Polling(options.pollMicroseconds ?? 0);
    this.#forget = addSource(this.#operations);
  }

  // Starting operations ---------------------------------------------------------------------------

  /**
   * Starts a read or write of one buffer: memory of a slab, or a foreign view of at most BOUNCE_BLOCK_BYTES_MAX
   * bytes (`slab` undefined). The arguments must have been checked. Returns `TAKEN` if there is a receiver.
   */
  startTransfer(
    file: FileState,
    kind: number,
    view: ArrayBufferView,
    slab: Slab | undefined,
    slabOffset: number,
    length: number,
    offset: number | bigint,
    reply: number,
    scope: CancelScope | undefined,
    receiver: Receiver | undefined,
  ): Promise<never> {
    if (
      this.#loneTurns >= LONE_TURNS_MIN &&
      scope === undefined &&
      kind === abi.Kind.read &&
      length <= AT_ONCE_BYTES_MAX &&
      typeof offset === "number"
    ) {
      const memory = slab === undefined ? view : slab.address + slabOffset;
      if (this.#readAtOnce(file, memory, length, offset)) {
        const result = reply === Reply.bytes ? length : undefined;
        if (receiver === undefined) return Promise.resolve(result) as Promise<never>;
        receiver.resolve(result);
        return TAKEN;
      }
    }
    const operations = this.#operations;
    const slot = operations.addTransfer(file, kind, view, slab, slabOffset, length, offset, reply);
    return this.#enqueue(slot, scope, receiver);
  }

  /** Starts a request of the library. The promise never rejects. */
  start(request: Request): Promise<Outcome> {
    const refusal = this.#overFor(request);
    if (refusal !== undefined) return Promise.resolve(refusal);
    return this.#enqueue(this.#operations.addRequest(request), request.scope);
  }

  /**
   * The outcome of a part that comes too late: its ring is closed or lost, or its descriptor is closed and the
   * number may belong to another file.
   */
  #overFor(request: Request): Outcome | undefined {
    const { kind, file } = request;
    const closed = file?.closed === true && kind !== abi.Kind.close;
    const { lostErrno } = this;
    if (!this.#freed && lostErrno === 0 && !closed) return undefined;
    const where = { syscall: syscallName(kind), path: file?.path };
    if (closed) return refusedOutcome(NO_BLOCK, closedError(where));
    if (lostErrno !== 0) return refusedOutcome(NO_BLOCK, lostError(lostErrno, where));
    return refusedOutcome(NO_BLOCK, ringClosedError(0, where));
  }

  /**
   * Reads from the page cache without slot, row and flush, as the first operation of a turn. Returns whether all
   * bytes are there; if not, the read must be enqueued.
   */
  #readAtOnce(
    file: FileState,
    memory: ArrayBufferView | number,
    length: number,
    offset: number,
  ): boolean {
    if (this.#readsThisTurn || !this.canReadAtOnce(file) || this.isTurnOver()) return false;
    if (!this.readAtOnce(file, memory, length, offset)) return false;
    this.#readsThisTurn = true;
    queueMicrotask(this.#endTurn);
    return true;
  }

  /** Whether `readAtOnce` may be tried: no operation waits or runs. */
  canReadAtOnce(file: FileState): boolean {
    if (file.flags !== abi.SubmissionFlag.cached || !this.#mayReadAtOnce) return false;
    return this.#held === 0 && this.#head === NO_SLOT;
  }

  /**
   * Reads from the page cache, into memory of any kind, without slot, row and flush. False: the read must be
   * submitted. The caller has asked `canReadAtOnce` and `isTurnOver`.
   */
  readAtOnce(
    file: FileState,
    memory: ArrayBufferView | number,
    length: number,
    offset: number,
  ): boolean {
    const ring = this.#ring as never;
    const { index, fd } = file;
    const bytes = this.#native.ba_read_at_once(ring, index, fd, memory as never, length, offset);
    if (bytes !== length) return false;
    this.#turn.use(this.#now());
    return true;
  }

  /** Whether the event loop must get a turn before more is done at once. */
  isTurnOver(): boolean {
    return this.#turn.isOver(this.#now());
  }

  /** Resolves in the next turn of the event loop. */
  nextTurn(): Promise<void> {
    return this.#turn.next();
  }

  readonly #endTurn = (): void => {
    this.#readsThisTurn = false;
    // Others were called in the same turn: together they take one flush.
    if (this.#head !== NO_SLOT) this.#loneTurns = 0;
  };

  #enqueue(slot: number, scope: CancelScope | undefined, receiver?: Receiver): Promise<never> {
    const { slots } = this.#operations;
    const promise = this.#operations.promise(slot, receiver);
    if (this.#head === NO_SLOT) {
      this.#head = slot;
      this.#tail = slot;
    } else {
      slots.next[this.#tail] = slot;
      this.#tail = slot;
    }
    if (scope !== undefined) this.#operations.govern(slot, scope);
    this.#schedule();
    return promise;
  }

  // Flushing --------------------------------------------------------------------------------------

  #schedule(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    if (this.isTurnOver()) setImmediate(this.#flushInNewTurn);
    else queueMicrotask(this.#flush);
  }

  readonly #flushInNewTurn = (): void => {
    this.#turn.renew();
    this.#flush();
  };

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    if (this.#freed) return;
    const count = this.#handOver();
    this.#held += count;
    const willPoll = this.#polling.begin(this.#now(), count, this.#held, false);
    const settled = this.#native.ba_flush(this.#ring as never, count, willPoll ? 1 : 0);
    if (settled > 0) this.#turn.use(this.#now());
    this.#polling.end(this.#now(), count, settled, false);
    this.#finishCall(settled, willPoll);
    if (count !== 1 || settled !== 1) this.#loneTurns = 0;
    else if (this.#mayReadAtOnce) this.#loneTurns++;
  };

  /**
   * The wake descriptor rang. An event loop that reads it until it is empty reports ring after ring in one turn, and
   * a fast kernel always has the next one.
   */
  readonly #rang = (): void => {
    // What is scheduled reaps, too.
    if (this.#flushScheduled || this.#drainScheduled) return;
    if (!this.isTurnOver()) {
      this.#drain();
      return;
    }
    this.#drainScheduled = true;
    setImmediate(this.#drainInNewTurn);
  };

  readonly #drainInNewTurn = (): void => {
    this.#drainScheduled = false;
    this.#turn.renew();
    this.#drain();
  };

  #drain(): void {
    if (!this.#freed) this.#fetch(true);
  }

  /** The poll that was announced to the native side, in a turn of its own. */
  readonly #poll = (): void => {
    this.#pollScheduled = false;
    this.#turn.renew();
    if (!this.#freed && this.#held > 0) this.#fetch(false);
  };

  /** `rang`: the wake descriptor did; else a poll was announced. */
  #fetch(rang: boolean): void {
    if (this.#head !== NO_SLOT) {
      this.#flush();
      return;
    }
    const ring = this.#ring as never;
    const willPoll = this.#polling.begin(this.#now(), 0, this.#held, rang);
    const next = willPoll ? 1 : 0;
    const settled = rang ? this.#native.ba_drain(ring, next) : this.#native.ba_poll(ring, next);
    if (rang) this.#turn.use(this.#now());
    this.#polling.end(this.#now(), 0, settled, rang);
    this.#finishCall(settled, willPoll);
  }

  /**
   * A call has used up its share of bytes: a turn has one such call. What an I/O callback schedules still runs in its
   * own turn.
   */
  #flushInTurnAfter(): void {
    this.#flushScheduled = true;
    setImmediate(this.#flushAfterTurn);
  }

  readonly #flushAfterTurn = (): void => {
    setImmediate(this.#flushInNewTurn);
  };

  /** Time of the last native call in ms; reads no clock. */
  #now(): number {
    return this.#tables.nowMs;
  }

  /** `willPoll`: a poll follows, so the native side does not ring until then. */
  #finishCall(settled: number, willPoll: boolean): void {
    if (settled < 0) throw new Error("bun-aio: internal error: the native side refused a call");
    this.#settle(settled);
    if (this.#held > 0) {
      if (!willPoll) this.#wake.watch();
      else if (!this.#pollScheduled) {
        this.#pollScheduled = true;
        setImmediate(this.#poll);
      }
      const retryMs = this.#tables.retryMs;
      // The timer does not keep the process alive: while operations are in flight, the wake descriptor does.
      if (retryMs > 0) this.#retry.in(retryMs, this.#now());
    } else {
      this.#wake.rest();
    }
    if (this.#tables.hasMore && !this.#flushScheduled) {
      this.#flushInTurnAfter();
    } else if (this.#head !== NO_SLOT && this.#held < this.#operationsMax && settled > 0) {
      this.#schedule();
    }
    if (this.lostErrno !== 0) void this.close();
    this.#noteIdle();
  }

  /** Keeps the file and the ring from closing while `run` is between two native operations. */
  async holding<T>(file: FileState, run: () => Promise<T>): Promise<T> {
    this.hold(file);
    try {
      return await run();
    } finally {
      this.letGo(file);
    }
  }

  /** Like `holding`, for callers that have a `try` of their own: `letGo` must follow. */
  hold(file: FileState): void {
    file.inFlight++;
    this.#longOperations++;
  }

  letGo(file: FileState): void {
    this.#longOperations--;
    this.#noteIdle();
    if (--file.inFlight === 0) file.onIdle?.();
  }

  /** Resolves `close` when nothing is in flight any more. */
  #noteIdle(): void {
    if (this.#onIdle !== undefined && this.inFlight === 0 && this.#longOperations === 0)
      this.#onIdle();
  }

  /**
   * The errno with which the kernel refuses this ring for good; 0 unless the ring is lost. A lost ring closes
   * itself: waiting and later operations are refused, and the kernel keeps its memory.
   */
  get lostErrno(): number {
    return this.#tables.lostErrno;
  }

  /** Writes rows for waiting operations, as far as there is room. Returns how many. */
  #handOver(): number {
    if (this.lostErrno !== 0) this.#refuseWaiting();
    const operations = this.#operations;
    const { slots } = operations;
    let count = 0;
    let slot = this.#head;
    while (slot !== NO_SLOT && this.#held + count < this.#operationsMax) {
      const dead = slots.state[slot] === SlotState.dead;
      const address = dead ? -1 : operations.prepareMemory(slot);
      // No bounce memory at the moment: operations in flight hold it.
      if (address < 0 && slots.state[slot] === SlotState.waiting) break;
      const next = slots.next[slot] as number;
      if (address < 0) {
        operations.giveDead(slot);
      } else {
        this.#writeRow(count, slot, address);
        slots.state[slot] = SlotState.native;
        slots.next[slot] = NO_SLOT;
        count++;
      }
      slot = next;
    }
    this.#head = slot;
    if (slot === NO_SLOT) this.#tail = NO_SLOT;
    return count;
  }

  #refuseWaiting(): void {
    const operations = this.#operations;
    const { slots } = operations;
    while (this.#head !== NO_SLOT) {
      const slot = this.#head;
      this.#head = slots.next[slot] as number;
      if (slots.state[slot] === SlotState.waiting) {
        operations.refuse(slot, operations.cancelError(slot, 0));
      }
      operations.giveDead(slot);
    }
  }

  #writeRow(row: number, slot: number, address: number): void {
    const { slots } = this.#operations;
    const tables = this.#tables;
    tables.setOperation(row, slots, slot, address);
    const file = slots.owner[slot];
    if (slots.reply[slot] !== Reply.outcome) {
      const { flags, index, fd } = file as FileState;
      tables.setTarget(row, flags, index, fd, 0, 0);
      return;
    }
    const request = slots.memory[slot] as Request;
    const index = file === undefined || file.index < 0 ? abi.FILE_NONE : file.index;
    const { fd, argument = 0, mode = 0 } = request;
    tables.setTarget(row, file?.flags ?? 0, index, fd, argument, mode);
  }

  // Settling --------------------------------------------------------------------------------------

  #settle(count: number): void {
    const operations = this.#operations;
    const tables = this.#tables;
    for (let row = 0; row < count; row++) {
      const slot = tables.slot(row);
      if (!operations.slots.isCurrent(slot, tables.generation(row))) {
        throw new Error("bun-aio: internal error: a completion for no operation");
      }
      this.#held--;
      const transferred = tables.transferred(row);
      operations.settle(
        slot,
        tables.status(row),
        tables.errno(row),
        transferred,
        tables.detail(row),
      );
    }
  }

  // Cancelling ------------------------------------------------------------------------------------

  /** Called when the scope of the slot is cancelled. */
  cancel(slot: number): void {
    const operations = this.#operations;
    const { slots } = operations;
    const state = slots.state[slot];
    if (state === SlotState.waiting) {
      operations.refuse(slot, operations.cancelError(slot, 0));
    } else if (state === SlotState.native) {
      this.#native.ba_cancel(this.#ring as never, slot, slots.generation[slot] as number);
      this.#schedule();
    }
  }

  // Files, statistics, closing ----------------------------------------------------------------------

  /** Releases a block that a request of the library has used. */
  releaseBlock(block: number): void {
    if (block === NO_BLOCK) return;
    this.bounce.release(block);
    // An operation may wait for it with nothing in flight that would cause a drain.
    if (this.#head !== NO_SLOT) this.#schedule();
  }

  /**
   * Opens the current directory, to resolve paths against. The native side closes it at teardown: nothing else does
   * when a thread is terminated. Returns the descriptor, or a negative errno.
   */
  openDirectory(index: number): number {
    return this.#native.ba_directory_open(this.#ring as never, index);
  }

  /** Closes what `openDirectory` has opened. */
  closeDirectory(index: number): void {
    this.#native.ba_directory_close(this.#ring as never, index);
  }

  /** The native side must not close the descriptor of this file at teardown. */
  forgetFile(index: number): void {
    this.#native.ba_file_forget(this.#ring as never, index);
  }

  /** Changed ranges of an overlay device that end after `from`, as pairs of offset and length. */
  deviceChanges(from: number, out: Float64Array<ArrayBuffer>): number {
    if (this.#freed) return 0;
    return this.#native.ba_device_changes(this.#ring as never, from, out, out.length / 2);
  }

  /** Ends the hangs of the first `added` rules at this place of a simulated device. */
  deviceLift(place: number, added: number): void {
    if (this.#freed) return;
    this.#native.ba_device_lift(this.#ring as never, place, added);
  }

  /** Calls `found` for each write of the file that does not take part in its lock. */
  eachFastWrite(file: FileState, found: Parameters<EachWrite>[0]): void {
    this.#operations.eachFastWrite(file, found);
  }

  /** Operations that have not settled. */
  get inFlight(): number {
    return this.#operations.inFlight;
  }

  /** The control block, for statistics. */
  get controlMemory(): DataView {
    return this.#tables.control;
  }

  get closing(): boolean {
    return this.#closed !== undefined;
  }

  /** Refuses new operations, waits for those in flight, and frees the native side. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    while (this.inFlight > 0 || this.#longOperations > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
      // A settled operation may be a part of a longer one, whose next part starts in this turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#onIdle = undefined;
    this.#freed = true;
    this.#registered.over = true;
    this.#forget();
    this.#retry.cancel();
    await this.#wake.close();
    this.#native.ba_ring_close(this.#ring as never);
  }
}
