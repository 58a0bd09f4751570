// The result of a copy; also the `result` of the error that ended one.

/** A range of the source that could not be read. */
export interface ReadError {
  /** Bytes from the start of the source. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
  /** The code of the error; usually `EIO`. */
  readonly code: string;
}

/** How bytes got to the target: see `CopyResult.method`. */
export type CopyMethod = "copied" | "copy_file_range" | "reflink";

/** What was copied; with an error, up to then. */
export interface CopyResult {
  /** Bytes written. */
  readonly bytesCopied: number;
  /** Bytes left out as holes. */
  readonly bytesSkipped: number;
  /**
   * Contiguous bytes from `sourceOffset` that are done. To resume after a failure, add it to both offsets. After an
   * abort the same target can be used; after a failed write or sync, open the target anew. With `map`: the bytes before
   * the first that is still to be tried.
   */
  readonly prefix: number;
  /**
   * How most of the bytes were copied. `copied`: read and written. `copy_file_range`: by the kernel, which may have
   * shared blocks, too. `reflink`: not at all, since both files share the blocks until one of them is written to.
   */
  readonly method: CopyMethod;
  /** Milliseconds that it took, with syncs and verification. */
  readonly durationMs: number;
  /** Whether the target was read back and compared: `verify` was set, and it came that far. */
  readonly verified: boolean;
  /** Of the source, in lower-case hexadecimal; undefined without `hash`, or if not everything was read. */
  readonly digest: string | undefined;
  /** Filled only with `onReadError: "skip"`. */
  readonly readErrors: ReadError[];
}
