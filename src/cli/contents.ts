// Guesses what a disk or image holds, from the signatures at its start: for "this will be overwritten". Offsets are
// those of libblkid and file(1).

import { isZero } from "../copy/zero_range.ts";
import type { File } from "../file/file.ts";
import { allocBuffer } from "../memory/alloc_buffer.ts";
import { printable } from "./terminal.ts";

/** Compressed formats that are unpacked. */
export type Packing = "gzip" | "zstd" | "xz" | "bzip2" | "zip";

interface Signature {
  readonly name: string;
  readonly at: number;
  readonly bytes: string;
  readonly packing?: Packing;
  /** Position and maximum length of a label. */
  readonly label?: readonly [at: number, length: number];
}

/** In order of trust: inner formats come before what wraps them. */
const SIGNATURES: readonly Signature[] = [
  { name: "LUKS encrypted volume", at: 0, bytes: "LUKS\xba\xbe" },
  { name: "LVM physical volume", at: 512, bytes: "LABELONE" },
  { name: "Linux RAID member", at: 4096, bytes: "\xfc\x4e\x2b\xa9" },
  { name: "ISO 9660 image", at: 32769, bytes: "CD001", label: [32808, 32] },
  { name: "ext2/3/4 file system", at: 1080, bytes: "\x53\xef", label: [1144, 16] },
  { name: "XFS file system", at: 0, bytes: "XFSB", label: [108, 12] },
  { name: "btrfs file system", at: 65600, bytes: "_BHRfS_M", label: [65835, 256] },
  { name: "F2FS file system", at: 1024, bytes: "\x10\x20\xf5\xf2" },
  { name: "NTFS file system", at: 3, bytes: "NTFS    " },
  { name: "exFAT file system", at: 3, bytes: "EXFAT   " },
  { name: "FAT32 file system", at: 82, bytes: "FAT32", label: [71, 11] },
  { name: "FAT file system", at: 54, bytes: "FAT1", label: [43, 11] },
  { name: "swap space", at: 4086, bytes: "SWAPSPACE2", label: [1052, 16] },
  { name: "squashfs image", at: 0, bytes: "hsqs" },
  { name: "qcow2 disk image", at: 0, bytes: "QFI\xfb" },
  { name: "gzip-compressed data", at: 0, bytes: "\x1f\x8b\x08", packing: "gzip" },
  { name: "xz-compressed data", at: 0, bytes: "\xfd7zXZ\x00", packing: "xz" },
  { name: "zstd-compressed data", at: 0, bytes: "\x28\xb5\x2f\xfd", packing: "zstd" },
  // Skippable frames, with which pzstd(1) begins.
  ...Array.from({ length: 16 }, (_, kind): Signature => {
    const bytes = `${String.fromCharCode(0x50 + kind)}\x2a\x4d\x18`;
    return { name: "zstd-compressed data", at: 0, bytes, packing: "zstd" };
  }),
  ...Array.from("123456789", (level): Signature => {
    const bytes = `BZh${level}1AY&SY`;
    return { name: "bzip2-compressed data", at: 0, bytes, packing: "bzip2" };
  }),
  { name: "bzip2-compressed data", at: 0, bytes: "BZh" },
  { name: "zip archive", at: 0, bytes: "PK\x03\x04", packing: "zip" },
  { name: "lz4-compressed data", at: 0, bytes: "\x04\x22\x4d\x18" },
  { name: "lz4-compressed data", at: 0, bytes: "\x02\x21\x4c\x18" },
  { name: "lzip-compressed data", at: 0, bytes: "LZIP" },
  { name: "lzop-compressed data", at: 0, bytes: "\x89LZO\x00\x0d\x0a\x1a\x0a" },
  { name: "lzma-compressed data", at: 0, bytes: "\x5d\x00\x00" },
  { name: "compress-compressed data", at: 0, bytes: "\x1f\x9d" },
  { name: "7z archive", at: 0, bytes: "7z\xbc\xaf\x27\x1c" },
  { name: "rar archive", at: 0, bytes: "Rar!\x1a\x07" },
  { name: "GPT partition table", at: 512, bytes: "EFI PART" },
  { name: "GPT partition table", at: 4096, bytes: "EFI PART" },
  { name: "MBR partition table or boot sector", at: 510, bytes: "\x55\xaa" },
];

/** The longest signature of a compressed format, in bytes. */
export const PACKED_BYTES_MAX: number = 10;

const LOOK_BYTES = 128 * 1024;
const ZERO_CHUNK_BYTES = 2 ** 20;

/** "ext2/3/4 file system, label "data"", "only zeroes at its start", ...; undefined when empty or unreadable. */
export async function contentsOf(file: File, start = 0): Promise<string | undefined> {
  try {
    const buffer = allocBuffer(LOOK_BYTES);
    const bytes = await file.readAt(buffer, start, { timeout: 10_000 });
    return bytes === 0 ? undefined : guess(buffer.subarray(0, bytes));
  } catch {
    // Only a hint: if the file cannot be read, the caller that needs it reports that.
    return undefined;
  }
}

/** What unpacks data that begins like this. */
export function packingOf(start: Uint8Array): Packing | undefined {
  const text = latin1(start);
  return SIGNATURES.find(({ bytes, packing }) => packing !== undefined && text.startsWith(bytes))
    ?.packing;
}

function latin1({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString("latin1");
}

export function guess(start: Uint8Array): string {
  const text = latin1(start);
  const found = SIGNATURES.find(({ at, bytes }) => text.startsWith(bytes, at));
  if (found !== undefined) {
    const label = found.label === undefined ? "" : labelAt(text, ...found.label);
    return label === "" ? found.name : `${found.name}, label "${label}"`;
  }
  return start.every((byte) => byte === 0) ? "only zeroes at its start" : "data of unknown kind";
}

/** Whether it should be decompressed before it is written to a disk. */
export function isCompressed(contents: string | undefined): boolean {
  return contents !== undefined && /compressed|archive/.test(contents);
}

/** Whether a file has nothing but zeroes from `start` to `end`; holes are not read. */
export async function isZeroBetween(
  file: File,
  start: number,
  end: number,
  signal: AbortSignal,
): Promise<boolean> {
  const buffer = allocBuffer(ZERO_CHUNK_BYTES);
  const isZeroAt = async (at: number): Promise<boolean> => {
    const wanted = buffer.subarray(0, Math.min(end - at, buffer.byteLength));
    return isZero(wanted.subarray(0, await file.readAt(wanted, at, { signal })));
  };
  // First the last bytes, where a partition table has its copy.
  if (!(await isZeroAt(Math.max(start, end - ZERO_CHUNK_BYTES)))) return false;
  for await (const { offset, length } of file.dataRanges({ start, end, signal })) {
    for (let at = offset; at < offset + length; at += ZERO_CHUNK_BYTES) {
      if (!(await isZeroAt(at))) return false;
    }
  }
  return true;
}

function labelAt(text: string, at: number, length: number): string {
  const label = text.slice(at, at + length).split("\0", 1)[0] ?? "";
  return printable(Buffer.from(label, "latin1").toString("utf8").trim());
}
