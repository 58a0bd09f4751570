// The options of `copy` and `copyToAll`.

import { CancelScope } from "../cancellation/scope.ts";
import { argumentType, argumentValue } from "../common/argument_errors.ts";
import type { Offset } from "../common/arguments.ts";
import type { HashName } from "../common/digest.ts";
import { File } from "../file/file.ts";
import { openFileOf } from "../file/open_file.ts";
import type { CopyProgress } from "../file/progress.ts";
import { checkedOptions } from "./options.ts";
import { type CopyRange, spansOf } from "./ranges.ts";
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
  ...["length", "expectedLength", "sourceOffset", "targetOffset", "chunkSize", "concurrency"],
  ...["sparse", "verify", "ranges", "sync", "onReadError", "hash", "signal", "onProgress"],
];
/** Of `copy` alone. */
const RESCUE_OPTION_NAMES: readonly string[] = ["map", "retries"];

/** A target, and the name of the argument. */
export type Named = readonly [name: string, target: File];

/** The options of all that copies, as they were checked. */
export type CheckedOptions = Omit<CopyOptions, "onProgress">;

/** Checks whatever can be checked without I/O, and throws. Returns the options, and the scope of the copy. */
export function checkCopy<T extends CheckedOptions>(
  where: "copy" | "copyToAll",
  source: unknown,
  targets: readonly Named[],
  options: T,
): T & { readonly scope: CancelScope } {
  checkSource(source);
  for (const [name, target] of targets) {
    if (!(target instanceof File)) throw argumentType(name, "a File", target);
  }
  const more = where === "copy" ? RESCUE_OPTION_NAMES : [];
  const checked = checkedOptions(where, options, [...OPTION_NAMES, ...more]);
  const { sourceOffset = 0, length = Infinity, ranges, verify = false } = checked;
  if (ranges !== undefined) spansOf(ranges, sourceOffset, length);
  for (const [name, target] of targets) {
    const { writable, readable } = openFileOf(target).state;
    if (!writable) throw argumentValue(name, "was opened for reading only", target.path);
    if (verify && !readable) {
      throw argumentValue(name, "must be opened for reading too, to verify it", target.path);
    }
  }
  return { ...checked, scope: new CancelScope(checked.signal) };
}
