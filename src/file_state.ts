// What core.ts, file.ts and transfer.ts share about one open file. The File object itself may be
// collected while operations run; this record then closes the descriptor when they have settled.

import type { IoError } from "./errors.ts";
import { SubmissionFlag } from "./native/abi.gen.ts";

export interface Alignment {
  /** Bytes that addresses in memory are multiples of; 1 where nothing is required. */
  readonly memory: number;
  /** Bytes that positions are multiples of. */
  readonly offset: number;
  /** Bytes that lengths are multiples of. */
  readonly length: number;
}

/** A sync that has been called and not settled. */
export interface PendingSync {
  readonly order: number;
  /** The first failure among the writes it covers. */
  cause: IoError | undefined;
}

/** Whether the caller asked for this end: then it says nothing about the medium. */
export function wasAsked(error: IoError): boolean {
  return error.code === "ABORT_ERR" || error.code === "ERR_TIMEOUT";
}

export class FileState {
  fd = -1;
  /** Place in the ring's native table of files. */
  index = -1;
  path: string | undefined;
  /** `FileKind` of the ABI. */
  kind = 0;
  readable = true;
  writable = true;
  direct = false;
  ownsFd = true;
  unalignedWrites: "reject" | "rmw" = "reject";
  alignment: Alignment = { memory: 1, offset: 1, length: 1 };
  /** Bits of `Submission.flags` for every transfer. */
  flags = 0;
  /** Low bits of an offset or length that must be 0. */
  offsetMask = 0;
  memoryMask = 0;

  closing = false;
  closed = false;
  /** Operations that have not settled. */
  inFlight = 0;
  onIdle: (() => void) | undefined;

  /** Position of the last call that writes or syncs. */
  order = 0;
  readonly pendingSyncs: Set<PendingSync> = new Set();
  /** Why no sync can succeed any more: the medium lacks data that was written. */
  syncFailure: IoError | undefined;
  /** An aborted write that no sync has reported yet. */
  unreported: IoError | undefined;
  /** Writes of several native operations that are not over; syncs wait for them. */
  readonly longWrites: Set<Promise<unknown>> = new Set();

  setAlignment(memory: number, offset: number): void {
    this.alignment = { memory, offset, length: offset };
    this.memoryMask = memory - 1;
    this.offsetMask = offset - 1;
    const shift = Math.log2(offset) << SubmissionFlag.alignmentShift;
    this.flags = offset > 1 ? SubmissionFlag.aligned | shift : 0;
  }

  /** A write that had reached the kernel failed: no sync that covers it may succeed. */
  writeFailed(order: number, error: IoError): void {
    let reported = false;
    for (const sync of this.pendingSyncs) {
      if (sync.order <= order) continue;
      sync.cause ??= error;
      reported = true;
    }
    if (!wasAsked(error)) this.syncFailure ??= error;
    else if (!reported) this.unreported ??= error;
  }
}
