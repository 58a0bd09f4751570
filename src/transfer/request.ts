// The request of a longer transfer, as all routes take it.

import type { CancelScope } from "../cancellation/scope.ts";
import type { Offset } from "../common/arguments.ts";
import type { FileState } from "../ring/file_state.ts";
import type { Proactor } from "../ring/proactor.ts";

/** What is changed by a call, however many transfers that takes. */
export interface Change {
  /** Whether anything of it was handed over: then the medium may lack some of it. */
  hasBegun: boolean;
}

export interface Transfer {
  readonly proactor: Proactor;
  readonly file: FileState;
  /** `Kind.read` or `Kind.write`. */
  readonly kind: number;
  /** The caller's buffers, and their bytes as they were at the call. */
  readonly views: readonly Uint8Array[];
  readonly lengths: readonly number[];
  readonly offset: Offset;
  /** Bytes of all views. */
  readonly length: number;
  readonly scope: CancelScope | undefined;
  /** A write that may be unaligned whatever the file says. Default false. */
  readonly mayBeUnaligned?: boolean;
  /** Of a write whose failure syncs have to know of. */
  readonly change?: Change | undefined;
}
