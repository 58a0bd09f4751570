// The memory that a ring shares with the native side: control block, submission table and completion table, laid out
// as in zig/abi.zig. Views of plain numbers: no BigInt, no object for each row.

import * as abi from "../native/abi.gen.ts";
import type { OpenedRing } from "./open_ring.ts";
import type { Slots } from "./slots.ts";

const { Control, Submission, Completion } = abi;

export class Tables {
  readonly #u32: Uint32Array<ArrayBuffer>;
  readonly #f64: Float64Array<ArrayBuffer>;
  /** Offset in bytes. */
  readonly #submissions: number;
  readonly #completions: number;

  constructor(ring: OpenedRing) {
    this.#u32 = new Uint32Array(ring.memory);
    this.#f64 = new Float64Array(ring.memory);
    this.#submissions = ring.submissionsOffset;
    this.#completions = ring.completionsOffset;
  }

  // The control block, as of the last native call -----------------------------------------------------

  /** Monotonic clock, in milliseconds. */
  get nowMs(): number {
    return this.#f64[Control.nowMs / 8] as number;
  }

  /** Milliseconds after which the native side must be called again; 0: not necessary. */
  get retryMs(): number {
    return this.#u32[Control.retryMs / 4] as number;
  }

  /** Whether the call stopped early and must be repeated in the next turn. */
  get hasMore(): boolean {
    return this.#u32[Control.more / 4] === 1;
  }

  /** The error number with which the kernel refuses a ring that is lost; else 0. */
  get lostErrno(): number {
    return this.#u32[Control.lostErrno / 4] as number;
  }

  /** The control block, for statistics. */
  get control(): DataView {
    return new DataView(this.#u32.buffer, 0, Control.SIZE);
  }

  // Submissions ---------------------------------------------------------------------------------------

  /** Writes the slot into a row; `setTarget` writes the rest of it. */
  setOperation(row: number, slots: Slots<unknown, unknown>, slot: number, address: number): void {
    const at = this.#submissions + row * Submission.SIZE;
    const u32 = this.#u32;
    u32[(at + Submission.slot) >> 2] = slot;
    u32[(at + Submission.generation) >> 2] = slots.generation[slot] as number;
    u32[(at + Submission.kind) >> 2] = slots.kind[slot] as number;
    u32[(at + Submission.offset) >> 2] = slots.offsetLow[slot] as number;
    u32[(at + Submission.offset + 4) >> 2] = slots.offsetHigh[slot] as number;
    const f64 = this.#f64;
    f64[(at + Submission.address) >> 3] = address;
    f64[(at + Submission.length) >> 3] = slots.length[slot] as number;
    f64[(at + Submission.slab) >> 3] = slots.slab[slot] as number;
  }

  setTarget(
    row: number,
    flags: number,
    file: number,
    fd: number,
    argument: number,
    mode: number,
  ): void {
    const at = this.#submissions + row * Submission.SIZE;
    const u32 = this.#u32;
    u32[(at + Submission.flags) >> 2] = flags;
    u32[(at + Submission.file) >> 2] = file;
    u32[(at + Submission.fd) >> 2] = fd;
    u32[(at + Submission.argument) >> 2] = argument;
    u32[(at + Submission.mode) >> 2] = mode;
  }

  // Completions ---------------------------------------------------------------------------------------

  slot(row: number): number {
    return this.#u32[(this.#completions + row * Completion.SIZE + Completion.slot) >> 2] as number;
  }

  generation(row: number): number {
    const at = this.#completions + row * Completion.SIZE + Completion.generation;
    return this.#u32[at >> 2] as number;
  }

  /** `abi.Status` */
  status(row: number): number {
    const at = this.#completions + row * Completion.SIZE + Completion.status;
    return this.#u32[at >> 2] as number;
  }

  /** Positive; 0 if there is no system error. */
  errno(row: number): number {
    const at = this.#completions + row * Completion.SIZE + Completion.errno;
    return this.#u32[at >> 2] as number;
  }

  /** Bytes. */
  transferred(row: number): number {
    const at = this.#completions + row * Completion.SIZE + Completion.transferred;
    return this.#f64[at >> 3] as number;
  }

  detail(row: number): number {
    const at = this.#completions + row * Completion.SIZE + Completion.detail;
    return this.#f64[at >> 3] as number;
  }
}
