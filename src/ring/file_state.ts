// The state of one open file, apart from its `File`: the File object may be collected while operations run; the
// descriptor is then closed when they have settled.

import type { Identity } from "../locks/identity.ts";
import { WriteLock } from "../locks/write_lock.ts";
import { FileKind, SubmissionFlag } from "../native/abi.gen.ts";
import { WriteReports } from "./write_reports.ts";

export interface Alignment {
  /** Bytes that addresses in memory are multiples of; 1 where nothing is required. */
  readonly memory: number;
  /** Bytes that positions are multiples of. */
  readonly offset: number;
  /** Bytes that lengths are multiples of. */
  readonly length: number;
}

export class FileState {
  fd = -1;
  /** Place in the ring's native table of files. */
  index = -1;
  path: string | undefined;
  /** `FileKind` of the ABI. */
  kind = 0;
  /** Tells it from other files; undefined for a device in memory. */
  identity: Identity | undefined;
  readable = true;
  writable = true;
  direct = false;
  ownsFd = true;
  unalignedWrites: "reject" | "rmw" = "reject";
  alignment: Alignment = { memory: 1, offset: 1, length: 1 };
  /** Whether a submission may wait for whoever serves the file (FUSE); to be set before the alignment. */
  waits = false;
  /** Bits of `Submission.flags` for every transfer. */
  flags = 0;
  /** Whether transfers have to be looked at twice: some of the fields below are not at their defaults. */
  careful = false;
  /** Low bits that must be 0 for a transfer to go straight to the kernel: of offsets and lengths ... */
  offsetMask = 0;
  /** ... and of addresses. */
  memoryMask = 0;
  /** Low bits of an offset or length that the kernel wants to be 0. */
  ioMask = 0;
  /** Low bits of a write's offset or length that must be 0, unless `unalignedWrites` is "rmw". */
  writeMask = 0;
  /** Writes that end behind this are refused: the size of a device or an image. */
  limit: number = Infinity;
  /** Of a disk, when it was opened; 0 for everything else. */
  mediaBytes = 0;
  /** What every change takes part in while some are read, modified and written back. */
  readonly lock: WriteLock = new WriteLock();

  closing = false;
  closed = false;
  /** Operations that have not settled. */
  inFlight = 0;
  onIdle: (() => void) | undefined;

  /** Position of the last call that writes or syncs. */
  order = 0;
  /** What syncs have to tell of writes that failed. */
  readonly reports: WriteReports = new WriteReports();
  /** Writes of several native operations that are not over; syncs wait for them. */
  readonly longWrites: Set<Promise<unknown>> = new Set();

  /** What the kernel asks for. */
  setAlignment(memory: number, offset: number): void {
    this.alignment = { memory, offset, length: offset };
    this.memoryMask = memory - 1;
    this.offsetMask = offset - 1;
    this.ioMask = offset - 1;
    this.writeMask = offset - 1;
    const shift = Math.log2(offset) << SubmissionFlag.alignmentShift;
    if (offset > 1) this.flags = SubmissionFlag.aligned | shift;
    else this.flags = this.#isCached() ? SubmissionFlag.cached : 0;
    if (this.waits) this.flags |= SubmissionFlag.waits;
    this.#updateCareful();
  }

  /**
   * An image behaves like a device with sectors of `size` bytes. Where the file system wants larger
   * units than that, whole sectors are read, modified and written back.
   */
  setSectorSize(size: number): void {
    this.alignment = { memory: this.alignment.memory, offset: size, length: size };
    this.writeMask = size - 1;
    this.offsetMask = Math.max(this.ioMask, size - 1);
    if (this.ioMask > this.writeMask) this.lock.keepOn();
    this.#updateCareful();
  }

  setUnalignedWrites(mode: "reject" | "rmw"): void {
    this.unalignedWrites = mode;
    if (mode === "rmw" && this.offsetMask > 0) this.lock.keepOn();
    this.#updateCareful();
  }

  setLimit(bytes: number): void {
    this.limit = bytes;
    this.#updateCareful();
  }

  #isCached(): boolean {
    return !this.direct && (this.kind === FileKind.regular || this.kind === FileKind.disk);
  }

  #updateCareful(): void {
    this.careful = this.offsetMask > 0 || this.memoryMask > 0 || this.limit !== Infinity;
  }
}
