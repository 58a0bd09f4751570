// The plan of a copy: asks for sizes, and refuses impossible copies before anything is written.

import { addOffset, type Offset, roundUp } from "../common/arguments.ts";
import type { HashName } from "../common/digest.ts";
import { BlockDevice } from "../device/block_device.ts";
import { IoError } from "../errors/io_error.ts";
import { syncError } from "../errors/status.ts";
import { File } from "../file/file.ts";
import { knownSize } from "../file/known_size.ts";
import { openFileOf } from "../file/open_file.ts";
import { Kind, WINDOW_BYTES_DEFAULT } from "../native/abi.gen.ts";
import type { Layout, Span } from "./chunks.ts";
import type { CheckedOptions, Named } from "./copy_options.ts";
import type { Holes } from "./holes.ts";
import type { Side } from "./overlap.ts";
import { spansOf } from "./ranges.ts";

/** Options that ask for a look at the bytes, or say how they are to be read. */
const LOOKS = ["chunkSize", "concurrency", "ranges", "sparse", "verify", "hash"] as const;

const CHUNK_BYTES_DEFAULT = 2 ** 21;
const CHUNK_BYTES_LEAST = 2 ** 19;
/** How far apart targets may be, in bytes. */
const AHEAD_BYTES = 16 * 2 ** 20;
/** Upper limit for the optimal request size that a device reports, in bytes. */
const OPTIMAL_BYTES_MAX = 16 * 2 ** 20;
export const CONCURRENCY_DEFAULT: number = 8;
/** At least two: one chunk is read while another is written, however large they are. */
const LANES_MIN = 2;
/** Alignment of holes in bytes: a page, a multiple of the sectors of any device. */
const HOLE_GRID_BYTES = 4096;
/** Zeroed by a disk in one request, or hashed, in bytes: seconds at most, without progress or a way to stop it. */
const SLOW_HOLE_BYTES_MAX = 64 * 2 ** 20;

/** What is read, and how; the same for every target. */
export interface Reading extends Layout {
  readonly source: File | ReadableStream<Uint8Array>;
  readonly sourceOffset: Offset;
  /** Bytes to copy, if known beforehand. */
  readonly total: number | undefined;
  /** Bytes to copy as the caller expects them, where `total` is unknown. */
  readonly expected: number | undefined;
  /** Where the last span ends; undefined: at the end of the source, where that is unknown. */
  readonly end: number | undefined;
  /** Chunks being read at once, and being written at once to each target. */
  readonly concurrency: number;
  /** Chunks in memory at once. */
  readonly buffers: number;
  /** Undefined: holes are read like data. */
  readonly holes: Holes | undefined;
  readonly skipErrors: boolean;
  /** No option asks for a look at the bytes or says how they are to be read: the kernel may copy them. */
  readonly isPlain: boolean;
  readonly hash: HashName | undefined;
  readonly verify: boolean;
}

export interface Plan extends Reading {
  readonly target: File;
  /** Bytes from `targetOffset` to the end of a target that cannot grow; Infinity for others. */
  readonly room: number;
  /** Bytes of a regular target before the copy; 0 for others. */
  readonly sizeBefore: number;
  readonly sparse: boolean;
  readonly sync: boolean;
}

export async function planReading(
  source: File | ReadableStream<Uint8Array>,
  targets: readonly File[],
  options: CheckedOptions,
): Promise<Reading> {
  const { sourceOffset = 0, targetOffset = 0, onReadError, hash, verify = false } = options;
  const grid = Math.max(...targets.map((target) => gridOf(target, options)));
  const unit = Math.max(grid, source instanceof File ? source.alignment.offset : 1);
  const { ranges, length: most = Infinity } = options;
  const chosen = ranges && spansOf(ranges, sourceOffset, most);
  const usual = Math.min(defaultChunk([source, ...targets], targets.length), longest(chosen));
  const chunkSize = roundUp(options.chunkSize ?? usual, unit);
  const size = source instanceof File ? await knownSize(openFileOf(source)) : undefined;
  const length = options.length ?? bytesBehind(sourceOffset, size);
  const spans = chosen ?? [{ begin: 0, end: length ?? Infinity }];
  const total = chosen?.reduce((sum, { begin, end }) => sum + end - begin, 0) ?? length;
  const skipErrors = onReadError === "skip";
  const wanted = options.concurrency ?? CONCURRENCY_DEFAULT;
  const concurrency = isMadeUp(source, size) ? 1 : lanes(source, targets, wanted, chunkSize);
  return {
    source,
    sourceOffset,
    targetOffset,
    spans,
    total,
    expected: total === undefined ? bytesBehind(sourceOffset, options.expectedLength) : undefined,
    end: chosen === undefined ? length : (chosen.at(-1)?.end ?? 0),
    chunkSize,
    concurrency,
    buffers:
      targets.length === 1
        ? concurrency
        : Math.max(2 * concurrency, Math.floor(AHEAD_BYTES / chunkSize)),
    grid,
    holes: holesOf(sourceOffset, size, targets, options),
    skipErrors,
    isPlain: !skipErrors && LOOKS.every((name) => (options[name] ?? false) === false),
    hash,
    verify,
  };
}

