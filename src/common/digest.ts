// Hashes of data as it passes, without blocking the thread.

import { argumentValue } from "./argument_errors.ts";
import { setImmediate } from "./intrinsics.ts";

/** The hash algorithms of `Bun.CryptoHasher`. */
export type HashName =
  | "blake2b256"
  | "blake2b512"
  | "blake2s256"
  | "md4"
  | "md5"
  | "ripemd160"
  | "sha1"
  | "sha224"
  | "sha256"
  | "sha384"
  | "sha512"
  | "sha512-224"
  | "sha512-256"
  | "sha3-224"
  | "sha3-256"
  | "sha3-384"
  | "sha3-512"
  | "shake128"
  | "shake256";

/** Throws a TypeError that lists the algorithms. */
export function checkHashName(name: string, value: unknown): HashName {
  const known: readonly string[] = Bun.CryptoHasher.algorithms;
  if (typeof value === "string" && known.includes(value)) return value as HashName;
  throw argumentValue(name, `must be one of ${known.join(", ")}`, value);
}

/** Bytes hashed in one turn of the event loop: about a millisecond. */
const SLICE_BYTES = 2 ** 20;
const zeroes = new Uint8Array(SLICE_BYTES);

/** A hash of bytes that arrive in order. After every slice the event loop has a turn. */
export class Digest {
  readonly #hasher: Bun.CryptoHasher;
  /** Bytes hashed in this turn. */
  #inTurn = 0;

  /** Of nothing yet, or of all that another one has hashed. */
  constructor(begun: HashName | Digest) {
    this.#hasher = begun instanceof Digest ? begun.#hasher.copy() : new Bun.CryptoHasher(begun);
  }

  /**
   * Adds data, or as many zeroes. `isOver` is asked before each slice: what is left is not worth hashing then.
   */
  async update(data: Uint8Array | number, isOver: () => boolean): Promise<void> {
    const length = typeof data === "number" ? data : data.byteLength;
    for (let at = 0; at < length && !isOver(); at += SLICE_BYTES) {
      const end = Math.min(at + SLICE_BYTES, length);
      await this.#slice(
        typeof data === "number" ? zeroes.subarray(0, end - at) : data.subarray(at, end),
      );
    }
  }

  async #slice(data: Uint8Array): Promise<void> {
    if (this.#inTurn + data.byteLength > SLICE_BYTES) {
      await new Promise(setImmediate);
      this.#inTurn = 0;
    }
    this.#inTurn += data.byteLength;
    this.#hasher.update(data);
  }

  /** In lower-case hexadecimal. Nothing can be added afterwards. */
  hex(): string {
    return this.#hasher.digest("hex");
  }
}
