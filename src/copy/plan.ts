// The plan of a copy: checks options, asks for sizes, and refuses impossible copies before anything is written.

import { CancelScope } from "../cancellation/scope.ts";
import { argumentType, argumentValue } from "../common/argument_errors.ts";
import {
  addOffset,
  checkBoolean,
  checkFunction,
  checkInteger,
  checkIoOptions,
  checkOffset,
  checkOptions,
  type Offset,
  roundUp,
} from "../common/arguments.ts";
import { checkHashName, type HashName } from "../common/digest.ts";
import { BlockDevice } from "../device/block_device.ts";
import { IoError } from "../errors/io_error.ts";
import { syncError } from "../errors/status.ts";
import { File } from "../file/file.ts";
import { knownSize } from "../file/known_size.ts";
import { openFileOf } from "../file/open_file.ts";
import type { CopyProgress } from "../file/progress.ts";
import { Kind, WINDOW_BYTES_DEFAULT } from "../native/abi.gen.ts";
import type { Layout, Span } from "./chunks.ts";
import type { Holes } from "./holes.ts";
import type { Side } from "./overlap.ts";
import { type CopyRange, checkRanges, spansOf } from "./ranges.ts";
import type { RescueMap } from "./rescue_map.ts";
import { checkSource } from "./sides.ts";

/** What `copy` copies, how, and what it tells of. */
export interface CopyOptions {
  /**
   * Bytes to copy. Default: up to the end of the source; for a file whose size means nothing (/proc, sysfs), up to
   * where a read ends. A source that ends before `length` rejects with `ERR_END_OF_FILE`.
   */
  length?: number | undefined;
  /**
   * Bytes that a stream is expected to have, those that `sourceOffset` skips included: progress has a `total` and
   * `secondsLeft`, and a target with less room is refused before anything is written. The stream may end earlier or
   * later: past the expected length `total` is undefined, and the last report has the true one. For a length that
   * must be met, see `length`. Where the length of the source is known this has no effect. Default: none.
   */
  expectedLength?: number | undefined;
  /** Offset in the source in bytes; for a stream, bytes to skip. Default 0. */
  sourceOffset?: Offset | undefined;
  /** Offset in the target in bytes. Default 0. */
  targetOffset?: Offset | undefined;
  /**
   * Bytes of one read and one write, rounded up to what both sides require. Default 2 MiB, or the next multiple of
   * the device's optimal request size.
   */
  chunkSize?: number | undefined;
  /**
   * Chunks in flight at once, each being read or written, 1 to 1024. Default 8, but no more than make up 4 MiB, and
   * at least two. For a device that needs more in flight, raise `chunkSize`; other requests then wait longer.
   */
  concurrency?: number | undefined;
  /**
   * Leaves out blocks of zeroes (64 KiB): they become holes in a regular file, and are zeroed by the device itself
   * on a disk. They read as zeroes afterwards, whatever was there before. Holes of a file as source are not read.
   * Default false.
   */
  sparse?: boolean | undefined;
  /**
   * Reads the target back from the medium and compares it with what was written. Rejects with `ERR_VERIFY` and the
   * first `offset` that differs (for a stream as source, the offset of the first block of 64 KiB that differs).
   * Default false.
   */
  verify?: boolean | undefined;
  /**
   * Copies these ranges only (a block map): ascending, without overlaps, in bytes from the start of the source, as
   * `dataRanges` and `RescueMap` give them. A range at `offset` goes to `targetOffset + offset - sourceOffset`; what
   * lies before `sourceOffset` or beyond `length` is left out. The target keeps what it has between the ranges, and a
   * regular one ends with the last range if it was shorter. A stream is read on between the ranges, and cancelled
   * after the last.
   *
   * A range with `sha256` must have that digest, or the copy rejects with `ERR_VERIFY` and the range's `offset` and
   * `length`. Its bytes are on the target by then: they are written as they are read. A digest is not asked of a
   * range with parts that `onReadError: "skip"` has left out.
   *
   * `prefix` counts what lies between the ranges as done, but nothing of a range whose digest is not met.
   * `bytesCopied`, progress, `verify` and `hash` are of the ranges alone. Default: everything.
   */
  ranges?: readonly CopyRange[] | undefined;
  /** Whether the target is synced before it is verified and before this resolves. Default true. */
  sync?: boolean | undefined;
  /**
   * `skip` continues after ranges of the source that cannot be read: the target gets zeroes there, and `readErrors`
   * lists them. Default `fail`.
   */
  onReadError?: "fail" | "skip" | undefined;
  /**
   * With `onReadError: "skip"`: what has been rescued of the source, in bytes from its start. The copy reads what is
   * `?`, `*` or `/`, healthy areas first; what it has written becomes `+`, sectors that cannot be read become `-`. What
   * is `+` or `-` is left alone, so that a copy goes on where another was stopped, or where `scan` or ddrescue was.
   * The map is extended to the size of the source. See docs/rescue.md for how to save it.
   *
   * `+` is set when the write has completed. Before a copy with `sync` rejects, it syncs the target too; if that fails,
   * all that this copy has made `+` is `?` again. `verify` reads back what this copy has rescued; what differs is `?`
   * again. A sector that becomes `-` is zero on the target; one that was `-` before keeps what the target has. `hash`,
   * a `sha256` of `ranges` and streams as source are refused.
   */
  map?: RescueMap | undefined;
  /**
   * With `onReadError: "skip"`: passes over the bad sectors at the end, those of `map` included. Without `map`, one is
   * made for this copy alone. Default 0.
   */
  retries?: number | undefined;
  /** Computes a digest of what was written, in lower-case hexadecimal. Default: none. */
  hash?: HashName | undefined;
  /** Cancels the copy: it rejects with an AbortError once the kernel has let go of all buffers. */
  signal?: AbortSignal | undefined;
  /** Called at most ten times a second, and at the end of each phase. An error that it throws ends the copy. */
  onProgress?: ((progress: CopyProgress) => void) | undefined;
}

