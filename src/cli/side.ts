// One side of a comparison: a file or disk, read past the cache from an offset, or standard input.

import type { Bytes } from "../common/arguments.ts";
import { Input } from "../copy/input.ts";
import { File } from "../file/file.ts";
import { Exit, Stop } from "./exit.ts";
import { look, openSource, type Place, refuseBeyond, thereIsNo } from "./places.ts";
import { type StandardInput, standardInput } from "./standard_input.ts";
import { printable } from "./terminal.ts";

interface SideInit {
  /** The path as typed. */
  readonly path: string;
  /** "other" for a stream. */
  readonly kind: Place["kind"];
  /** Bytes to its end; undefined if that is known only by reading. */
  readonly end: number | undefined;
  readonly source: File | Input;
  /** Position of offset 0. */
  readonly start: number;
  /** Offset where the comparison begins. */
  readonly offset: number;
  readonly standard?: StandardInput | undefined;
}

export class Side implements AsyncDisposable {
  readonly path: string;
  readonly kind: Place["kind"];
  readonly offset: number;
  /** Bytes from `offset` to the end; Infinity until a read has found it. */
  rest: number;
  /** Whether the end must be found by reading: one chunk after the other, in order. */
  readonly inOrder: boolean;
  readonly #init: SideInit;

  constructor(init: SideInit) {
    const { path, kind, end, offset } = init;
    this.path = path;
    this.kind = kind;
    this.offset = offset;
    this.inOrder = end === undefined;
    this.rest = end === undefined ? Infinity : Math.max(0, end - offset);
    this.#init = init;
  }

  /** Size in bytes; undefined while unknown. */
  get size(): number | undefined {
    if (this.#init.end !== undefined) return this.#init.end;
    return this.rest === Infinity ? undefined : this.offset + this.rest;
  }

  /** Reads `at` bytes after `offset`. Fewer bytes only at the end. */
  async read(data: Bytes, at: number): Promise<number> {
    const { source, start } = this.#init;
    if (source instanceof Input && at === 0) await source.skip(this.offset);
    const bytes = await (source instanceof File
      ? source.readAt(data, start + this.offset + at)
      : source.fill(data));
    if (this.inOrder && bytes < data.byteLength) this.rest = at + bytes;
    return bytes;
  }

  /** Ends a pending read of a stream. */
  stop(reason: unknown): void {
    const { source } = this.#init;
    if (source instanceof Input) source.cancel(reason);
  }

  /** Records that so many bytes were compared: the next reader of standard input continues after them. */
  compared(bytes: number): void {
    this.#init.standard?.took(this.offset + bytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { source } = this.#init;
    if (source instanceof File) await source.close();
    else source.cancel(undefined);
  }
}

export async function openSide(path: string, offset: number): Promise<Side> {
  if (path === "-") return inputSide(offset);
  const place = await look(path);
  if (place.kind === "missing") throw thereIsNo(place);
  if (place.kind === "other") {
    throw new Stop(
      Exit.usage,
      `${printable(path)} has no end`,
      "Only files and disks can be compared",
    );
  }
  refuseBeyond(place, offset, 0);
  const { kind, end } = place;
  return new Side({ path, kind, end, source: await openPastCache(place), start: 0, offset });
}

async function inputSide(offset: number): Promise<Side> {
  const path = "-";
  const standard = await standardInput();
  if (standard === undefined) {
    const source = new Input(Bun.stdin.stream());
    return new Side({ path, kind: "other", end: undefined, source, start: 0, offset });
  }
  const { place, file: source, start } = standard;
  refuseBeyond(place, offset, 0);
  await passCache(source, place.kind);
  const { kind, end } = place;
  return new Side({ path, kind, end, source, start, offset, standard });
}

async function openPastCache(place: Place): Promise<File> {
  const file = await openSource(place, false);
  try {
    await passCache(file, place.kind);
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}

async function passCache(file: File, kind: Place["kind"]): Promise<void> {
  try {
    await file.invalidateCache();
  } catch (error) {
    // Disks are read past the cache anyway, and dropping the cache needs more privileges than reading.
    if (kind !== "disk") throw error;
  }
}
