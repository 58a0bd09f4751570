// The state of one open file, apart from its `File`: the File object may be collected while operations run; the
// descriptor is then closed when they have settled.

import type { Identity } from "../locks/identity.ts";
import { WriteLock } from "../locks/write_lock.ts";
import { FileKind, SubmissionFlag } from "../native/abi.gen.ts";
import { WriteReports } from "./write_reports.ts";

/** What transfers of a file must be multiples of. */
export interface Alignment {
  /** Alignment of memory addresses in bytes; 1 where nothing is required. */
  readonly memory: number;
  /** Alignment of offsets in bytes. */
  readonly offset: number;
  /** Alignment of lengths in bytes. */
  readonly length: number;
}

export class FileState {
  fd = -1;
  /** Index in the ring's native table of files. */
  index = -1;
  path: string | undefined;
  /** `FileKind` of the ABI. */
  kind = 0;
  /** Identifies the file; undefined for a device in memory. */
  identity: Identity | undefined;
  readable = true;
  writable = true;
  direct = false;
  /** Opened with `dsync`; unknown of a descriptor that was adopted. */
  dsync = false;
  ownsFd = true;
  unalignedWrites: "reject" | "rmw" = "reject";
  alignment: Alignment = { memory: 1, offset: 1, length: 1 };
  /** Whether a submission may wait for the server of the file (FUSE). Set it before the alignment. */
  waits = false;
  /** Bits of `Submission.flags` set in every transfer. */
  flags = 0;
  /** Whether transfers need the slow checks: some field below is not at its default. */
  careful = false;
  /** Alignment masks for a transfer that goes straight to the kernel: of offsets and lengths ... */
  offsetMask = 0;
  /** ... and of addresses. */
  memoryMask = 0;
  /** Alignment mask of the kernel, for offsets and lengths. */
  ioMask = 0;
  /** Alignment mask of writes, unless `unalignedWrites` is "rmw". */
  writeMask = 0;
  /** Writes that end beyond this are refused: the size in bytes of a device or an image. */
  limit: number = Infinity;
  /** Size of a disk in bytes when it was opened; 0 for everything else. */
  mediaBytes = 0;
  /** The lock that every change takes part in while a read-modify-write is running. */
  readonly lock: WriteLock = new WriteLock();

  closing = false;
  closed = false;
  /** Operations that have not settled. */
  inFlight = 0;
  onIdle: (() => void) | undefined;

  /** Sequence number of the last call that writes or syncs. */
  order = 0;
  /** Failed writes that syncs still have to report. */
  readonly reports: WriteReports = new WriteReports();
  /** Running writes of several native operations; syncs wait for them. */
  readonly longWrites: Set<Promise<unknown>> = new Set();

  /** Sets the alignment that the kernel requires, in bytes. */
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
   * Makes an image behave like a device with sectors of `size` bytes. Where the file system requires larger units,
   * whole units are read, modified and written back.
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
