// Read-modify-write: writes whose range is not aligned, with `unalignedWrites: "rmw"` or from a stream or a copy.
// Reads the partial sectors at both ends, puts the caller's bytes over them and writes whole sectors, under a range
// lock that every write of this thread to the file takes part in.
//
// No deadlock: partial sectors are kept in plain memory, each part has its own bounce block, and a write that turns
// out to reach past the end of the file releases its range before it asks for a larger one.

import { addOffset, type Offset } from "../common/arguments.ts";
import { IoError } from "../errors/io_error.ts";
import * as abi from "../native/abi.gen.ts";
import { type PartialSector, runBounced, type Span, spanOf } from "./bounced.ts";
import { describe, settledBadly, waiterOf } from "./errors.ts";
import type { Transfer } from "./request.ts";

export async function readModifyWrite(transfer: Transfer): Promise<number> {
  const span = spanOf(transfer);
  const mayGrow = transfer.file.kind === abi.FileKind.regular && span.tail > 0;
  const unit = transfer.file.ioMask + 1;
  const end = addOffset(span.start, span.bytes);
  const { lock } = transfer.file;
  const waiter = waiterOf(transfer);
  const moved = await lock.alone(span.start, end, waiter, async () => {
    const sectors = await readPartialSectors(transfer, span);
    if (mayGrow && sectors.tailBytes < unit) return undefined;
    return runBounced(transfer, { ...span, partialSectors: sectors.partialSectors });
  });
  if (moved !== undefined) return moved;
  // The file ends within or before the last sector: writing whole sectors makes it too long for a moment, and it
  // must not grow before it is cut.
  return lock.alone(span.start, Infinity, waiter, async () => {
    const sectors = await readPartialSectors(transfer, span);
    const wide = { ...span, partialSectors: sectors.partialSectors };
    if (sectors.tailBytes === unit) return runBounced(transfer, wide);
    return runPastEnd(transfer, wide, sectors.tailBytes);
  });
}

interface Sectors {
  readonly partialSectors: readonly PartialSector[];
  /** Bytes of the last sector that exist in the file. */
  readonly tailBytes: number;
}

/** Reads the first and last sector where the caller's bytes do not cover them. */
async function readPartialSectors(transfer: Transfer, span: Span): Promise<Sectors> {
  const unit = transfer.file.ioMask + 1;
  const last = span.bytes - unit;
  const first = span.head > 0 && last > 0 ? readSector(transfer, span.start, unit) : undefined;
  const lastIsEdge = span.tail > 0 || (span.head > 0 && last === 0);
  const end = lastIsEdge
    ? readSector(transfer, addOffset(span.start, last), unit)
    : Promise.resolve(undefined);
  const [headSector, tailSector] = await Promise.allSettled([first, end]);
  if (headSector.status === "rejected") throw headSector.reason;
  if (tailSector.status === "rejected") throw tailSector.reason;
  const partialSectors: PartialSector[] = [];
  if (headSector.value !== undefined) partialSectors.push({ at: 0, bytes: headSector.value.bytes });
  if (tailSector.value !== undefined)
    partialSectors.push({ at: last, bytes: tailSector.value.bytes });
  return { partialSectors, tailBytes: tailSector.value?.transferred ?? unit };
}

/** Reads one sector; bytes past the end of the file are zero. */
async function readSector(
  transfer: Transfer,
  offset: Offset,
  unit: number,
): Promise<{ bytes: Uint8Array; transferred: number }> {
  const { proactor, file, scope } = transfer;
  const outcome = await proactor.start({
    kind: abi.Kind.read,
    fd: file.fd,
    file,
    offset,
    length: unit,
    blockBytes: unit,
    scope,
  });
  try {
    const bytes = new Uint8Array(unit);
    // Aborted or timed out: an error of the caller's write.
    if (outcome.error !== undefined) throw await settledBadly(transfer, outcome, 0);
    if (outcome.status !== abi.Status.ok) {
      // The read failed: the error says so.
      const views = [bytes];
      const read = { ...transfer, kind: abi.Kind.read, views, offset, length: unit };
      throw await settledBadly(read, outcome, outcome.transferred);
    }
    bytes.set(proactor.bounce.memoryOf(outcome.block, outcome.transferred));
    return { bytes, transferred: outcome.transferred };
  } finally {
    proactor.releaseBlock(outcome.block);
  }
}

/** Writes whole sectors over the end of a regular file, then cuts it to its new length. */
async function runPastEnd(transfer: Transfer, span: Span, tailBytes: number): Promise<number> {
  const unit = transfer.file.ioMask + 1;
  const end = addOffset(transfer.offset, transfer.length);
  const lastSector = addOffset(span.start, span.bytes - unit);
  const before = addOffset(lastSector, tailBytes);
  const length = tailBytes > 0 && before > end ? before : end;
  try {
    const moved = await runBounced(transfer, span);
    await cut(transfer, length);
    return moved;
  } catch (error) {
    try {
      if (await reachesBeyond(transfer, length)) await cut(transfer, length);
    } catch {
      // The caller must see why the write failed.
    }
    throw error;
  }
}

/** Without the scope: the padding must be cut even if the caller has cancelled. */
async function cut(transfer: Transfer, length: Offset): Promise<void> {
  const { proactor, file } = transfer;
  const kind = abi.Kind.truncate;
  const outcome = await proactor.start({ kind, fd: file.fd, file, offset: length });
  if (outcome.status === abi.Status.ok) return;
  const cause = await settledBadly(transfer, outcome, transfer.length);
  throw new IoError(cause.code, {
    ...describe(transfer, transfer.length),
    errno: cause.errno,
    syscall: "ftruncate",
    reason: `the bytes are written, but the file could not be cut to ${length} bytes`,
    cause,
  });
}

async function reachesBeyond(transfer: Transfer, length: Offset): Promise<boolean> {
  const { proactor, file } = transfer;
  const outcome = await proactor.start({
    kind: abi.Kind.stat,
    fd: file.fd,
    file,
    blockBytes: abi.FileInfo.SIZE,
  });
  try {
    if (outcome.status !== abi.Status.ok) return false;
    const memory = proactor.bounce.memoryOf(outcome.block, abi.FileInfo.SIZE);
    const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    return view.getFloat64(abi.FileInfo.size, true) > length;
  } finally {
    proactor.releaseBlock(outcome.block);
  }
}