const OPTION_NAMES: readonly string[] = [
  ...[
    "length",
    "expectedLength",
    "sourceOffset",
    "targetOffset",
    "chunkSize",
    "concurrency",
    "sparse",
    "verify",
  ],
  ...["ranges", "sync", "onReadError", "hash", "signal", "onProgress"],
];
/** Of `copy` alone. */
const RESCUE_OPTION_NAMES: readonly string[] = ["map", "retries"];

/** Options that ask for a look at the bytes, or say how they are to be read. */
const LOOKS = ["chunkSize", "concurrency", "ranges", "sparse", "verify", "hash"] as const;

const CHUNK_BYTES_DEFAULT = 2 ** 21;
/** The default for many targets. */
const CHUNK_BYTES_LEAST = 2 ** 19;
export const CHUNK_BYTES_MAX: number = 2 ** 30;
/** How far apart targets may be, in bytes. */
const AHEAD_BYTES = 16 * 2 ** 20;
/** Upper limit for the optimal request size that a device reports, in bytes. */
const OPTIMAL_BYTES_MAX = 16 * 2 ** 20;
export const CONCURRENCY_DEFAULT: number = 8;
export const CONCURRENCY_MAX: number = 1024;
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

/** One target of a reading. */
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
  options: CommonOptions,
): Promise<Reading> {
  const sourceOffset = checkOffset("options.sourceOffset", options.sourceOffset ?? 0);
  const targetOffset = checkOffset("options.targetOffset", options.targetOffset ?? 0);
  const grid = Math.max(...targets.map((target) => gridOf(target, options)));
  const unit = Math.max(grid, source instanceof File ? source.alignment.offset : 1);
  const chosen = chosenSpans(options, sourceOffset);
  const usual = Math.min(defaultChunk([source, ...targets], targets.length), longest(chosen));
  const chunkSize = roundUp(options.chunkSize ?? usual, unit);
  const size = source instanceof File ? await knownSize(openFileOf(source)) : undefined;
  const length = options.length ?? bytesBehind(sourceOffset, size);
  const spans = chosen ?? [{ begin: 0, end: length ?? Infinity }];
  const total = chosen?.reduce((sum, { begin, end }) => sum + end - begin, 0) ?? length;
  const skipErrors = options.onReadError === "skip";
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
    buffers: targets.length === 1 ? concurrency : ahead(concurrency, chunkSize),
    grid,
    holes: holesOf(sourceOffset, size, targets, options),
    skipErrors,
    isPlain: !skipErrors && LOOKS.every((name) => (options[name] ?? false) === false),
    hash: options.hash,
    verify: options.verify === true,
  };
}

/** The spans of `ranges`, if given. */
function chosenSpans(
  { ranges, length = Infinity }: CommonOptions,
  sourceOffset: Offset,
): readonly Span[] | undefined {
  return ranges === undefined ? undefined : spansOf(checkRanges(ranges), sourceOffset, length);
}

/** Bytes of the longest span, at least 1: many short ranges are copied several at once, not in two large buffers. */
function longest(spans: readonly Span[] | undefined): number {
  if (spans === undefined) return Infinity;
  return spans.reduce((most, { begin, end }) => Math.max(most, end - begin), 1);
}

