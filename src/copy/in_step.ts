// Two sides read in step: bytes of both at the same position.

import type { Piece } from "../file/read_ahead.ts";
import type { Pair } from "./differences.ts";
import type { Input } from "./input.ts";

/** A piece of one side; streams have them in memory of their own. */
type SidePiece = Omit<Piece, "data"> & { readonly data: Uint8Array | undefined };
export type Pieces = AsyncGenerator<SidePiece>;

/** One side, at the position that was reached. */
export class Cursor {
  readonly #pieces: Pieces;
  #piece: SidePiece | undefined;
  /** Bytes taken of the piece. */
  #taken = 0;
  /** Bytes taken in all. */
  bytes = 0;

  constructor(pieces: Pieces) {
    this.#pieces = pieces;
  }

  /** The bytes at hand; waits for some, and 0 is the end. */
  async ready(): Promise<number> {
    while (this.#piece === undefined || this.#taken === this.#piece.length) {
      const { value, done } = await this.#pieces.next();
      if (done === true) return 0;
      this.#piece = value;
      this.#taken = 0;
    }
    return this.#piece.length - this.#taken;
  }

  get position(): number {
    return (this.#piece?.part.begin ?? 0) + this.#taken;
  }

  /** The next bytes, at most as many as are at hand. Valid until the next `ready`. Undefined: a hole. */
  take(length: number): Uint8Array | undefined {
    const from = this.#taken;
    this.#taken += length;
    this.bytes += length;
    return this.#piece?.data?.subarray(from, this.#taken);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pieces.return(undefined);
  }
}

/** Pairs up to where the shorter side ends. Each is valid until the next is asked for. */
export async function* inStep(a: Cursor, b: Cursor): AsyncGenerator<Pair> {
  for (;;) {
    const [left, right] = await Promise.all([a.ready(), b.ready()]);
    const length = Math.min(left, right);
    if (length === 0) return;
    yield { begin: a.position, length, a: a.take(length), b: b.take(length) };
  }
}

/** The pieces of a stream, as it gives them. It is read on between the spans. */
export async function* streamPieces(
  input: Input,
  offset: number,
  spans: readonly { readonly begin: number; readonly end: number }[],
): Pieces {
  let at = -offset;
  for (const { begin, end } of spans) {
    await input.skip(begin - at);
    for (at = begin; at < end; ) {
      const data = await input.take(end - at);
      const length = data.byteLength;
      if (length === 0) return;
      yield { part: { begin: at, length, isHole: false }, length, data };
      at += length;
    }
  }
}
