// The digest of what a copy moves: chunks are hashed in the order of the source, whatever order they are read in.

import type { Bytes } from "../common/arguments.ts";
import { setImmediate } from "../common/intrinsics.ts";

/** Bytes hashed in one turn of the event loop: about a millisecond. */
const SLICE_BYTES = 2 ** 20;

/** A chunk's place in the order. It must be ended, whether or not the chunk was hashed. */
export interface Place {
  readonly before: Promise<void>;
  end(): void;
}

export class OrderedDigest {
  readonly #hasher: Bun.CryptoHasher | undefined;
  #last: Promise<void> = Promise.resolve();
  #hex: string | undefined;

  constructor(isWanted: boolean) {
    this.#hasher = isWanted ? new Bun.CryptoHasher("sha256") : undefined;
  }

  takePlace(): Place {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    return { before, end: resolve };
  }

  /** Hashes a chunk when its place has come. Does nothing from when `isOver`. */
  async update(data: Bytes, place: Place, isOver: () => boolean): Promise<void> {
    if (this.#hasher === undefined) return;
    await place.before;
    for (let at = 0; at < data.byteLength; at += SLICE_BYTES) {
      if (isOver()) return;
      if (at > 0) await new Promise(setImmediate);
      this.#hasher.update(data.subarray(at, at + SLICE_BYTES));
    }
  }

  /** Resolves when all places taken so far have ended. */
  idle(): Promise<void> {
    return this.#last;
  }

  /** Hexadecimal; undefined if no digest is wanted. Nothing may be hashed afterwards. */
  get hex(): string | undefined {
    this.#hex ??= this.#hasher?.digest("hex");
    return this.#hex;
  }
}
