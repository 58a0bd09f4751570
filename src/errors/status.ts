// Turns a native status or an errno into the IoError that names what was tried.

import * as abi from "../native/abi.gen.ts";
import { goneError, saysGone } from "./device_gone.ts";
import type { FileFacts } from "./file_facts.ts";
import { hintFor, syscallName, TOO_MANY_FILES } from "./hints.ts";
import { IoError, type IoErrorInit, systemError, wasAsked } from "./io_error.ts";

/** The fields of an `IoError`, and the file it is about. */
export interface ErrorContext extends IoErrorInit {
  readonly kind: number;
  readonly file: FileFacts | undefined;
  readonly syscall: string;
}

export function wholeFile(kind: number, file: FileFacts): ErrorContext {
  return { kind, file, syscall: syscallName(kind), path: file.path };
}

/** The error for a native status that is not ok. */
export function statusError(status: number, errno: number, context: ErrorContext): IoError {
  const { kind, file } = context;
  if (status === abi.Status.failed) {
    const { code } = systemError(errno);
    const error = new IoError(code, {
      ...{ ...context, errno: -errno, hint: hintFor(code, kind, file) },
    });
    return saysGone(file, code) ? goneError(error) : error;
  }
  if (status === abi.Status.outcomeUnknown) return unknownError(errno, context);
  if (status === abi.Status.noProgress) {
    const reason = "the kernel reports success but writes nothing";
    return new IoError("EIO", { ...context, reason });
  }
  if (status === abi.Status.ok) {
    return new IoError("ERR_END_OF_FILE", {
      ...context,
      reason: `the file ends after ${context.transferred} of ${context.length} bytes`,
      hint: "Use readAt to accept fewer bytes",
    });
  }
  const reason = "the native library refused the operation";
  return new IoError("ERR_INTERNAL", { ...context, reason });
}

/** The code of operations that were in flight when their ring was lost. */
export const OUTCOME_UNKNOWN = "ERR_OUTCOME_UNKNOWN";

/** The error of an operation whose outcome the kernel refuses to report, with this errno. */
function unknownError(errno: number, context: ErrorContext): IoError {
  const { kind } = context;
  const { code } = systemError(errno);
  const hints: string[] = [];
  if (kind === abi.Kind.read || kind === abi.Kind.readv) hints.push(MAY_READ);
  else if (kind === abi.Kind.write || kind === abi.Kind.writev) hints.push(MAY_WRITE);
  if (code === "EPERM" || code === "EACCES" || code === "ENOSYS") hints.push(SANDBOXED);
  return new IoError(OUTCOME_UNKNOWN, {
    ...context,
    errno: -errno,
    reason: `the kernel no longer reports how the operation ended (${refusal(errno)})`,
    ...(hints.length > 0 ? { hint: hints.join(". ") } : {}),
  });
}

const MAY_READ =
  "The kernel may still write to a buffer from allocBuffer or a BufferPool: do not use it again";
const MAY_WRITE =
  "The write may still be carried out at any later time: do not write to this range again from this process";
const SANDBOXED =
  'A sandbox must forbid io_uring before the first Ring is opened; or use the backend "threads"';

/** The error of operations of a lost ring that were not in the kernel. */
export function lostError(errno: number, context: IoErrorInit): IoError {
  const reason = `the ring was lost before the operation reached the kernel (${refusal(errno)})`;
  const hint = "Open the file again, on another ring";
  return new IoError(OUTCOME_UNKNOWN, { ...context, errno: -errno, reason, hint });
}

/** The error of calls on a closed ring, or on a file of it; on a lost one if `lostErrno` is not 0. */
export function ringClosedError(lostErrno: number, init: IoErrorInit): IoError {
  if (lostErrno === 0)
    return new IoError("ERR_RING_CLOSED", { ...init, reason: "the ring is closed" });
  const reason = `the ring is lost: the kernel refuses it (${refusal(lostErrno)})`;
  return new IoError("ERR_RING_CLOSED", { ...init, errno: -lostErrno, reason });
}

function refusal(errno: number): string {
  const { code, reason } = systemError(errno);
  return `io_uring_enter: ${code}, ${reason}`;
}

/** Refuses a change of sectors that an operation of unknown outcome may still write. */
export function givenUpError(context: ErrorContext, cause: unknown): IoError {
  return new IoError(OUTCOME_UNKNOWN, {
    ...context,
    reason:
      "an earlier unaligned write to the same sectors has an unknown outcome and may still be carried out",
    hint: "Nothing was written. See `cause`",
    cause,
  });
}

export function closedError(where: { syscall: string; path: string | undefined }): IoError {
  return new IoError("EBADF", { ...where, reason: "the file is closed", hint: "Open it again" });
}

export function detachedError(context: ErrorContext): IoError {
  return new IoError("ERR_BUFFER_DETACHED", {
    ...context,
    reason: "the buffer was transferred or has shrunk before the operation settled",
    hint: "Do not transfer or shrink the buffer until the promise settles",
  });
}

/** A sync that cannot promise durability, because an earlier write or sync failed. */
export function syncError(kind: number, path: string | undefined, cause: IoError): IoError {
  return new IoError(cause.code, {
    reason: "data written to this file is not on the medium: an earlier write or sync failed",
    errno: cause.errno,
    syscall: syscallName(kind),
    path,
    hint: "See `cause`. Reopen the file and write the data again",
    cause,
  });
}

/** A sync that succeeded but for one write, which failed because of `cause`. Later syncs do not report it again. */
export function missingError(kind: number, path: string | undefined, cause: unknown): IoError {
  const known = cause instanceof IoError ? cause : undefined;
  const where = { syscall: syscallName(kind), path, cause };
  if (known !== undefined && wasAsked(known)) {
    const how = known.code === "ABORT_ERR" ? "was aborted" : "timed out";
    return new IoError("ERR_WRITE_ABORTED", {
      ...where,
      reason: `a write called before this sync ${how}: its data may be on the medium, in part, or not at all`,
      hint: "See `cause`. If you need the data, write it again and sync again",
    });
  }
  return new IoError(known?.code ?? "EIO", {
    ...where,
    reason: "a write called before this sync was not carried out",
    errno: known?.errno,
    hint: "See `cause`. Write the data again and sync again",
  });
}

export function refusedError(refused: Refused): IoError {
  const { code, reason } = systemError(refused.errno);
  return new IoError(code, {
    reason: `${refusedText(refused)}: ${reason}`,
    errno: -refused.errno,
    syscall: "ring_open",
    hint:
      code === "EMFILE" || code === "ENFILE"
        ? TOO_MANY_FILES
        : 'Let Ring.open choose the backend ("auto"), or see backendReason',
  });
}

const BACKEND_NAMES = ["auto", "io_uring", "posix_aio", "threads", "simulated"] as const;

export function backendName(backend: number): (typeof BACKEND_NAMES)[number] {
  return BACKEND_NAMES[backend] ?? "auto";
}

const STEPS = [
  "open",
  "setup",
  "mmap",
  "eventfd",
  "opcodes",
  "symbols",
  "kqueue",
  "threads",
] as const;

export function refusedText(refused: Refused): string {
  return `${backendName(refused.backend)} refused at ${STEPS[refused.step] ?? "open"}`;
}

export interface Refused {
  readonly backend: number;
  readonly errno: number;
  readonly step: number;
}
