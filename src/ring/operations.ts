// The operations of a ring, from the call until they settle.
//
// Hot path: no closures, no spread, no BigInt, and no object for each operation except its promise
// (bench/rows/cached_random.ts).

import { onCancel, type Registration } from "../cancellation/registry.ts";
import { type CancelScope, cancelError } from "../cancellation/scope.ts";
import { addOffset } from "../common/arguments.ts";
import type { OperationSource } from "../common/leaks.ts";
import { isDetachedBuffer } from "../common/memory_views.ts";
import { endsTooEarly, isSuspect } from "../errors/device_gone.ts";
import { syscallName } from "../errors/hints.ts";
import type { IoError } from "../errors/io_error.ts";
import { detachedError, type ErrorContext, lostError, statusError } from "../errors/status.ts";
import type { EachWrite } from "../locks/write_lock.ts";
import type { BounceBuffers } from "../memory/bounce_buffers.ts";
import { NO_BLOCK } from "../memory/buddy_allocator.ts";
import type { RegisteredBuffers } from "../memory/registered_buffers.ts";
import type { Slab } from "../memory/slab.ts";
import * as abi from "../native/abi.gen.ts";
import { deviceGone } from "./device_gone.ts";
import type { FileState } from "./file_state.ts";
import { type Receiver, TAKEN } from "./receiver.ts";
import { type Outcome, type Request, type Requests, refusedOutcome } from "./request.ts";
import { Reply, SlotState, Slots } from "./slots.ts";

let capturedResolve: (value: never) => void;
let capturedReject: (error: unknown) => void;
/** One executor for all promises: a closure for each would cost as much as the submission. */
function capture(resolve: (value: never) => void, reject: (error: unknown) => void): void {
  capturedResolve = resolve;
  capturedReject = reject;
}

/** The ring that the operations belong to. */
export interface Host extends Requests {
  /** Keeps the file and the ring from closing while `run` is between two native operations. */
  holding<T>(file: FileState, run: () => Promise<T>): Promise<T>;
  /** Called when the scope of the slot is cancelled. */
  cancel(slot: number): void;
  /** The errno with which the kernel refuses a lost ring; 0 unless it is lost. */
  readonly lostErrno: number;
}

export class Operations implements OperationSource {
  readonly slots: Slots<FileState, ArrayBufferView | Request> = new Slots();
  /** Bounce blocks for foreign views. */
  readonly bounce: BounceBuffers;
  readonly #slabs: (Slab | undefined)[] = [];
  readonly #registered: RegisteredBuffers;
  readonly #host: Host;
  /** Registrations of operations that can be cancelled, by slot. */
  readonly #registrations = new Map<number, Registration>();
  /** Slots still in the queue whose operations have settled already. */
  #dead = 0;

  constructor(host: Host, bounce: BounceBuffers, registered: RegisteredBuffers) {
    this.#host = host;
    this.bounce = bounce;
    this.#registered = registered;
  }

  /** Operations that have not settled. */
  get inFlight(): number {
    return this.slots.used - this.#dead;
  }

  // The call ----------------------------------------------------------------------------------------

