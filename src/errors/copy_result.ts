// The result of a copy; also the `result` of the error that ended one.

/** A range of the source that could not be read. */
export interface ReadError {
  /** Bytes from the start of the source. */
  readonly offset: number;
  readonly length: number;
  /** Of the error, `EIO` as a rule. */
  readonly code: string;
}

export interface CopyResult {
  /** Bytes written. */
  readonly bytesCopied: number;
  /** Bytes left out as holes. */
  readonly bytesSkipped: number;
  /**
   * Bytes from `sourceOffset` on that are done without a gap: after a failure, add it to both offsets
   * to go on from there. After an abort the same target will do; after a write or sync that failed, one
   * that is opened anew.
   */
  readonly prefix: number;
  readonly durationMs: number;
  readonly verified: boolean;
  readonly digest: string | undefined;
  /** Only with `onReadError: "skip"`. */
  readonly readErrors: ReadError[];
}
