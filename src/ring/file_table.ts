// Indexes into a ring's native table of files.

import { IoError } from "../errors/io_error.ts";
import { FILES_MAX } from "../native/abi.gen.ts";

export class FileTable {
  readonly #free: number[] = [];
  /** The lowest index that was never used. */
  #next = 0;

  /** Takes a free index. */
  take(): number {
    const index = this.#free.pop();
    if (index !== undefined) return index;
    if (this.#next < FILES_MAX) return this.#next++;
    throw new IoError("EMFILE", {
      reason: `a ring holds at most ${FILES_MAX} files`,
      syscall: "open",
      hint: "Close files, or open some on another Ring",
    });
  }

  give(index: number): void {
    this.#free.push(index);
  }
}
