// The sides of a copy or comparison: their checks, and the error of a source that is too short.

import { argumentType, argumentValue } from "../common/argument_errors.ts";
import type { Offset } from "../common/arguments.ts";
import { IoError } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import { openFileOf } from "../file/open_file.ts";

/** Throws unless it is a readable file, or a stream without a reader. */
export function checkSource(source: unknown): void {
  if (source instanceof File) {
    if (openFileOf(source).state.readable) return;
    throw argumentValue("source", "was opened for writing only", source.path);
  }
  if (!(source instanceof ReadableStream)) {
    throw argumentType("source", "a File or a ReadableStream", source);
  }
  if (source.locked) throw argumentValue("source", "is locked: it already has a reader", source);
}

export function checkCompared(target: unknown): void {
  if (!(target instanceof File)) throw argumentType("target", "a File", target);
  if (openFileOf(target).state.readable) return;
  throw argumentValue("target", "must be opened for reading, to compare it", target.path);
}

/** The error of a source that ends after fewer bytes than were asked for, counted from `offset`. */
export function endOfSource(
  source: unknown,
  offset: Offset,
  bytes: number,
  wanted: number,
  after: string = String(bytes),
): IoError {
  return new IoError("ERR_END_OF_FILE", {
    reason: `the source ends after ${after} of ${wanted} bytes`,
    path: source instanceof File ? source.path : undefined,
    ...{ syscall: "read", offset, length: wanted, transferred: bytes },
  });
}
