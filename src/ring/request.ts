// Requests of the library itself (opens, syncs, parts of longer transfers), and their outcomes.

import type { CancelScope } from "../cancellation/scope.ts";
import type { IoError } from "../errors/io_error.ts";
import type { BounceBuffers } from "../memory/bounce_buffers.ts";
import type { FileState } from "./file_state.ts";

/** What became of one of the library's own operations. */
export interface Outcome {
  /** `abi.Status` */
  readonly status: number;
  /** Positive, 0 if the system had nothing to say. */
  readonly errno: number;
  readonly transferred: number;
  readonly detail: number;
  /** Bounce memory that the operation used and that is now the caller's to release. */
  readonly block: number;
  /** Set instead of a system error: aborted, timed out, or the memory could not be prepared. */
  readonly error: IoError | undefined;
}

/** One native operation of a longer one. */
export interface Request {
  readonly kind: number;
  readonly fd: number;
  /** The file whose syncs and close wait for it, if any. */
  readonly file: FileState | undefined;
  readonly offset?: number | bigint;
  readonly length?: number;
  /** Bytes of bounce memory to wait for; 0 for none. */
  readonly blockBytes?: number;
  /** Fills that memory right before the kernel sees it. Throws an IoError to give up. */
  readonly fill?: (memory: Uint8Array<ArrayBuffer>) => void;
  readonly argument?: number;
  readonly mode?: number;
  readonly scope?: CancelScope | undefined;
}

/** Who carries out requests: a ring. */
export interface Requests {
  /** Never rejects. */
  start(request: Request): Promise<Outcome>;
  /** Where the memory of `Outcome.block` is. */
  readonly bounce: BounceBuffers;
  /** Lets go of `Outcome.block`. */
  releaseBlock(block: number): void;
}