/** Bytes of the longest span, at least 1: many short ranges are copied several at once, not in two large buffers. */
function longest(spans: readonly Span[] | undefined): number {
  if (spans === undefined) return Infinity;
  return spans.reduce((most, { begin, end }) => Math.max(most, end - begin), 1);
}

export async function planTarget(
  reading: Reading,
  target: File,
  options: CheckedOptions,
): Promise<Plan> {
  const { targetOffset, end, expected } = reading;
  const targetSize = await target.size();
  const room = cannotGrow(target) ? Math.max(0, targetSize - Number(targetOffset)) : Infinity;
  const needed = end ?? expected ?? 0;
  if (needed > room) {
    const reason = `the target has room for ${room} of ${needed} bytes; nothing was written`;
    throw noSpace(target, targetOffset, needed, reason);
  }
  const { lasting } = openFileOf(target).state.reports;
  const { sync = true } = options;
  // The sync at the end would reject after everything was written.
  if (sync && lasting !== undefined) throw syncError(Kind.syncAll, target.path, lasting);
  const sizeBefore = target.kind === "regular" ? targetSize : 0;
  return { ...reading, target, room, sizeBefore, sparse: hasHoles(target, options), sync };
}

/** The sides of a copy, as far as they are files. */
export function sidesOf(
  { source, sourceOffset, targetOffset }: Reading,
  targets: readonly Named[],
): readonly Side[] {
  const sides = targets.map(([name, file]) => ({ name, file, offset: targetOffset }));
  if (!(source instanceof File)) return sides;
  return [{ name: "source", file: source, offset: sourceOffset }, ...sides];
}

function hasHoles(target: File, options: CheckedOptions): boolean {
  return options.sparse === true && (target.kind === "regular" || target.kind === "disk");
}

function holesOf(
  sourceOffset: Offset,
  size: number | undefined,
  targets: readonly File[],
  options: CheckedOptions,
): Holes | undefined {
  if (size === undefined || !targets.every((target) => hasHoles(target, options))) return undefined;
  const isSlow = options.hash !== undefined || targets.some(({ kind }) => kind === "disk");
  const sourceBytes = Math.max(0, size - Number(sourceOffset));
  return { sourceOffset, sourceBytes, most: isSlow ? SLOW_HOLE_BYTES_MAX : Infinity };
}

function gridOf(target: File, options: CheckedOptions): number {
  return Math.max(target.alignment.offset, hasHoles(target, options) ? HOLE_GRID_BYTES : 1);
}

function bytesBehind(offset: Offset, size: number | undefined): number | undefined {
  return size === undefined ? undefined : Math.max(0, size - Number(offset));
}

/**
 * A file that the kernel generates as it is read (/proc, sysfs). Consecutive reads continue where the last one
 * ended; a read elsewhere generates it anew, so parts may not fit together.
 */
function isMadeUp(source: File | ReadableStream<Uint8Array>, size: number | undefined): boolean {
  return size === undefined && source instanceof File && source.kind === "regular";
}

/** Devices and images have a fixed size. */
function cannotGrow(file: File): boolean {
  return file.kind === "disk" || file instanceof BlockDevice;
}

/** Bytes of a chunk: 2 MiB, less for several targets, or the next multiple of the devices' optimal request size. */
export function defaultChunk(
  sides: readonly (File | ReadableStream<Uint8Array>)[],
  targets: number = 1,
): number {
  let bytes = CHUNK_BYTES_DEFAULT;
  while (bytes > CHUNK_BYTES_LEAST && bytes * targets > CHUNK_BYTES_DEFAULT) bytes /= 2;
  for (const side of sides) {
    if (!(side instanceof BlockDevice)) continue;
    const optimal = side.geometry.optimalIoSize ?? 0;
    if (optimal > 0 && optimal <= OPTIMAL_BYTES_MAX) bytes = roundUp(bytes, optimal);
  }
  return bytes;
}

/**
 * Chunks in flight: at most half of what a ring may have in the kernel at once, so that small requests of others
 * find room without waiting, and few enough to keep the device's own queue short. docs/performance.md has figures
 * for more and fewer, larger and smaller chunks.
 */
export function lanes(
  source: File | ReadableStream<Uint8Array>,
  targets: readonly File[],
  wanted: number,
  chunkSize: number,
): number {
  const isApart = source instanceof File && targets.every(({ ring }) => ring !== source.ring);
  const rings = isApart ? 2 : 1;
  const share = (rings * WINDOW_BYTES_DEFAULT) / 2;
  return Math.min(wanted, Math.max(LANES_MIN, Math.ceil(share / targets.length / chunkSize)));
}

function noSpace(target: File, offset: Offset, length: number, reason: string): IoError {
  const { path } = target;
  return new IoError("ENOSPC", { reason, syscall: "write", path, offset, length, transferred: 0 });
}

export function noRoom({ target, targetOffset, room }: Plan, at: number, length: number): IoError {
  const reason = `the source is longer than the ${room} bytes that the target has room for`;
  return noSpace(target, addOffset(targetOffset, at), length, reason);
}