export async function planTarget(
  reading: Reading,
  target: File,
  options: CommonOptions,
): Promise<Plan> {
  const { targetOffset, end, expected } = reading;
  const targetSize = await target.size();
  const room = cannotGrow(target) ? Math.max(0, targetSize - Number(targetOffset)) : Infinity;
  const needed = end ?? expected ?? 0;
  if (needed > room) throw tooSmall(target, targetOffset, needed, room);
  const { lasting } = openFileOf(target).state.reports;
  const sync = options.sync !== false;
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

function hasHoles(target: File, options: CommonOptions): boolean {
  return options.sparse === true && (target.kind === "regular" || target.kind === "disk");
}

function holesOf(
  sourceOffset: Offset,
  size: number | undefined,
  targets: readonly File[],
  options: CommonOptions,
): Holes | undefined {
  if (size === undefined || !targets.every((target) => hasHoles(target, options))) return undefined;
  const isSlow = options.hash !== undefined || targets.some(({ kind }) => kind === "disk");
  const sourceBytes = Math.max(0, size - Number(sourceOffset));
  return { sourceOffset, sourceBytes, most: isSlow ? SLOW_HOLE_BYTES_MAX : Infinity };
}

function gridOf(target: File, options: CommonOptions): number {
  return Math.max(target.alignment.offset, hasHoles(target, options) ? HOLE_GRID_BYTES : 1);
}

/** A target, and the name of the argument. */
type Named = readonly [name: string, target: File];

/** The options of all that copies. */
type CommonOptions = Omit<CopyOptions, "onProgress"> & { readonly onProgress?: unknown };

/** Checks whatever can be checked without I/O, and throws. Returns the scope of the copy. */
export function checkCopy(
  where: "copy" | "copyToAll",
  source: unknown,
  targets: readonly Named[],
  options: CommonOptions,
): CancelScope {
  checkSource(source);
  for (const [name, target] of targets) {
    if (!(target instanceof File)) throw argumentType(name, "a File", target);
  }
  const more = where === "copy" ? RESCUE_OPTION_NAMES : [];
  checkOptions(where, options, [...OPTION_NAMES, ...more]);
  const { signal } = checkIoOptions({ signal: options.signal });
  const { length, ranges, chunkSize, concurrency, onReadError, hash, onProgress } = options;
  const sourceOffset = checkOffset("options.sourceOffset", options.sourceOffset ?? 0);
  checkOffset("options.targetOffset", options.targetOffset ?? 0);
  for (const name of ["length", "expectedLength"] as const) {
    const bytes = options[name];
    if (bytes !== undefined) checkInteger(`options.${name}`, bytes, 0, Number.MAX_SAFE_INTEGER);
  }
  if (chunkSize !== undefined) checkInteger("options.chunkSize", chunkSize, 1, CHUNK_BYTES_MAX);
  if (concurrency !== undefined) {
    checkInteger("options.concurrency", concurrency, 1, CONCURRENCY_MAX);
  }
  if (ranges !== undefined) spansOf(checkRanges(ranges), sourceOffset, length ?? Infinity);
  for (const name of ["sparse", "verify", "sync"] as const) {
    if (options[name] !== undefined) checkBoolean(`options.${name}`, options[name]);
  }
  if (onReadError !== undefined && onReadError !== "fail" && onReadError !== "skip") {
    throw argumentValue("options.onReadError", 'must be "fail" or "skip"', onReadError);
  }
  if (hash !== undefined) checkHashName("options.hash", hash);
  if (onProgress !== undefined) checkFunction("options.onProgress", onProgress);
  for (const each of targets) checkTarget(each, options.verify === true);
  return new CancelScope(signal);
}

function checkTarget([name, target]: Named, verify: boolean): void {
  const { writable, readable } = openFileOf(target).state;
  if (!writable) throw argumentValue(name, "was opened for reading only", target.path);
  if (verify && !readable) {
    throw argumentValue(name, "must be opened for reading too, to verify it", target.path);
  }
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

/** Chunks in memory for several targets. */
function ahead(concurrency: number, chunkSize: number): number {
  return Math.max(2 * concurrency, Math.floor(AHEAD_BYTES / chunkSize));
}

function tooSmall(target: File, offset: Offset, total: number, room: number): IoError {
  return new IoError("ENOSPC", {
    reason: `the target has room for ${room} of ${total} bytes; nothing was written`,
    syscall: "write",
    path: target.path,
    offset,
    length: total,
    transferred: 0,
  });
}

export function noRoom(plan: Plan, at: number, length: number): IoError {
  return new IoError("ENOSPC", {
    reason: `the source is longer than the ${plan.room} bytes that the target has room for`,
    syscall: "write",
    path: plan.target.path,
    offset: addOffset(plan.targetOffset, at),
    length,
    transferred: 0,
  });
}
