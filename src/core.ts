// The JavaScript half of a ring: operations wait here without limit, go to the native side as far as
// it has room, once a turn of the event loop, and are settled from the completion table.
//
// The way of a read: `startTransfer` takes a slot and schedules one flush; `#flush` hands over
// (`#handOver` writes rows of the submission table), calls `ba_flush`, and settles what was done at
// once; the rest comes with a look in one of the next turns (`#poll`) or when the wake descriptor rings (`#drain`).
//
// Hot path: no closures, no spread, no BigInt and no object for each operation but the promise
// (bench/rows/cached_random.ts).

import { addOffset, hasLength } from "./arguments.ts";
import { NO_BLOCK } from "./bounce.ts";
import { BounceMemory } from "./bounce_memory.ts";
import { type Cause, Control, causeError, causeOf, type Governor } from "./control.ts";
import { errnoOf, IoError } from "./errors.ts";
import { setImmediate } from "./event_loop.ts";
import {
  closedError,
  detachedError,
  type ErrorContext,
  type Refused,
  statusError,
} from "./failures.ts";
import { FileIndexes } from "./file_indexes.ts";
import type { FileState } from "./file_state.ts";
import { endsTooEarly, isSuspect } from "./gone.ts";
import { syscallName } from "./hints.ts";
import { Later } from "./later.ts";
import * as abi from "./native/abi.gen.ts";
import { library } from "./native/library.ts";
import { type DeviceParameters, openRing } from "./native/open_ring.ts";
import { Tables } from "./native/tables.ts";
import { Pins } from "./pins.ts";
import { Polling } from "./polling.ts";
import { addSource, type OperationSource } from "./registry.ts";
import { deviceGone } from "./removal.ts";
import type { Outcome, Request, Requests } from "./request.ts";
import type { Slab } from "./slab.ts";
import { NO_SLOT, Reply, SlotState, Slots } from "./slots.ts";
import { Wake } from "./wake.ts";
import type { EachWrite } from "./write_lock.ts";

/** Completions that came inline for so long, without a turn of the event loop, call for one. */
const INLINE_MS_MAX = 1;
/** The same on a simulated ring: there no clock may decide which operations meet in one flush. */
const INLINE_FLUSHES_MAX = 256;

/** What a slot keeps alive: the caller's view, or one of our own requests. */
type SlotMemory = ArrayBufferView | ArrayBufferLike | Request | undefined;

let capturedResolve: (value: never) => void;
let capturedReject: (error: unknown) => void;
/** One executor for every promise: a closure each would cost as much as the submission. */
function capture(resolve: (value: never) => void, reject: (error: unknown) => void): void {
  capturedResolve = resolve;
  capturedReject = reject;
}

export interface CoreOptions {
  readonly backend: number;
  readonly queueDepth: number;
  /** How long a flush may block for the first completion; default 0. */
  readonly waitNs?: number | undefined;
  /** How long to look for completions before the ring sleeps; default 0. */
  readonly pollMicroseconds?: number | undefined;
  /** Of a simulated ring. */
  readonly device?: DeviceParameters | undefined;
}

export class Core implements OperationSource, Requests {
  readonly backend: number;
  readonly queueDepth: number;
  /** Kernel features in use (io_uring setup flags). */
  readonly features: number;
  /** What was tried before `backend`. */
  readonly refused: Refused | undefined;

  readonly #native: ReturnType<typeof library>;
  readonly #ring: number;
  readonly #operationsMax: number;
  readonly #tables: Tables;

  readonly #slots = new Slots<FileState | undefined, SlotMemory>(undefined, undefined);
  readonly #slabs: (Slab | undefined)[] = [];
  readonly #pins: Pins;
  /** Blocks that the kernel sees instead of foreign views. */
  readonly bounce: BounceMemory;
  readonly #control = new Control((slot, cause) => this.#cancel(slot, cause));
  readonly #governed = new Map<number, Cause | undefined>();
  readonly #wake: Wake;
  readonly #polling: Polling;
  #pollScheduled = false;
  /** Operations of several parts that may be between two of them. */
  #longOperations = 0;

