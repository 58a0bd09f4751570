// `IoError`: failures of the system or of circumstances. Errors of wrong arguments are in argument_errors.ts.

import { constants } from "node:os";
import { shown } from "../common/shown.ts";
import { util } from "../common/util.ts";
import type { IoErrorCode } from "./codes.ts";
import type { CopyResult } from "./copy_result.ts";
import { LINUX_ERRORS } from "./linux_errors.ts";

export interface IoErrorInit {
  /** The reason in words; default: the system's. The rest of the message is made from the fields below. */
  reason?: string | undefined;
  /** Default: this system's number for the code, if it has one. */
  errno?: number | undefined;
  syscall?: string | undefined;
  path?: string | undefined;
  offset?: number | bigint | undefined;
  length?: number | undefined;
  transferred?: number | undefined;
  hint?: string | undefined;
  cause?: unknown;
}

/**
 * A failed operation. The message says what was tried and, where the cause is known, what to do; the fields hold
 * the same for programs.
 */
export class IoError extends Error {
  /** `IoError`; `AbortError` with the code `ABORT_ERR`. */
  override name = "IoError";
  /** `EIO`, `ENOSPC`, ... as in Node, or one of the library: `ERR_...`, `ABORT_ERR`. */
  readonly code: IoErrorCode;
  /** The system's error number, negative as in Node; undefined if the error is not the system's. */
  readonly errno: number | undefined;
  /** What was tried: `read`, `write`, `fsync`, `open`, ... */
  readonly syscall: string | undefined;
  /** The path of the file, as it was opened; undefined if it is not known. */
  readonly path: string | undefined;
  /** Bytes from the start of the file. */
  readonly offset: number | bigint | undefined;
  /** Bytes requested. */
  readonly length: number | undefined;
  /** Bytes transferred before the failure, contiguous from `offset`. */
  readonly transferred: number | undefined;
  /** What to do about it, in a sentence; the message ends with it. Undefined where nothing is sure to help. */
  readonly hint: string | undefined;
  /** `copy` only: what was copied before the failure. */
  declare readonly result?: CopyResult;

  /** @internal */
  constructor(code: IoErrorCode, init: IoErrorInit = {}) {
    const errno = init.errno ?? systemNumber(code);
    const reason = init.reason ?? (errno === undefined ? undefined : systemError(-errno).reason);
    super(message(code, { ...init, reason }), "cause" in init ? { cause: init.cause } : undefined);
    this.code = code;
    this.errno = errno;
    this.syscall = init.syscall;
    this.path = init.path;
    this.offset = init.offset;
    this.length = init.length;
    this.transferred = init.transferred;
    this.hint = init.hint;
    if (code === "ABORT_ERR") this.name = "AbortError";
  }

  /**
   * For `JSON.stringify`: the message and all fields, without the stack. An offset above 2^53 is a string, and an
   * Error as `cause` an object with its name, message and code.
   */
  toJSON(): Record<string, unknown> {
    return errorJson(this, CAUSES_MAX);
  }
}

/** Limit for causes of causes: they may go in a circle. */
const CAUSES_MAX = 8;

function errorJson(error: Error, causesMax: number): Record<string, unknown> {
  const { name, message, cause } = error;
  const fields = { name, message, ...(error instanceof IoError ? fieldsOf(error) : codeOf(error)) };
  return cause === undefined ? fields : { ...fields, cause: causeJson(cause, causesMax) };
}

function fieldsOf(error: IoError): object {
  const { code, errno, syscall, path, length, transferred, hint, result } = error;
  const offset = typeof error.offset === "bigint" ? String(error.offset) : error.offset;
  return { code, errno, syscall, path, offset, length, transferred, hint, result };
}

function codeOf(error: Error): object {
  return "code" in error && typeof error.code === "string" ? { code: error.code } : {};
}

/** Never throws: the reason of an abort may be anything. */
function causeJson(cause: unknown, causesMax: number): unknown {
  if (!(cause instanceof Error)) return typeof cause === "string" ? cause : shown(cause);
  return causesMax === 0 ? cause.message : errorJson(cause, causesMax - 1);
}

export function setResult(error: IoError, result: CopyResult): IoError {
  return Object.assign(error, { result });
}

export function addHint(error: IoError, sentence: string): IoError {
  const hint = error.hint === undefined ? sentence : `${error.hint}. ${sentence}`;
  return Object.assign(error, { hint, message: `${error.message}. ${sentence}` });
}

/** The same system error with another hint. */
export function hinted(error: IoError, hint: string | undefined): IoError {
  return hint === error.hint ? error : new IoError(error.code, { ...initOf(error), hint });
}

/** The same error once more, to tell another of it. */
export function twin(error: IoError): IoError {
  const { message, stack } = error;
  return Object.assign(new IoError(error.code, initOf(error)), { message, stack });
}

/** What another error is made of that is about the same. */
export function initOf(error: IoError): IoErrorInit {
  const { errno, syscall, path, offset, length, transferred, hint } = error;
  const init = { errno, syscall, path, offset, length, transferred, hint };
  return "cause" in error ? { ...init, cause: error.cause } : init;
}

function message(code: string, init: IoErrorInit): string {
  let text = `${code}: ${init.reason ?? "input/output failed"}`;
  if (init.syscall !== undefined) text += `, ${init.syscall}`;
  if (init.path !== undefined) text += ` '${init.path}'`;
  const details: string[] = [];
  if (init.offset !== undefined) details.push(`offset ${init.offset}`);
  if (init.length !== undefined) details.push(`length ${init.length}`);
  if (init.transferred !== undefined) details.push(`transferred ${init.transferred}`);
  if (details.length > 0) text += ` (${details.join(", ")})`;
  return init.hint === undefined ? text : `${text}. ${init.hint}`;
}

interface SystemError {
  readonly code: string;
  readonly reason: string;
}

/** Of the numbers seen: the system's table is made anew, in 10 us, whenever it is asked for. */
const systemErrors = new Map<number, SystemError>();

/** The name and the description of a system error number (positive). */
export function systemError(errno: number): SystemError {
  let error = systemErrors.get(errno);
  if (error === undefined) {
    error = lookUp(errno);
    systemErrors.set(errno, error);
  }
  return error;
}

function lookUp(errno: number): SystemError {
  const known = util().getSystemErrorMap().get(-errno) ?? LINUX_ERRORS.get(errno);
  // libuv describes ENOTSUP as "operation not supported on socket"; here it never is a socket.
  if (known !== undefined) return { code: known[0], reason: known[1].replace(/ on socket$/, "") };
  const name = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0];
  return { code: name ?? `ERRNO_${errno}`, reason: `system error ${errno}` };
}

/** This system's number for `code`, positive, or 0. */
export function errnoOf(code: keyof typeof constants.errno): number {
  return constants.errno[code] ?? 0;
}

/** The same, negative, for any code; undefined for one that is not the system's. */
function systemNumber(code: string): number | undefined {
  const numbers: Readonly<Record<string, number | undefined>> = constants.errno;
  const number = numbers[code];
  return number === undefined ? undefined : -number;
}

/** Whether the caller cancelled the operation: such an error says nothing about the medium. */
export function wasAsked(error: IoError): boolean {
  return error.code === "ABORT_ERR" || error.code === "ERR_TIMEOUT";
}
