// What file_info.ts learns of a file, and write_lock.ts shares a lock by.

/** Tells one file or device from another, whatever its names: by numbers that are exact also above 2^53. */
export interface Identity {
  /** The same for whoever has it open. */
  readonly name: string;
  /** Another one for what gets the name later: a file with a reused inode, a loop device attached anew; 0 if unknown. */
  readonly instance: bigint;
}