  /** Slots that wait for room on the native side, oldest first. */
  #head: number = NO_SLOT;
  #tail: number = NO_SLOT;
  /** Operations the native side holds. */
  #held = 0;
  /** Slots of operations that were settled while they waited, not passed over by `#handOver` yet. */
  #dead = 0;
  #flushScheduled = false;
  /** Rows are being written or read: getters of a caller's own kind of view may call us meanwhile. */
  #busy = false;
  #inlineSince = 0;
  #inlineFlushes = 0;
  /** The native side asks to be called again, though nothing may ring. */
  readonly #retry: Later = new Later(() => this.#drain());
  #closed: Promise<void> | undefined;
  #gone = false;
  #onIdle: (() => void) | undefined;
  readonly #forget: () => void;
  /** Places in the native table of files. */
  readonly fileIndexes: FileIndexes = new FileIndexes();

  constructor(options: CoreOptions) {
    this.#native = library();
    const opened = openRing(
      options.backend,
      options.queueDepth,
      options.waitNs ?? 0,
      options.device,
    );
    this.refused = opened.refused;
    this.backend = opened.backend;
    this.queueDepth = opened.queueDepth;
    this.features = opened.features;
    this.#ring = opened.ring;
    this.#pins = new Pins(opened.ring, opened.memory, opened.backend);
    this.bounce = new BounceMemory(opened.memory, opened.bounceOffset, opened.bounceAddress);
    this.#operationsMax = opened.operationsMax;
    this.#tables = new Tables(opened);
    this.#wake = new Wake(opened.wakeFd, this.#drain);
    this.#polling = new Polling(options.pollMicroseconds ?? 0);
    this.#forget = addSource(this);
  }

  // Starting operations ---------------------------------------------------------------------------

  /**
   * A read or write of one buffer: pinned memory of a slab, or a foreign view of at most
   * BOUNCE_BLOCK_BYTES_MAX bytes (`slab` undefined). The arguments have been checked.
   */
  startTransfer(
    file: FileState,
    kind: number,
    view: ArrayBufferView | ArrayBufferLike,
    slab: Slab | undefined,
    slabOffset: number,
    length: number,
    offset: number | bigint,
    reply: number,
    governor: Governor | undefined,
  ): Promise<never> {
    const slots = this.#slots;
    const slot = slots.take();
    slots.kind[slot] = kind;
    slots.reply[slot] = reply;
    slots.length[slot] = length;
    slots.block[slot] = NO_BLOCK;
    if (slab === undefined) {
      slots.address[slot] = 0;
      slots.slab[slot] = 0;
    } else {
      slots.address[slot] = slab.address + slabOffset;
      slots.slab[slot] = slab.header;
      this.#slabs[slot] = slab;
      if (slab.lender !== undefined) {
        this.#pins.meet(slab, slab.lender);
        slab.lender.countInFlight(slabOffset, length, 1);
      }
    }
    slots.memory[slot] = view;
    slots.setOffset(slot, offset);
    if (kind === abi.Kind.write) {
      slots.order[slot] = ++file.order;
      file.lock.fastBegins();
    }
    return this.#enqueue(slot, file, governor);
  }

  /** A request of our own. Its promise never rejects. */
  start(request: Request): Promise<Outcome> {
    const refusal = this.#overFor(request);
    if (refusal !== undefined) return Promise.resolve(refusal);
    const slots = this.#slots;
    const slot = slots.take();
    slots.kind[slot] = request.kind;
    slots.reply[slot] = Reply.outcome;
    slots.length[slot] = request.length ?? 0;
    slots.block[slot] = request.block ?? NO_BLOCK;
    slots.address[slot] = 0;
    slots.slab[slot] = 0;
    slots.memory[slot] = request;
    slots.setOffset(slot, request.offset ?? 0);
    return this.#enqueue(slot, request.file, request.governor, request.urgent === true);
  }

  /**
   * The end of a part that comes too late: its ring is gone, or its descriptor is closed and the number
   * may be another file's by now.
   */
  #overFor(request: Request): Outcome | undefined {
    const { kind, file, block = NO_BLOCK } = request;
    const closed = file?.closed === true && kind !== abi.Kind.close;
    if (!this.#gone && !closed) return undefined;
    const where = { syscall: syscallName(kind), path: file?.path };
    const error = closed
      ? closedError(where)
      : new IoError("ERR_RING_CLOSED", { ...where, reason: "the ring is closed" });
    return { status: abi.Status.canceled, errno: 0, transferred: 0, detail: 0, block, error };
  }

