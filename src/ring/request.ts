// Requests of the library itself (opens, syncs, parts of longer transfers), and their outcomes.

import type { CancelScope } from "../cancellation/scope.ts";
import type { IoError } from "../errors/io_error.ts";
import type { BounceBuffers } from "../memory/bounce_buffers.ts";
import { Status } from "../native/abi.gen.ts";
import type { FileState } from "./file_state.ts";

/** The outcome of a request. */
export interface Outcome {
  /** `abi.Status` */
  readonly status: number;
  /** Positive; 0 if there is no system error. */
  readonly errno: number;
  readonly transferred: number;
  readonly detail: number;
  /** The bounce block that the request used; the caller must release it. */
  readonly block: number;
  /** An error that is not the system's: aborted, timed out, or the memory could not be prepared. */
  readonly error: IoError | undefined;
}

/** The outcome of a request that was never handed over. */
export function refusedOutcome(block: number, error: IoError): Outcome {
  return { status: Status.canceled, errno: 0, transferred: 0, detail: 0, block, error };
}

/** One native operation of a longer one. */
export interface Request {
  readonly kind: number;
  readonly fd: number;
  /** The file whose syncs and close wait for this request, if any. */
  readonly file: FileState | undefined;
  readonly offset?: number | bigint;
  readonly length?: number;
  /** Size of the bounce block in bytes; the request waits for one. 0 for none. */
  readonly blockBytes?: number;
  /** Fills the block right before the kernel sees it. Throws an IoError to give up. */
  readonly fill?: (memory: Uint8Array<ArrayBuffer>) => void;
  readonly argument?: number;
  readonly mode?: number;
  readonly scope?: CancelScope | undefined;
}

/** Carries out requests: a ring. */
export interface Requests {
  /** Never rejects. */
  start(request: Request): Promise<Outcome>;
  /** The memory of `Outcome.block`. */
  readonly bounce: BounceBuffers;
  /** Releases `Outcome.block`. */
  releaseBlock(block: number): void;
}
