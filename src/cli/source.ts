// What a copy reads: a file or disk, standard input, a pipe, or a URL; unpacked if it is compressed.

import { closeSync, constants, openSync } from "node:fs";
import type { Bytes } from "../common/arguments.ts";
import type { File } from "../file/file.ts";
import { guess, PACKED_BYTES_MAX, type Packing, packingOf } from "./contents.ts";
import { Download, isUrl } from "./download.ts";
import { look, openForReading, type Place, thereIsNo } from "./places.ts";
import { pathOf, statOf } from "./raw_words.ts";
import { STANDARD_INPUT, standardInput } from "./standard_input.ts";
import { type ByteStream, begun, streamOf, until } from "./streams.ts";
import { type StreamPacking, Unpacking, unpack } from "./unpack.ts";
import { type Positions, withoutPositions, zipImage } from "./zip.ts";

export interface SourceOptions {
  /** Whether files are read past the page cache. */
  readonly direct: boolean;
  readonly unpacks: (packing: Packing) => boolean;
  /** ByteStream of it that will be left out. */
  readonly skip: number;
  readonly stop: AbortSignal;
  /** Called when its beginning is known, which may be when it is read. */
  readonly recognised?: (packing: Packing | undefined, contents: string) => void;
}

function recognise(head: Uint8Array, options: SourceOptions): Packing | undefined {
  const packing = packingOf(head);
  options.recognised?.(packing, guess(head));
  return packing !== undefined && options.unpacks(packing) ? packing : undefined;
}

export interface Source extends AsyncDisposable {
  readonly path: string;
  /** Undefined for a stream. */
  readonly place: Place | undefined;
  readonly data: File | ByteStream;
  /** Offset in `data` of its first byte. */
  readonly start: number;
  /** Its size in bytes, unpacked; undefined if that is known only by reading, or not yet. */
  end: number | undefined;
  /** For a stream, known once its beginning is. */
  readonly unpacking: Unpacking | undefined;
  /** Whether it has the same bytes when it is opened again. */
  readonly isRereadable: boolean;
  /** Records that so many of its bytes were taken: the next reader of standard input continues after them. */
  took(bytes: number): void;
}

