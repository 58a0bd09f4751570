// One side of a comparison: a file or disk, read past the cache from somewhere on.

import type { Bytes } from "../arguments.ts";
import type { File } from "../file.ts";
import { Exit, Stop } from "./exit.ts";
import { look, openSource, type Place, refuseBeyond } from "./places.ts";

export class Side implements AsyncDisposable {
  /** Bytes from `offset` to the end; Infinity until a read has found that. */
  rest: number;
  /** Whether an end has to be found by reading: one chunk after the other, in order. */
  readonly inOrder: boolean;
  readonly #place: Place;
  readonly #file: File;

  constructor(
    place: Place,
    file: File,
    /** Where the comparison begins. */
    readonly offset: number,
  ) {
    this.#place = place;
    this.#file = file;
    const { end } = place;
    this.inOrder = end === undefined;
    this.rest = end === undefined ? Infinity : Math.max(0, end - offset);
  }

  /** As typed. */
  get path(): string {
    return this.#place.path;
  }

  get kind(): Place["kind"] {
    return this.#place.kind;
  }

  /** Bytes; undefined as long as they are not known. */
  get size(): number | undefined {
    if (this.#place.end !== undefined) return this.#place.end;
    return this.rest === Infinity ? undefined : this.offset + this.rest;
  }

  /** Reads what stands `at` bytes behind `offset`. Fewer bytes only at the end. */
  async read(data: Bytes, at: number): Promise<number> {
    const bytes = await this.#file.readAt(data, this.offset + at);
    if (this.inOrder && bytes < data.byteLength) this.rest = at + bytes;
    return bytes;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#file.close();
  }
}

export async function openSide(path: string, offset: number): Promise<Side> {
  const place = await look(path);
  if (place.kind === "missing") throw new Stop(Exit.failed, `there is no ${path}`);
  if (place.kind === "other") {
    throw new Stop(Exit.usage, `${path} has no end`, "Only files and disks can be compared");
  }
  refuseBeyond(place, offset, 0);
  return new Side(place, await openPastCache(place), offset);
}

async function openPastCache(place: Place): Promise<File> {
  const file = await openSource(place, false);
  try {
    await file.invalidateCache();
  } catch (error) {
    // Disks are read past the cache anyway; emptying it needs more rights than reading.
    if (place.kind === "disk") return file;
    await file.close();
    throw error;
  }
  return file;
}
