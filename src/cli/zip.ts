// The one image in a zip archive: found by the central directory at its end (APPNOTE.TXT of PKWARE, sections 4.3.7 to
// 4.3.16), unpacked as a stream, its length and CRC-32 checked.

import type { Bytes } from "../common/arguments.ts";
import { failure, type Stop } from "./exit.ts";
import { type ByteStream, streamOf } from "./streams.ts";
import { printable } from "./terminal.ts";
import { Damaged, inflated, UNPACKED_CHUNK_BYTES, zlib } from "./unpack.ts";

export interface Positions {
  readonly size: number | undefined;
  read(start: number, end: number): Promise<Bytes>;
  stream(start: number, end?: number): ByteStream;
}

export interface ZipImage {
  readonly name: string;
  readonly size: number;
  readonly packedSize: number;
  readonly packed: ByteStream;
  /** The image, from its compressed bytes. */
  unpack(packed: ByteStream): ByteStream;
}

interface Entry {
  readonly name: string;
  readonly flags: number;
  readonly method: number;
  readonly crc: number;
  readonly packedSize: number;
  readonly size: number;
  /** Position of the local header. */
  readonly header: number;
}

const STORED = 0;
const DEFLATED = 8;
const ENCRYPTED = 1;

const END_BYTES = 22;
const END64_LOCATOR_BYTES = 20;
/** Where the end is looked for: a comment may follow it. */
const TAIL_BYTES_MAX = END64_LOCATOR_BYTES + END_BYTES + 65_535;
const END64_BYTES = 56;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
const DIRECTORY_BYTES_MAX = 16 * 2 ** 20;
/** Values that say: the value is in the zip64 record. */
const IN_ZIP64_16 = 0xffff;
const IN_ZIP64_32 = 0xffff_ffff;
const NAMES_SHOWN = 5;

/** If there are several files, names that end so are images. */
const IMAGE_NAME = /\.(img|iso|raw|bin|dd|wic|dsk|usb|hddimg|sdcard)$/i;

/**
 * The image of an archive: its only file, or the only one that is named like an image. `name` appears in errors.
 *
 * @throws Damaged; Stop if there is not exactly one image, or it is encrypted or compressed in another way.
 */
export async function zipImage(source: Positions, name: string): Promise<ZipImage> {
  const entry = theImage(await entriesOf(source, name), name);
  const of = `${printable(entry.name)} in ${printable(name)}`;
  if ((entry.flags & ENCRYPTED) !== 0) throw failure(`${of} is encrypted`, UNZIP);
  if (entry.method !== STORED && entry.method !== DEFLATED) {
    throw failure(`${of} is compressed with method ${entry.method}`, UNZIP);
  }
  const header = view(await source.read(entry.header, entry.header + LOCAL_BYTES));
  if (header.byteLength < LOCAL_BYTES || header.getUint32(0, true) !== 0x0403_4b50) {
    throw new Damaged(name, `zip: ${entry.name} has no header`);
  }
  const start =
    entry.header + LOCAL_BYTES + header.getUint16(26, true) + header.getUint16(28, true);
  return {
    ...{ name: entry.name, size: entry.size, packedSize: entry.packedSize },
    packed: source.stream(start, start + entry.packedSize),
    unpack: (packed) => streamOf(checked(contents(entry, packed, name), entry, name)),
  };
}

const UNZIP = "Unpack it first";

/** The error for an archive in a stream: its directory is at its end. */
export function withoutPositions(name: string): Stop {
  const what = `${printable(name)} is a zip archive, which cannot be unpacked from a stream`;
  return failure(what, "Save it as a file first");
}

function theImage(entries: readonly Entry[], name: string): Entry {
  const files = entries.filter((entry) => !entry.name.endsWith("/"));
  const images = files.length === 1 ? files : files.filter((entry) => IMAGE_NAME.test(entry.name));
  const [image] = images;
  if (image !== undefined && images.length === 1) return image;
  const names = (images.length === 0 ? files : images).map((entry) => printable(entry.name));
  const shown = names.slice(0, NAMES_SHOWN).join(", ");
  const list = names.length > NAMES_SHOWN ? `${shown}, ...` : shown;
  const what = images.length === 0 ? "no image" : `${images.length} images`;
  throw failure(
    `${printable(name)} is a zip archive with ${what}${list === "" ? "" : `: ${list}`}`,
    "Unpack the one you want and copy that, or pass --raw to copy the archive as it is",
  );
}

// The central directory ------------------------------------------------------------------------------------

