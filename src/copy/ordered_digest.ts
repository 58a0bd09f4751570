// The digest of what a copy moves: chunks are hashed in the order of the source, whatever order they are read in.

import type { Bytes } from "../common/arguments.ts";
import { Digest, type HashName } from "../common/digest.ts";

/** A chunk's place in the order. It must be ended, whether or not the chunk was hashed. */
export interface Place {
  readonly before: Promise<void>;
  end(): void;
}

export class OrderedDigest {
  readonly #digest: Digest | undefined;
  #last: Promise<void> = Promise.resolve();
  #hex: string | undefined;

  constructor(name: HashName | undefined) {
    this.#digest = name === undefined ? undefined : new Digest(name);
  }

  takePlace(): Place {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    return { before, end: resolve };
  }

  /** Hashes a chunk when its place has come. Does nothing from when `isOver`. */
  async update(data: Bytes, place: Place, isOver: () => boolean): Promise<void> {
    if (this.#digest === undefined) return;
    await place.before;
    await this.#digest.update(data, isOver);
  }

  /** Resolves when all places taken so far have ended. */
  idle(): Promise<void> {
    return this.#last;
  }

  /** Hexadecimal; undefined if no digest is wanted. Nothing may be hashed afterwards. */
  get hex(): string | undefined {
    this.#hex ??= this.#digest?.hex();
    return this.#hex;
  }
}
