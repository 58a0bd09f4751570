// The identity of a file or device: equal for all its names, as exact numbers.

/** Identifies a file or device, whatever its names. Exact also above 2^53. */
export interface Identity {
  /** Equal for all who have it open. */
  readonly name: string;
  /**
   * Differs for a later owner of the name: a file with a reused inode, or a loop device attached anew. 0 if
   * unknown.
   */
  readonly instance: bigint;
}