async function entriesOf(source: Positions, name: string): Promise<Entry[]> {
  const { offset, length } = await directoryOf(source, name);
  if (length > DIRECTORY_BYTES_MAX)
    throw new Damaged(name, "zip: its directory has an impossible size");
  const bytes = await source.read(offset, offset + length);
  const entries: Entry[] = [];
  for (let at = 0; at < length; ) {
    const entry = view(bytes.subarray(at));
    const isWhole = entry.byteLength >= ENTRY_BYTES && entry.getUint32(0, true) === 0x0201_4b50;
    if (!isWhole) throw new Damaged(name, "zip: its directory is invalid");
    const nameEnd = ENTRY_BYTES + entry.getUint16(28, true);
    const extraEnd = nameEnd + entry.getUint16(30, true);
    entries.push(entryOf(entry, bytes.subarray(at), nameEnd, extraEnd));
    at += extraEnd + entry.getUint16(32, true);
  }
  return entries;
}

function entryOf(entry: DataView, bytes: Uint8Array, nameEnd: number, extraEnd: number): Entry {
  const wide = zip64Values(bytes.subarray(nameEnd, extraEnd));
  const value = (at: number): number => {
    const short = entry.getUint32(at, true);
    return short === IN_ZIP64_32 ? (wide.shift() ?? short) : short;
  };
  // The order of the values in the zip64 record.
  const [size, packedSize, header] = [value(24), value(20), value(42)];
  return {
    name: new TextDecoder().decode(bytes.subarray(ENTRY_BYTES, nameEnd)),
    flags: entry.getUint16(8, true),
    method: entry.getUint16(10, true),
    crc: entry.getUint32(16, true),
    ...{ size, packedSize, header },
  };
}

/** The 64-bit values of the extra field 1 (section 4.5.3). */
function zip64Values(extra: Uint8Array): number[] {
  const fields = view(extra);
  for (let at = 0; at + 4 <= extra.byteLength; ) {
    const length = fields.getUint16(at + 2, true);
    const end = Math.min(extra.byteLength, at + 4 + length);
    if (fields.getUint16(at, true) === 1) {
      const values: number[] = [];
      for (let value = at + 4; value + 8 <= end; value += 8) values.push(wideAt(fields, value));
      return values;
    }
    at = end;
  }
  return [];
}

async function directoryOf(
  source: Positions,
  name: string,
): Promise<{ offset: number; length: number }> {
  const { size } = source;
  if (size === undefined) throw withoutPositions(name);
  const bytes = await source.read(Math.max(0, size - TAIL_BYTES_MAX), size);
  const at = Buffer.from(bytes).lastIndexOf("PK\x05\x06", bytes.byteLength - END_BYTES, "latin1");
  if (at < 0) throw new Damaged(name, "zip: no directory at its end");
  const end = view(bytes.subarray(at));
  const [entries, length, offset] = [
    end.getUint16(10, true),
    end.getUint32(12, true),
    end.getUint32(16, true),
  ];
  if (entries !== IN_ZIP64_16 && length !== IN_ZIP64_32 && offset !== IN_ZIP64_32) {
    return { offset, length };
  }
  const locator = view(bytes.subarray(Math.max(0, at - END64_LOCATOR_BYTES), at));
  if (locator.byteLength < END64_LOCATOR_BYTES || locator.getUint32(0, true) !== 0x0706_4b50) {
    return { offset, length };
  }
  const at64 = wideAt(locator, 8);
  const wide = view(await source.read(at64, at64 + END64_BYTES));
  if (wide.byteLength < END64_BYTES || wide.getUint32(0, true) !== 0x0606_4b50) {
    throw new Damaged(name, "zip: no zip64 directory");
  }
  return { offset: wideAt(wide, 48), length: wideAt(wide, 40) };
}

function view({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

/** Not above 2^53 in any file. */
function wideAt(data: DataView, at: number): number {
  return Number(data.getBigUint64(at, true));
}

// The contents ---------------------------------------------------------------------------------------------

function contents({ method }: Entry, packed: ByteStream, name: string): AsyncIterable<Bytes> {
  if (method === STORED) return packed;
  return inflated(zlib().createInflateRaw({ chunkSize: UNPACKED_CHUNK_BYTES }), packed, name);
}

/** Passes the bytes on and, at their end, compares their length and CRC-32 with those of the entry. */
async function* checked(
  bytes: AsyncIterable<Bytes>,
  { size, crc, name: image }: Entry,
  name: string,
): AsyncGenerator<Bytes> {
  const { crc32 } = zlib();
  let length = 0;
  let sum = 0;
  for await (const part of bytes) {
    length += part.byteLength;
    sum = crc32(part, sum);
    if (length > size) break;
    yield part;
  }
  if (length !== size) throw new Damaged(name, `zip: ${image} has the wrong length`);
  if (sum !== crc) throw new Damaged(name, `zip: wrong CRC-32 of ${image}`);
}
