// Slots: where operations wait for their completion. A slot and its generation cross the ABI as the operation's
// token. A struct of arrays, because an object for each operation costs more than the operation
// (bench/rows/cached_random.ts). No system calls, no timers.

/** The value that the promise resolves with. */
export const Reply = {
  /** The number of bytes. */
  bytes: 0,
  /** undefined; fewer bytes than requested reject. */
  exact: 1,
  /** undefined. */
  nothing: 2,
  /** The `Outcome`; never rejects. For requests of the library itself. */
  outcome: 3,
} as const;

/** The state of a slot. */
export const SlotState = { free: 0, waiting: 1, native: 2, dead: 3 } as const;

/** No slot; also the end of a list. */
export const NO_SLOT = -1;

type Resolve = (value: unknown) => void;
type Reject = (error: unknown) => void;

const CAPACITY_MIN = 256;

export class Slots<Owner, Memory> {
  /** How often the slot was taken: a late completion cannot settle a newer operation. */
  generation: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  state: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  kind: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  reply: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  offsetLow: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  offsetHigh: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  length: Float64Array<ArrayBuffer> = new Float64Array(0);
  /** Native address of slab memory; 0 for a foreign view, which is bounced. */
  address: Float64Array<ArrayBuffer> = new Float64Array(0);
  slab: Float64Array<ArrayBuffer> = new Float64Array(0);
  /** Bounce block held, or NO_BLOCK. */
  block: Int32Array<ArrayBuffer> = new Int32Array(0);
  /** Sequence number of the call on its file. */
  order: Float64Array<ArrayBuffer> = new Float64Array(0);
  /** Next waiting slot, or next free one. */
  next: Int32Array<ArrayBuffer> = new Int32Array(0);
  readonly resolve: Resolve[] = [];
  readonly reject: Reject[] = [];
  /** Keeps the caller's view, or the request of the library, from being collected. */
  readonly memory: (Memory | undefined)[] = [];
  readonly owner: (Owner | undefined)[] = [];

  #capacity = 0;
  #freeHead = NO_SLOT;
  #used = 0;

  constructor() {
    this.#grow();
  }

  /** Slots taken. */
  get used(): number {
    return this.#used;
  }

  get capacity(): number {
    return this.#capacity;
  }

  /** Takes a slot. The caller must fill every array that it will read. */
  take(): number {
    if (this.#freeHead === NO_SLOT) this.#grow();
    const slot = this.#freeHead;
    this.#freeHead = this.next[slot] as number;
    this.next[slot] = NO_SLOT;
    this.state[slot] = SlotState.waiting;
    this.#used++;
    return slot;
  }

  /** Whether a completion with this generation belongs to the current operation of the slot. */
  isCurrent(slot: number, generation: number): boolean {
    return this.state[slot] === SlotState.native && this.generation[slot] === generation;
  }

  setOffset(slot: number, offset: number | bigint): void {
    if (typeof offset === "number") {
      this.offsetLow[slot] = offset;
      this.offsetHigh[slot] = offset / 0x1_0000_0000;
    } else {
      this.offsetLow[slot] = Number(offset & 0xffff_ffffn);
      this.offsetHigh[slot] = Number(offset >> 32n);
    }
  }

  offset(slot: number): number | bigint {
    const high = this.offsetHigh[slot] ?? 0;
    const low = this.offsetLow[slot] ?? 0;
    if (high < 0x20_0000) return high * 0x1_0000_0000 + low;
    return (BigInt(high) << 32n) | BigInt(low);
  }

  /** Frees a slot and releases everything it held. */
  give(slot: number): void {
    this.generation[slot] = ((this.generation[slot] as number) + 1) >>> 0;
    this.state[slot] = SlotState.free;
    this.#clear(slot);
    this.#used--;
  }

  #clear(slot: number): void {
    this.resolve[slot] = ignore;
    this.reject[slot] = ignore;
    this.memory[slot] = undefined;
    this.owner[slot] = undefined;
    this.next[slot] = this.#freeHead;
    this.#freeHead = slot;
  }

  #grow(): void {
    const before = this.#capacity;
    const after = Math.max(CAPACITY_MIN, before * 2);
    this.generation = copied(new Uint32Array(after), this.generation);
    this.state = copied(new Uint8Array(after), this.state);
    this.kind = copied(new Uint8Array(after), this.kind);
    this.reply = copied(new Uint8Array(after), this.reply);
    this.offsetLow = copied(new Uint32Array(after), this.offsetLow);
    this.offsetHigh = copied(new Uint32Array(after), this.offsetHigh);
    this.length = copied(new Float64Array(after), this.length);
    this.address = copied(new Float64Array(after), this.address);
    this.slab = copied(new Float64Array(after), this.slab);
    this.block = copied(new Int32Array(after), this.block);
    this.order = copied(new Float64Array(after), this.order);
    this.next = copied(new Int32Array(after), this.next);
    for (let slot = after - 1; slot >= before; slot--) this.#clear(slot);
    this.#capacity = after;
  }
}

function copied<T extends { set(from: ArrayLike<number>): void }>(
  to: T,
  from: ArrayLike<number>,
): T {
  to.set(from);
  return to;
}

function ignore(): void {}