  /** Takes a slot for a read or write of one buffer. */
  addTransfer(
    file: FileState,
    kind: number,
    view: ArrayBufferView,
    slab: Slab | undefined,
    slabOffset: number,
    length: number,
    offset: number | bigint,
    reply: number,
  ): number {
    const slots = this.slots;
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
        this.#registered.meet(slab);
        slab.lender.countInFlight(slabOffset, length, 1);
      } else if (slab.chunkBytes > 0 && file.flags & abi.SubmissionFlag.aligned) {
        this.#registered.meetOwn(slab);
      }
    }
    slots.memory[slot] = view;
    slots.setOffset(slot, offset);
    if (kind === abi.Kind.write) {
      slots.order[slot] = ++file.order;
      file.lock.fastBegins();
    }
    slots.owner[slot] = file;
    return slot;
  }

  /** Takes a slot for a request of the library. */
  addRequest(request: Request): number {
    const slots = this.slots;
    const slot = slots.take();
    slots.kind[slot] = request.kind;
    slots.reply[slot] = Reply.outcome;
    slots.length[slot] = request.length ?? 0;
    slots.block[slot] = NO_BLOCK;
    slots.address[slot] = 0;
    slots.slab[slot] = 0;
    slots.memory[slot] = request;
    slots.setOffset(slot, request.offset ?? 0);
    slots.owner[slot] = request.file;
    return slot;
  }

  /** The promise for the caller; `TAKEN` if there is a receiver. */
  promise(slot: number, receiver?: Receiver): Promise<never> {
    const { slots } = this;
    const file = slots.owner[slot];
    if (file !== undefined) file.inFlight++;
    if (receiver !== undefined) {
      slots.resolve[slot] = receiver.resolve as (value: unknown) => void;
      slots.reject[slot] = receiver.reject;
      return TAKEN;
    }
    const promise = new Promise<never>(capture);
    slots.resolve[slot] = capturedResolve as (value: unknown) => void;
    slots.reject[slot] = capturedReject;
    return promise;
  }

  // Memory ------------------------------------------------------------------------------------------

  /**
   * The address for the kernel; -1 if there is no memory at the moment, or the operation was refused (its slot is
   * dead then).
   */
  prepareMemory(slot: number): number {
    const slots = this.slots;
    const memory = slots.memory[slot];
    const length = slots.length[slot] as number;
    if (slots.reply[slot] === Reply.outcome) return this.#prepareRequest(slot, memory as Request);
    const view = memory as ArrayBufferView;
    const address = slots.address[slot] as number;
    if (address !== 0) {
      if (!isDetachedBuffer((this.#slabs[slot] as Slab).buffer)) return address;
      return this.refuse(slot, detachedError(this.#describe(slot, 0)));
    }
    const block = this.bounce.allocate(length);
    if (block === NO_BLOCK) return -1;
    slots.block[slot] = block;
    if (slots.kind[slot] === abi.Kind.write && !this.bounce.copyIn(view, block, length)) {
      return this.refuse(slot, detachedError(this.#describe(slot, 0)));
    }
    return this.bounce.addressOf(block);
  }

  #prepareRequest(slot: number, request: Request): number {
    const wanted = request.blockBytes ?? 0;
    if (wanted === 0) return 0;
    const { bounce } = this;
    const isData = request.kind === abi.Kind.read || request.kind === abi.Kind.write;
    const block = isData ? bounce.allocate(wanted) : bounce.allocateOwn(wanted);
    if (block === NO_BLOCK) return -1;
    this.slots.block[slot] = block;
    if (request.fill !== undefined) {
      try {
        request.fill(this.bounce.memoryOf(block, Math.max(wanted, abi.BOUNCE_BLOCK_BYTES_MIN)));
      } catch (error) {
        return this.refuse(slot, error as IoError);
      }
    }
    return this.bounce.addressOf(block);
  }

  // Settling -----------------------------------------------------------------------------------------

  /** Settles a slot with the native result. */
  settle(slot: number, status: number, errno: number, transferred: number, detail: number): void {
    const slots = this.slots;
    const reply = slots.reply[slot] as number;
    const resolve = slots.resolve[slot] as (value: unknown) => void;
    if (reply === Reply.outcome) {
      const error =
        status === abi.Status.canceled ? this.cancelError(slot, transferred) : undefined;
      const block = slots.block[slot] as number;
      this.#release(slot);
      resolve({ status, errno, transferred, detail, block, error } satisfies Outcome);
      return;
    }
    const length = slots.length[slot] as number;
    if (status === abi.Status.ok && (reply === Reply.bytes || transferred === length)) {
      const block = slots.block[slot] as number;
      const view = slots.memory[slot] as ArrayBufferView;
      if (slots.kind[slot] === abi.Kind.read) {
        const isDetached =
          block === NO_BLOCK
            ? isDetachedBuffer((this.#slabs[slot] as Slab).buffer)
            : !this.bounce.copyOut(view, block, length, transferred);
        if (isDetached) {
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
    const slots = this.slots;
    const isAnswer = status !== abi.Status.canceled && status !== abi.Status.outcomeUnknown;
    if (status === abi.Status.outcomeUnknown) this.#lose(slot);
    const block = slots.block[slot] as number;
    // Bytes read before the failure are delivered, as far as they are contiguous.
    if (block !== NO_BLOCK && slots.kind[slot] === abi.Kind.read) {
      this.bounce.copyOut(
        slots.memory[slot] as ArrayBufferView,
        block,
        slots.length[slot] as number,
        transferred,
      );
    }
    const error =
      status === abi.Status.canceled
        ? this.cancelError(slot, transferred)
        : statusError(status, errno, this.#describe(slot, transferred));
    const file = slots.owner[slot];
    const suspect =
      file !== undefined && (isSuspect(file, error.code) || this.#endsTooEarly(slot, transferred));
    if (suspect && isAnswer) this.#settleAfterProbe(slot, error, undefined);
    else this.#fail(slot, error, status);
  }

  /** Whether a read ended before the end of its device. */
  #endsTooEarly(slot: number, transferred: number): boolean {
    const file = this.slots.owner[slot];
    if (file === undefined || this.slots.kind[slot] !== abi.Kind.read) return false;
    return endsTooEarly(file, this.slots.offset(slot), transferred);
  }

  /** Settles with the error of the operation, unless its device turns out to be gone. */
  #settleAfterProbe(slot: number, error: IoError, transferred: number | undefined): void {
    const slots = this.slots;
    const file = slots.owner[slot] as FileState;
    const resolve = slots.resolve[slot] as (value: unknown) => void;
    const reject = slots.reject[slot] as (error: unknown) => void;
    if (slots.kind[slot] === abi.Kind.write) {
      const order = slots.order[slot] as number;
      file.reports.writeFailed({ order, error, hadBegun: true, scope: undefined });
    }
    const block = slots.block[slot] as number;
    if (block !== NO_BLOCK) this.bounce.release(block);
    const probe = this.#host.holding(file, () => deviceGone(this.#host, file, error));
    this.#release(slot);
    void probe.then((gone) => {
      if (gone !== undefined) reject(gone);
      else if (transferred !== undefined) resolve(transferred);
      else reject(error);
    });
  }

  /** The kernel may use the buffer for ever: its pool must not lend it again. */
  #lose(slot: number): void {
    const slab = this.#slabs[slot];
    if (slab?.lender === undefined) return;
    const offset = (this.slots.address[slot] as number) - slab.address;
    slab.lender.lose(offset, this.slots.length[slot] as number);
  }

  /** `status`: the native status, if there is one. */
  #fail(slot: number, error: IoError, status: number = abi.Status.failed): void {
    const slots = this.slots;
    const reject = slots.reject[slot] as (error: unknown) => void;
    const file = slots.owner[slot];
    if (file !== undefined && slots.kind[slot] === abi.Kind.write) {
      // An invalid submission has not begun.
      const hadBegun = slots.state[slot] === SlotState.native && status !== abi.Status.invalid;
      const order = slots.order[slot] as number;
      const scope = this.#registrations.get(slot)?.scope;
      file.reports.writeFailed({ order, error, hadBegun, scope });
    }
    const block = slots.block[slot] as number;
    if (block !== NO_BLOCK) this.bounce.release(block);
    this.#release(slot);
    reject(error);
  }

  /** Rejects an operation that has not been handed over; `#handOver` skips it. Returns -1. */
  refuse(slot: number, error: IoError): -1 {
    if (this.slots.reply[slot] !== Reply.outcome) {
      this.#fail(slot, error);
      return -1;
    }
    const resolve = this.slots.resolve[slot] as (value: unknown) => void;
    const block = this.slots.block[slot] as number;
    this.#release(slot);
    resolve(refusedOutcome(block, error));
    return -1;
  }

  /** Frees a dead slot when the queue reaches it. */
  giveDead(slot: number): void {
    this.#dead--;
    this.slots.give(slot);
  }

  /** Releases everything but the bounce block, and frees the slot unless it is still queued. */
  #release(slot: number): void {
    const slots = this.slots;
    const file = slots.owner[slot];
    const slab = this.#slabs[slot];
    if (slab !== undefined) this.#slabs[slot] = undefined;
    if (slab?.lender !== undefined) {
      const offset = (slots.address[slot] as number) - slab.address;
      slab.lender.countInFlight(offset, slots.length[slot] as number, -1);
    }
    if (this.#registrations.size > 0) this.#unregister(slot);
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

  // Cancelling --------------------------------------------------------------------------------------

  /** Cancels the operation with the scope; at once if the scope is cancelled already. */
  govern(slot: number, scope: CancelScope): void {
    const registration = onCancel(scope, () => this.#host.cancel(slot));
    this.#registrations.set(slot, registration);
    const { reason } = scope;
    if (reason !== undefined) registration.tell(reason);
  }

  #unregister(slot: number): void {
    this.#registrations.get(slot)?.end();
    this.#registrations.delete(slot);
  }

  cancelError(slot: number, transferred: number): IoError {
    const reason = this.#registrations.get(slot)?.reason;
    const init = this.#describe(slot, transferred);
    if (reason !== undefined) return cancelError(reason, init);
    // Not cancelled by the caller: the ring was lost.
    return lostError(this.#host.lostErrno, init);
  }

  #describe(slot: number, transferred: number): ErrorContext {
    const slots = this.slots;
    const file = slots.owner[slot];
    const kind = slots.kind[slot] as number;
    return {
      kind,
      file,
      syscall: syscallName(kind),
      path: file?.path,
      offset: this.slots.offset(slot),
      length: slots.length[slot] as number,
      transferred,
    };
  }

  // In flight -------------------------------------------------------------------------------

  pending(): Map<string, string> {
    const slots = this.slots;
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

  /** Calls `found` for each write of the file that does not take part in its lock. */
  eachFastWrite(file: FileState, found: Parameters<EachWrite>[0]): void {
    const slots = this.slots;
    for (let slot = 0; slot < slots.capacity; slot++) {
      if (slots.owner[slot] !== file || !this.#isFastWrite(slot)) continue;
      if (slots.state[slot] === SlotState.dead) continue;
      const offset = slots.offset(slot);
      found(slot, offset, addOffset(offset, slots.length[slot] as number));
    }
  }

  /** A write by `startTransfer`, which does not take part in the lock of its file. */
  #isFastWrite(slot: number): boolean {
    const { kind, reply } = this.slots;
    return kind[slot] === abi.Kind.write && reply[slot] !== Reply.outcome;
  }
}
