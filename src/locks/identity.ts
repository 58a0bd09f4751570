// The identity of a file or device: equal for all its names, as exact numbers.

/** Tells one file or device from another, whatever its names: by numbers that are exact also above 2^53. */
export interface Identity {
  /** The same for whoever has it open. */
  readonly name: string;
  /** Another one for what gets the name later: a file with a reused inode, a loop device attached anew; 0 if unknown. */
  readonly instance: bigint;
}
