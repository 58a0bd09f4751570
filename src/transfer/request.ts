// The request of a longer transfer, as all routes take it.

import type { CancelScope } from "../cancellation/scope.ts";
import type { Offset } from "../common/arguments.ts";
import type { FileState } from "../ring/file_state.ts";
import type { Proactor } from "../ring/proactor.ts";

/** A change by one call, however many transfers it takes. */
export interface Change {
  /** Whether part of it was handed over; the medium may lack some of it then. */
  hasBegun: boolean;
}

export interface Transfer {
  readonly proactor: Proactor;
  readonly file: FileState;
  /** `Kind.read` or `Kind.write`. */
  readonly kind: number;
  /** The caller's buffers, as byte views made at the call. */
  readonly views: readonly Uint8Array[];
  readonly lengths: readonly number[];
  readonly offset: Offset;
  /** Total bytes of all views. */
  readonly length: number;
  readonly scope: CancelScope | undefined;
  /** A write that may be unaligned whatever the options of the file. Default false. */
  readonly mayBeUnaligned?: boolean;
  /** Set for a write whose failure syncs must report. */
  readonly change?: Change | undefined;
}
