// What `file.readable()` and `file.writable()` have in common.

import { type CancelReason, cancelError } from "../cancellation/scope.ts";
import { checkInteger } from "../common/arguments.ts";
import type { IoError } from "../errors/io_error.ts";
import type { OpenFile } from "./open_file.ts";

const CONCURRENCY_DEFAULT = 8;
const CONCURRENCY_MAX = 1024;

/** The error of a canceled stream. */
export function cancelled(reason: CancelReason, syscall: string, file: OpenFile): IoError {
  return cancelError(reason, { syscall, path: file.state.path });
}

export function checkConcurrency(value: number | undefined): number {
  if (value === undefined) return CONCURRENCY_DEFAULT;
  return checkInteger("options.concurrency", value, 1, CONCURRENCY_MAX);
}