  #enqueue(
    slot: number,
    file: FileState | undefined,
    governor: Governor | undefined,
    urgent = false,
  ): Promise<never> {
    const slots = this.#slots;
    const promise = new Promise<never>(capture);
    slots.resolve[slot] = capturedResolve as (value: unknown) => void;
    slots.reject[slot] = capturedReject;
    slots.owner[slot] = file;
    if (file !== undefined) file.inFlight++;
    if (this.#head === NO_SLOT) {
      this.#head = slot;
      this.#tail = slot;
    } else if (urgent) {
      slots.next[slot] = this.#head;
      this.#head = slot;
    } else {
      slots.next[this.#tail] = slot;
      this.#tail = slot;
    }
    if (governor !== undefined) this.#govern(slot, governor);
    this.#schedule();
    return promise;
  }

  #govern(slot: number, governor: Governor): void {
    this.#governed.set(slot, undefined);
    this.#control.add(slot, governor);
    const cause = causeOf(governor);
    if (cause !== undefined) this.#cancel(slot, cause);
  }

  // Flushing --------------------------------------------------------------------------------------

  #schedule(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    if (this.#inlineSince !== 0 && this.#needsTurn()) setImmediate(this.#flushInNewTurn);
    else queueMicrotask(this.#flush);
  }

  /** Whether timers and others have waited long enough. */
  #needsTurn(): boolean {
    if (this.backend !== abi.Backend.simulated) {
      return this.#now() - this.#inlineSince >= INLINE_MS_MAX;
    }
    this.#inlineFlushes = (this.#inlineFlushes + 1) % INLINE_FLUSHES_MAX;
    return this.#inlineFlushes === 0;
  }

  readonly #flushInNewTurn = (): void => {
    this.#inlineSince = 0;
    this.#flush();
  };

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    if (this.#gone) return;
    if (this.#busy) {
      this.#flushLater();
      return;
    }
    const count = this.#handOver();
    this.#held += count;
    const willPoll = this.#polling.begin(this.#now(), count, this.#held, false);
    const settled = this.#native.ba_flush(this.#ring as never, count, willPoll ? 1 : 0);
    if (settled > 0 && this.#inlineSince === 0) this.#inlineSince = this.#now();
    this.#polling.end(this.#now(), count, settled, false);
    this.#finishCall(settled, willPoll);
  };

  readonly #drain = (): void => {
    this.#inlineSince = 0;
    if (this.#gone) return;
    if (this.#head !== NO_SLOT || this.#busy) {
      this.#flush();
      return;
    }
    const willPoll = this.#polling.begin(this.#now(), 0, this.#held, true);
    const settled = this.#native.ba_drain(this.#ring as never, willPoll ? 1 : 0);
    this.#polling.end(this.#now(), 0, settled, true);
    this.#finishCall(settled, willPoll);
  };

  /** The look that was promised to the native side, in a turn of its own. */
  readonly #poll = (): void => {
    this.#pollScheduled = false;
    this.#inlineSince = 0;
    if (this.#gone || this.#held === 0) {
      this.#polling.rest();
      return;
    }
    if (this.#head !== NO_SLOT || this.#busy) {
      this.#flush();
      return;
    }
    const willPoll = this.#polling.begin(this.#now(), 0, this.#held, false);
    const settled = this.#native.ba_poll(this.#ring as never, willPoll ? 1 : 0);
    this.#polling.end(this.#now(), 0, settled, false);
    this.#finishCall(settled, willPoll);
  };

  #flushLater(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(this.#flushInNewTurn);
  }

  /** Milliseconds, as of the last native call: no clock is read for it. */
  #now(): number {
    return this.#tables.nowMs;
  }

  /** `willPoll`: the native side rings for nothing until the next call. */
  #finishCall(settled: number, willPoll: boolean): void {
    if (settled < 0) throw new Error("bun-aio: internal error: the native side refused a call");
    this.#busy = true;
    try {
      this.#settle(settled);
    } finally {
      this.#busy = false;
    }
    if (this.#held > 0) {
      if (!willPoll) this.#wake.watch();
      else if (!this.#pollScheduled) {
        this.#pollScheduled = true;
        setImmediate(this.#poll);
      }
      const retryMs = this.#tables.retryMs;
      // It keeps nothing alive: while operations are in flight, the wake descriptor does.
      if (retryMs > 0) this.#retry.in(retryMs, this.#now());
    } else {
      this.#wake.rest();
    }
    if (this.#tables.hasMore && !this.#flushScheduled) {
      this.#flushLater();
    } else if (this.#head !== NO_SLOT && this.#held < this.#room && settled > 0) {
      this.#schedule();
    }
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

  /** What `holding` does, for callers that have a `try` of their own: `letGo` has to follow. */
  hold(file: FileState): void {
    file.inFlight++;
    this.#longOperations++;
  }

  letGo(file: FileState): void {
    this.#longOperations--;
    this.#noteIdle();
    if (--file.inFlight === 0) file.onIdle?.();
  }

  /** Tells `close` when nothing is in flight any more. */
  #noteIdle(): void {
    if (this.#onIdle !== undefined && this.inFlight === 0 && this.#longOperations === 0)
      this.#onIdle();
  }

  /** Operations that the native side can hold. */
  get #room(): number {
    return this.#operationsMax - this.#tables.abandoned;
  }

  /** Writes rows for what waits, as far as there is room. Returns how many. */
  #handOver(): number {
    const slots = this.#slots;
    this.#busy = true;
    let count = 0;
    let slot = this.#head;
    const room = this.#room;
    while (slot !== NO_SLOT && this.#held + count < room) {
      const dead = slots.state[slot] === SlotState.dead;
      const address = dead ? -1 : this.#prepareMemory(slot);
      // No bounce memory now: whoever holds it is in flight, or goes first (`urgent`).
      if (address < 0 && slots.state[slot] === SlotState.waiting) break;
      // Not before: a getter of the caller's view may have put more behind this one.
      const next = slots.next[slot] as number;
      if (address < 0) {
        this.#dead--;
        slots.give(slot);
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
    this.#checkRows(count);
    this.#busy = false;
    return count;
  }

  /**
   * A getter of a later view may have given the memory of an earlier one away: then the native side must
   * not even look at its slab. It refuses such a row.
   */
  #checkRows(count: number): void {
    for (let row = 0; row < count; row++) {
      const slot = this.#tables.slotSubmitted(row);
      const slab = this.#slabs[slot];
      let gone = slab?.buffer.detached === true;
      if (slab === undefined && this.#slots.reply[slot] === Reply.outcome) {
        gone = (this.#slots.memory[slot] as Request).isGone?.() === true;
      }
      if (gone) this.#tables.spoil(row);
    }
  }

  /** The address for the kernel; -1 if there is none now, or the operation was refused (then dead). */
  #prepareMemory(slot: number): number {
    const slots = this.#slots;
    const memory = slots.memory[slot];
    const length = slots.length[slot] as number;
    if (slots.reply[slot] === Reply.outcome) return this.#prepareRequest(slot, memory as Request);
    const view = memory as ArrayBufferView;
    const pinned = slots.address[slot] as number;
    if (pinned !== 0) {
      if (hasLength(view, length)) return pinned;
      return this.#refuse(slot, detachedError(this.#describe(slot, 0)));
    }
    const block = this.bounce.allocate(length);
    if (block === NO_BLOCK) return this.#waitOrRefuse(slot, this.bounce.canHave(length));
    slots.block[slot] = block;
    if (slots.kind[slot] === abi.Kind.write && !this.bounce.copyIn(view, block, length)) {
      return this.#refuse(slot, detachedError(this.#describe(slot, 0)));
    }
    return this.bounce.addressOf(block);
  }

  /** Bounce memory is short: it comes back (`mayCome`), unless too much of it is the kernel's for ever. */
  #waitOrRefuse(slot: number, mayCome: boolean): -1 {
    if (mayCome) return -1;
    const { kind: _kind, file: _file, ...init } = this.#describe(slot, 0);
    const error = new IoError("ENOMEM", {
      ...init,
      errno: -errnoOf("ENOMEM"),
      reason: "the kernel has kept the ring's memory for foreign views (ERR_OUTCOME_UNKNOWN)",
      hint: "Use memory from allocBuffer, and another Ring for what needs none of the caller's",
    });
    return this.#refuse(slot, error);
  }

  #prepareRequest(slot: number, request: Request): number {
    let block = this.#slots.block[slot] as number;
    const wanted = request.blockBytes ?? 0;
    if (block === NO_BLOCK && wanted > 0) {
      const { bounce } = this;
      const isData = request.kind === abi.Kind.read || request.kind === abi.Kind.write;
      block = isData ? bounce.allocate(wanted) : bounce.allocateOwn(wanted);
      if (block === NO_BLOCK) {
        return this.#waitOrRefuse(
          slot,
          isData ? bounce.canHave(wanted) : bounce.canHaveOwn(wanted),
        );
      }
      this.#slots.block[slot] = block;
    }
    if (block === NO_BLOCK) return 0;
    if (request.fill !== undefined) {
      try {
        request.fill(this.bounce.memoryOf(block, Math.max(wanted, abi.BOUNCE_BLOCK_BYTES_MIN)));
      } catch (error) {
        return this.#refuse(slot, error as IoError);
      }
    }
    return this.bounce.addressOf(block) + (request.blockOffset ?? 0);
  }

  #writeRow(row: number, slot: number, address: number): void {
    const slots = this.#slots;
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
    const tables = this.#tables;
    for (let row = 0; row < count; row++) {
      const slot = tables.slot(row);
      if (!this.#slots.isCurrent(slot, tables.generation(row))) {
        throw new Error("bun-aio: internal error: a completion for no operation");
      }
      this.#held--;
      const transferred = tables.transferred(row);
      this.#settleOne(slot, tables.status(row), tables.errno(row), transferred, tables.detail(row));
    }
  }

  #settleOne(
    slot: number,
    status: number,
    errno: number,
    transferred: number,
    detail: number,
  ): void {
    const slots = this.#slots;
    const reply = slots.reply[slot] as number;
    const resolve = slots.resolve[slot] as (value: unknown) => void;
    if (reply === Reply.outcome) {
      const error =
        status === abi.Status.canceled ? this.#causeError(slot, transferred) : undefined;
      let moved = transferred;
      if (status === abi.Status.abandoned) moved = this.#lose(slot, transferred);
      const block = slots.block[slot] as number;
      this.#release(slot);
      resolve({ status, errno, transferred: moved, detail, block, error } satisfies Outcome);
      return;
    }
    const length = slots.length[slot] as number;
    if (status === abi.Status.ok && (reply === Reply.bytes || transferred === length)) {
      const block = slots.block[slot] as number;
      const view = slots.memory[slot] as ArrayBufferView;
      if (slots.kind[slot] === abi.Kind.read) {
        const gone =
          block === NO_BLOCK
            ? !hasLength(view, length)
            : !this.bounce.copyOut(view, block, length, transferred);
        if (gone) {
          this.#fail(slot, detachedError(this.#describe(slot, transferred)));
          return;
        }
      }
      if (transferred < length && this.#endsTooEarly(slot, transferred)) {
        const error = statusError(status, 0, this.#describe(slot, transferred));
        this.#settleAfterProbe(slot, error, transferred);
        return;
      }
      if (block !== NO_BLOCK) this.bounce.release(block);
      this.#release(slot);
      resolve(reply === Reply.bytes ? transferred : undefined);
      return;
    }
    this.#settleBadly(slot, status, errno, transferred);
  }

  #settleBadly(slot: number, status: number, errno: number, transferred: number): void {
    const slots = this.#slots;
    if (status === abi.Status.abandoned) {
      const moved = this.#lose(slot, transferred);
      this.#fail(slot, statusError(status, errno, this.#describe(slot, moved)));
      return;
    }
    const block = slots.block[slot] as number;
    // What was read before the failure is the caller's, as far as it is contiguous.
    if (block !== NO_BLOCK && slots.kind[slot] === abi.Kind.read) {
      this.bounce.copyOut(
        slots.memory[slot] as ArrayBufferView,
        block,
        slots.length[slot] as number,
        transferred,
      );
    }
    let error: IoError;
    if (status === abi.Status.canceled) error = this.#causeError(slot, transferred);
    else if (this.#slabs[slot]?.buffer.detached === true && status === abi.Status.invalid)
      error = detachedError(this.#describe(slot, 0));
    else error = statusError(status, errno, this.#describe(slot, transferred));
    const file = slots.owner[slot];
    const suspect =
      file !== undefined && (isSuspect(file, error.code) || this.#endsTooEarly(slot, transferred));
    if (suspect && status !== abi.Status.canceled) this.#settleAfterProbe(slot, error, undefined);
    else this.#fail(slot, error, status);
  }

  /** A read that stopped before the end of its device. */
  #endsTooEarly(slot: number, transferred: number): boolean {
    const file = this.#slots.owner[slot];
    if (file === undefined || this.#slots.kind[slot] !== abi.Kind.read) return false;
    return endsTooEarly(file, this.#slots.offset(slot), transferred);
  }

  /** Settles with what the operation itself said, unless its device turns out to be gone (gone.ts). */
  #settleAfterProbe(slot: number, error: IoError, transferred: number | undefined): void {
    const slots = this.#slots;
    const file = slots.owner[slot] as FileState;
    const resolve = slots.resolve[slot] as (value: unknown) => void;
    const reject = slots.reject[slot] as (error: unknown) => void;
    if (slots.kind[slot] === abi.Kind.write) {
      file.reports.writeFailed(slots.order[slot] as number, error, true, undefined);
    }
    const block = slots.block[slot] as number;
    if (block !== NO_BLOCK) this.bounce.release(block);
    const probe = this.holding(file, () => deviceGone(this, file, error));
    this.#release(slot);
    void probe.then((gone) => {
      if (gone !== undefined) reject(gone);
      else if (transferred !== undefined) resolve(transferred);
      else reject(error);
    });
  }

  /**
   * The kernel may use an abandoned operation's memory for ever: neither block nor buffer is lent again.
   * Returns the bytes that the caller has.
   */
  #lose(slot: number, transferred: number): number {
    const slots = this.#slots;
    const slab = this.#slabs[slot];
    if (slab?.lender !== undefined) {
      const offset = (slots.address[slot] as number) - slab.address;
      slab.lender.lose(offset, slots.length[slot] as number);
    }
    const block = slots.block[slot] as number;
    if (block === NO_BLOCK) return transferred;
    slots.block[slot] = NO_BLOCK;
    this.bounce.lose(block);
    return slots.kind[slot] === abi.Kind.read ? 0 : transferred;
  }

  /** `status`: what the native side said, if it was asked. */
  #fail(slot: number, error: IoError, status: number = abi.Status.failed): void {
    const slots = this.#slots;
    const reject = slots.reject[slot] as (error: unknown) => void;
    const file = slots.owner[slot];
    if (file !== undefined && slots.kind[slot] === abi.Kind.write) {
      // The native side has not looked at what it calls invalid.
      const hadBegun = slots.state[slot] === SlotState.native && status !== abi.Status.invalid;
      const signal = this.#control.signalOf(slot);
      file.reports.writeFailed(slots.order[slot] as number, error, hadBegun, signal);
    }
    const block = slots.block[slot] as number;
    if (block !== NO_BLOCK) this.bounce.release(block);
    this.#release(slot);
    reject(error);
  }

  /** Lets go of everything but the bounce block, and gives the slot back unless it still waits. */
  #release(slot: number): void {
    const slots = this.#slots;
    const file = slots.owner[slot];
    const slab = this.#slabs[slot];
    if (slab !== undefined) this.#slabs[slot] = undefined;
    if (slab?.lender !== undefined) {
      const offset = (slots.address[slot] as number) - slab.address;
      slab.lender.countInFlight(offset, slots.length[slot] as number, -1);
    }
    if (this.#governed.size > 0 && this.#governed.delete(slot)) this.#control.remove(slot);
    if (slots.state[slot] === SlotState.native) {
      slots.give(slot);
    } else {
      slots.state[slot] = SlotState.dead;
      this.#dead++;
    }
    if (file === undefined) return;
    if (this.#isFastWrite(slot)) file.lock.fastEnds(slot);
    if (--file.inFlight === 0) file.onIdle?.();
  }

  /** One of `startTransfer`, which takes no part in its file's lock. */
  #isFastWrite(slot: number): boolean {
    const { kind, reply } = this.#slots;
    return kind[slot] === abi.Kind.write && reply[slot] !== Reply.outcome;
  }

  /** Ends an operation that has not been handed over; `#handOver` passes over it. Returns -1. */
  #refuse(slot: number, error: IoError): -1 {
    if (this.#slots.reply[slot] !== Reply.outcome) {
      this.#fail(slot, error);
      return -1;
    }
    const resolve = this.#slots.resolve[slot] as (value: unknown) => void;
    const block = this.#slots.block[slot] as number;
    this.#release(slot);
    resolve({
      status: abi.Status.canceled,
      errno: 0,
      transferred: 0,
      detail: 0,
      block,
      error,
    } satisfies Outcome);
    return -1;
  }

  // Cancelling ------------------------------------------------------------------------------------

  #cancel(slot: number, cause: Cause): void {
    const slots = this.#slots;
    if (this.#governed.get(slot) !== undefined || !this.#governed.has(slot)) return;
    if (this.#busy) {
      this.#cancelLater(slot, cause);
      return;
    }
    this.#governed.set(slot, cause);
    if (slots.state[slot] === SlotState.waiting) {
      this.#refuse(slot, this.#causeError(slot, 0));
      return;
    }
    this.#native.ba_cancel(this.#ring as never, slot, slots.generation[slot] as number);
    this.#schedule();
  }

  /** A getter aborted: its own operation may be between two states, and native rows not read yet. */
  #cancelLater(slot: number, cause: Cause): void {
    const generation = this.#slots.generation[slot];
    queueMicrotask(() => {
      if (this.#slots.generation[slot] === generation) this.#cancel(slot, cause);
    });
  }

  #causeError(slot: number, transferred: number): IoError {
    const cause = this.#governed.get(slot);
    const init = this.#describe(slot, transferred);
    if (cause !== undefined) return causeError(cause, init);
    return new IoError("ECANCELED", { ...init, reason: "the operation was cancelled" });
  }

  #describe(slot: number, transferred: number): ErrorContext {
    const slots = this.#slots;
    const file = slots.owner[slot];
    const kind = slots.kind[slot] as number;
    return {
      kind,
      file,
      syscall: syscallName(kind),
      path: file?.path,
      offset: this.#slots.offset(slot),
      length: slots.length[slot] as number,
      transferred,
    };
  }

  // Files, statistics, the end ----------------------------------------------------------------------

  /** Lets go of a block that an operation of our own has used. */
  releaseBlock(block: number): void {
    if (block === NO_BLOCK) return;
    this.bounce.release(block);
    // Somebody may be waiting for it with nothing in flight that would wake them.
    if (this.#head !== NO_SLOT) this.#schedule();
  }

  /** The native side must not close this file's descriptor at teardown: somebody else does. */
  forgetFile(index: number): void {
    this.#native.ba_file_forget(this.#ring as never, index);
  }

  /** Changed ranges of an overlay device that end behind `from`, as pairs of offset and length. */
  deviceChanges(from: number, out: Float64Array<ArrayBuffer>): number {
    if (this.#gone) return 0;
    return this.#native.ba_device_changes(this.#ring as never, from, out, out.length / 2);
  }

  pending(): Map<string, string> {
    const slots = this.#slots;
    const found = new Map<string, string>();
    for (let slot = 0; slot < slots.capacity; slot++) {
      const state = slots.state[slot];
      if (state !== SlotState.waiting && state !== SlotState.native) continue;
      const { syscall, path, offset, length } = this.#describe(slot, 0);
      const where = path === undefined ? "" : ` '${path}'`;
      const words = `${syscall}${where} (offset ${offset}, length ${length})`;
      found.set(`${slot}:${slots.generation[slot]}`, words);
    }
    return found;
  }

  /** Calls back for each of the file's writes that take no part in its lock. */
  eachFastWrite(file: FileState, found: Parameters<EachWrite>[0]): void {
    const slots = this.#slots;
    for (let slot = 0; slot < slots.capacity; slot++) {
      if (slots.owner[slot] !== file || !this.#isFastWrite(slot)) continue;
      if (slots.state[slot] === SlotState.dead) continue;
      const offset = slots.offset(slot);
      found(slot, offset, addOffset(offset, slots.length[slot] as number));
    }
  }

  /** Operations that have not settled. */
  get inFlight(): number {
    return this.#slots.used - this.#dead;
  }

  /** The control block that native code keeps, for statistics. */
  get controlMemory(): DataView {
    return this.#tables.control;
  }

  get closing(): boolean {
    return this.#closed !== undefined;
  }

  /** Refuses new operations, waits for those that run, frees the kernel's side. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    while (this.inFlight > 0 || this.#longOperations > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
      // What has settled may be the first part of something longer: its next one starts in this turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#onIdle = undefined;
    this.#gone = true;
    this.#pins.over = true;
    this.#forget();
    this.#retry.cancel();
    await this.#wake.close();
    this.#native.ba_ring_close(this.#ring as never);
  }
}
