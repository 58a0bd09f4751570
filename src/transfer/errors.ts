// Errors of transfers of several parts: they name the whole transfer, not the part that failed.

import { cancelError } from "../cancellation/scope.ts";
import { addOffset, remainder } from "../common/arguments.ts";
import { byteOffsetOf } from "../common/memory_views.ts";
import { endsTooEarly } from "../errors/device_gone.ts";
import { syscallName } from "../errors/hints.ts";
import { errnoOf, IoError } from "../errors/io_error.ts";
import {
  detachedError,
  type ErrorContext,
  givenUpError,
  lostError,
  OUTCOME_UNKNOWN,
  statusError,
} from "../errors/status.ts";
import type { Waiter } from "../locks/write_lock.ts";
import { slabOf } from "../memory/slab.ts";
import * as abi from "../native/abi.gen.ts";
import { deviceGone, orGone } from "../ring/device_gone.ts";
import type { Outcome } from "../ring/request.ts";
import type { Transfer } from "./request.ts";

/** A waiter whose failures are errors of this transfer. */
export function waiterOf(transfer: Transfer): Waiter {
  return {
    scope: transfer.scope,
    stopped: (reason) => cancelError(reason, describe(transfer, 0)),
    givenUp: (cause) => givenUpError(describe(transfer, 0), cause),
  };
}

/** The error of a failed part, as an error of the whole transfer; `transferred`: bytes of the whole that are done. */
export async function settledBadly(
  transfer: Transfer,
  outcome: Outcome,
  transferred: number,
): Promise<IoError> {
  const context = describe(transfer, Math.max(0, Math.min(transferred, transfer.length)));
  if (outcome.error === undefined) {
    const error = statusError(outcome.status, outcome.errno, context);
    return orGone(transfer.proactor, transfer.file, error);
  }
  const { code, cause, errno = 0 } = outcome.error;
  if (code === OUTCOME_UNKNOWN) return lostError(-errno, context);
  const reason = REASONS[code];
  if (reason === undefined) return outcome.error;
  return new IoError(code, { ...context, reason, ...(cause === undefined ? {} : { cause }) });
}

const REASONS: Readonly<Record<string, string>> = {
  ABORT_ERR: "the operation was aborted",
  ERR_TIMEOUT: "the operation timed out",
};

export function describe(transfer: Transfer, transferred: number): ErrorContext {
  const { kind, file, offset, length } = transfer;
  const vector = transfer.views.length !== 1;
  const shown = !vector ? kind : kind === abi.Kind.read ? abi.Kind.readv : abi.Kind.writev;
  return { kind, file, syscall: syscallName(shown), path: file.path, offset, length, transferred };
}

export function detached(transfer: Transfer, transferred: number): IoError {
  return detachedError(describe(transfer, transferred));
}

/** A write beyond the end of a device or image; none of it was written. */
export function beyondEnd(transfer: Transfer): IoError {
  const init = describe(transfer, 0);
  const { file } = transfer;
  const over = addOffset(addOffset(transfer.offset, transfer.length), -file.limit);
  return new IoError("ENOSPC", {
    ...init,
    errno: -errnoOf("ENOSPC"),
    reason: `the write ends ${over} bytes past the end of the device (${file.limit} bytes)`,
    hint: "Nothing was written; the size of a device is fixed",
  });
}

/** An unaligned write range: names what is misaligned and by how much. */
export function misaligned(transfer: Transfer): IoError {
  const init = describe(transfer, 0);
  const { file } = transfer;
  const unit = file.writeMask + 1;
  const off: string[] = [];
  const past = remainder(transfer.offset, unit);
  if (past > 0) off.push(`offset is ${bytes(past)} past a multiple of ${unit}`);
  const rest = transfer.length % unit;
  if (rest > 0) off.push(`length is ${bytes(rest)} past a multiple of ${unit}`);
  const memory = misalignedMemory(transfer);
  if (memory > 0) off.push(`memory is ${bytes(memory)} past a multiple of ${file.memoryMask + 1}`);
  return new IoError("ERR_MISALIGNED", {
    ...init,
    reason: `the write is not aligned: ${off.join(", ")}`,
    hint: 'Write whole sectors (see file.alignment), or open the file with { unalignedWrites: "rmw" }',
  });
}

/** Bytes by which the first misaligned slab buffer is off. Other memory is copied anyway. */
function misalignedMemory(transfer: Transfer): number {
  for (const view of transfer.views) {
    if (slabOf(view) === undefined) continue;
    const past = byteOffsetOf(view) & transfer.file.memoryMask;
    if (past > 0) return past;
  }
  return 0;
}

function bytes(count: number): string {
  return count === 1 ? "1 byte" : `${count} bytes`;
}

/** At a short read: throws if the device is gone, returns at a true end. */
export async function checkEnd(transfer: Transfer, moved: number): Promise<void> {
  const { proactor, file, offset } = transfer;
  if (!endsTooEarly(file, offset, moved)) return;
  const error = statusError(abi.Status.ok, 0, describe(transfer, moved));
  const goneInstead = await deviceGone(proactor, file, error);
  if (goneInstead !== undefined) throw goneInstead;
}
