// One side of a comparison: a file or disk, read past the cache from an offset, or standard input.

import type { CancelScope } from "../cancellation/scope.ts";
import { type Pieces, streamPieces } from "../copy/in_step.ts";
import { Input } from "../copy/input.ts";
import { File } from "../file/file.ts";
import { HASHED_BYTES, piecesOf } from "../file/read_ahead.ts";
import type { Packing } from "./contents.ts";
import { usage } from "./exit.ts";
import { type Place, refuseBeyond } from "./places.ts";
import { openSource, type Source } from "./source.ts";
import { printable } from "./terminal.ts";

export interface Sizes {
  /** Bytes to compare; Infinity if an end must be found. */
  readonly length: number;
  /** Bytes of one read, and reads ahead. */
  readonly bs: number;
  readonly depth: number;
  /** Whether what is read is hashed. */
  readonly hash: boolean;
}

export class Side implements AsyncDisposable {
  readonly path: string;
  /** "other" for a stream. */
  readonly kind: Place["kind"];
  readonly offset: number;
  /** How it is packed, if it is a file and is not unpacked. */
  readonly packing: Packing | undefined;
  /** Bytes from `offset` to the end; Infinity until a read has found it. */
  rest: number;
  /** Whether the end must be found by reading: one chunk after the other, in order. */
  readonly inOrder: boolean;
  readonly #source: Source;
  readonly #data: File | Input;

  constructor(path: string, source: Source, offset: number, packing: Packing | undefined) {
    const { place, data, end } = source;
    this.#source = source;
    this.#data = data instanceof File ? data : new Input(data);
    this.path = path;
    this.kind = place?.kind ?? "other";
    this.offset = offset;
    this.packing = packing;
    this.inOrder = end === undefined || this.#data instanceof Input;
    this.rest = end === undefined || this.inOrder ? Infinity : Math.max(0, end - offset);
  }

  /** Size in bytes; undefined while unknown. */
  get size(): number | undefined {
    if (this.#source.end !== undefined) return this.#source.end;
    return this.rest === Infinity ? undefined : this.offset + this.rest;
  }

  /** What it has from `offset` on, at most `length` bytes. */
  pieces({ length, bs, depth, hash }: Sizes, scope: CancelScope): Pieces {
    const from = this.#data;
    const start = this.#source.start + this.offset;
    const spans = [{ begin: 0, end: Math.min(length, this.rest) }];
    if (from instanceof Input) return streamPieces(from, start, spans);
    const region = { start, spans, isKnown: !this.inOrder };
    return piecesOf(from, region, scope, {
      chunkSize: bs,
      depth,
      holeSize: hash ? HASHED_BYTES : Infinity,
    });
  }

  /** Ends a pending read of a stream. */
  stop(reason: unknown): void {
    if (this.#data instanceof Input) this.#data.cancel(reason);
  }

  /** Records that so many bytes were compared: the next reader of standard input continues after them. */
  compared(bytes: number): void {
    this.#source.took(this.offset + bytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop(undefined);
    await this.#source[Symbol.asyncDispose]();
  }
}

export async function openSide(
  path: string,
  offset: number,
  stop: AbortSignal,
  unpacks: (packing: Packing) => boolean = () => false,
): Promise<Side> {
  let packing: Packing | undefined;
  const recognised = (found: Packing | undefined): void => {
    packing = found;
  };
  const options = { direct: false, skip: offset, stop, unpacks, recognised };
  const source = await openSource(path, options);
  try {
    refuseEndless(source);
    refuseBeyond(source, offset, 0);
    if (source.data instanceof File) await passCache(source.data);
  } catch (error) {
    await source[Symbol.asyncDispose]();
    throw error;
  }
  return new Side(path, source, offset, packing);
}

function refuseEndless({ path, place }: Source): void {
  if (place?.kind !== "other") return;
  throw usage(`${printable(path)} has no end`, "Only files and disks can be compared");
}

async function passCache(file: File): Promise<void> {
  try {
    await file.invalidateCache();
  } catch (error) {
    // Disks are read past the cache anyway, and dropping the cache needs more privileges than reading.
    if (file.kind !== "disk") throw error;
  }
}