/** Rejects if there is none, or it cannot be read or unpacked. */
export async function openSource(path: string, options: SourceOptions): Promise<Source> {
  const stack = new AsyncDisposableStack();
  const closing = new AbortController();
  stack.defer(() => closing.abort());
  const stop = AbortSignal.any([options.stop, closing.signal]);
  try {
    const parts = await partsOf(path, { ...options, stop }, stack);
    return Object.assign(parts, { [Symbol.asyncDispose]: () => stack.disposeAsync() });
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

type Parts = Omit<Source, keyof AsyncDisposable>;

async function partsOf(
  path: string,
  options: SourceOptions,
  stack: AsyncDisposableStack,
): Promise<Parts> {
  if (isUrl(path)) return ofUrl(path, options);
  if (path === "-") {
    const input = await standardInput();
    if (input === undefined) return ofStream(STANDARD_INPUT, Bun.stdin.stream(), options);
    const { file: data, place, start } = stack.use(input);
    const took = (bytes: number): void => input.took(bytes);
    const parts = await ofFile({ path: place.path, place, data, start, took }, options);
    return { ...parts, isRereadable: false };
  }
  if ((await statOf(path))?.isFIFO() === true) {
    const bytes = openPipe(path);
    stack.defer(() => releasePipe(path));
    return ofStream(path, bytes, options);
  }
  const place = await look(path, "source");
  if (place.kind === "missing") throw thereIsNo(place);
  const file = stack.use(await openForReading(place, options));
  return ofFile({ path, place, data: file, start: 0, took: () => {} }, options);
}

// Files ----------------------------------------------------------------------------------------------------

type Opened = Pick<Parts, "path" | "start" | "took"> & {
  readonly place: Place;
  readonly data: File;
};

/** A disk is copied as it is: it is read for a backup, and ends somewhere behind an archive. */
async function ofFile(opened: Opened, options: SourceOptions): Promise<Parts> {
  const { path, place, data, start } = opened;
  const { end } = place;
  const isRereadable = place.kind !== "other";
  const plain = { ...opened, end, unpacking: undefined, isRereadable };
  if (place.kind !== "regular") return plain;
  const read = async (from: number, to: number): Promise<Bytes> => {
    const bytes = new Uint8Array(Math.max(0, to - from));
    return bytes.subarray(0, await data.readAt(bytes, start + from));
  };
  const stream = (from: number, to = end): ByteStream =>
    data.readable({ start: start + from, end: to === undefined ? undefined : start + to });
  const head = await read(0, PACKED_BYTES_MAX);
  const packing = recognise(head, options);
  if (packing === undefined) return plain;
  const packed =
    packing === "zip"
      ? await unzipped(path, { size: end, read, stream })
      : unpackedBy(packing, stream(0), path, end, options);
  return { ...plain, ...packed, took: () => opened.took(packed.unpacking.read) };
}

type Packed = Pick<Source, "data" | "start" | "end"> & { readonly unpacking: Unpacking };

async function unzipped(path: string, from: Positions): Promise<Packed> {
  const image = await zipImage(from, path);
  const unpacking = new Unpacking("zip", image.packedSize);
  const data = image.unpack(unpacking.counted(image.packed));
  return { data, start: 0, end: image.size, unpacking };
}

function unpackedBy(
  packing: StreamPacking,
  bytes: ByteStream,
  path: string,
  size: number | undefined,
  { stop }: SourceOptions,
): Packed {
  const unpacking = new Unpacking(packing, size);
  const data = unpack(packing, unpacking.counted(bytes), path, stop);
  return { data, start: 0, end: undefined, unpacking };
}

// Streams --------------------------------------------------------------------------------------------------

async function ofUrl(path: string, options: SourceOptions): Promise<Parts> {
  const download = await Download.open(path, options.stop);
  const shared = { path, place: undefined, isRereadable: true, took: () => {} };
  const [head, whole] = await begun(download.stream(0), PACKED_BYTES_MAX);
  const packing = recognise(head, options);
  if (packing !== undefined && packing !== "zip") {
    return { ...shared, ...unpackedBy(packing, whole, path, download.size, options) };
  }
  const end = download.size;
  const plain = { ...shared, end, unpacking: undefined };
  const wantsWhole = packing === undefined && (options.skip === 0 || !download.sendsParts);
  if (wantsWhole) return { ...plain, data: whole, start: 0 };
  await whole.cancel();
  if (packing === "zip") return { ...shared, ...(await unzipped(path, download)) };
  return { ...plain, data: download.stream(options.skip), start: -options.skip };
}

function ofStream(path: string, bytes: ByteStream, options: SourceOptions): Parts {
  const { stop } = options;
  const parts = {
    ...{ path, place: undefined, start: 0, end: undefined, isRereadable: false },
    unpacking: undefined as Unpacking | undefined,
    took: (): void => {},
    data: streamOf(unpacked()),
  };
  /** Recognised when it is read: a pipe may deliver nothing for a long time. */
  async function* unpacked(): AsyncGenerator<Bytes> {
    const [head, whole] = await begun(streamOf(until(stop, bytes)), PACKED_BYTES_MAX);
    const packing = recognise(head, options);
    if (packing === undefined) return yield* whole;
    if (packing === "zip") throw withoutPositions(path);
    parts.unpacking = new Unpacking(packing, undefined);
    yield* unpack(packing, parts.unpacking.counted(whole), path, stop);
  }
  return parts;
}

function openPipe(path: string): ByteStream {
  const name = pathOf(path);
  return (typeof name === "string" ? Bun.file(name) : Bun.file(new Uint8Array(name))).stream();
}

/** Ends an open that waits for a writer: the process would wait for it. */
function releasePipe(path: string): void {
  try {
    closeSync(openSync(pathOf(path), constants.O_WRONLY | constants.O_NONBLOCK));
  } catch {
    // Nothing waits.
  }
}
