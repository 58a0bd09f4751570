// Transfers of more than one native operation on one buffer: vectors, foreign views larger than a bounce block, and
// whatever does not suit the alignment of a direct file or device. Chooses the route:
//
// - Every piece is aligned native memory: the kernel gets the caller's memory (`runVector`).
// - Otherwise bytes travel through aligned bounce buffers (bounced.ts); reads are widened and trimmed.
// - Writes of an unaligned range are refused, or read, modified and written back (read_modify_write.ts).

import { addOffset, lowBits, type Offset } from "../common/arguments.ts";
import { byteOffsetOf, isDetachedBuffer } from "../common/memory_views.ts";
import { haveLenders, type Lender, type Slab, slabOf } from "../memory/slab.ts";
import * as abi from "../native/abi.gen.ts";
import type { FileState } from "../ring/file_state.ts";
import type { Request } from "../ring/request.ts";
import { runBounced, spanOf } from "./bounced.ts";
import { beyondEnd, checkEnd, detached, misaligned, settledBadly, waiterOf } from "./errors.ts";
import { readModifyWrite } from "./read_modify_write.ts";
import type { Transfer } from "./request.ts";

/** Whether a transfer of one buffer needs more than the fast path. */
export function needsCare(
  file: FileState,
  kind: number,
  offset: Offset,
  length: number,
  slab: Slab | undefined,
  slabOffset: number,
): boolean {
  if (((lowBits(offset) | length) & file.offsetMask) !== 0) return true;
  if (slab !== undefined && (slabOffset & file.memoryMask) !== 0) return true;
  if (kind !== abi.Kind.write) return false;
  return file.lock.isOn || addOffset(offset, length) > file.limit;
}

/** Throws the error of a write that must not begin. */
export function checkTransfer(transfer: Transfer): void {
  const { file, offset, length } = transfer;
  if (transfer.kind !== abi.Kind.write || length === 0) return;
  if (file.limit !== Infinity && addOffset(offset, length) > file.limit) throw beyondEnd(transfer);
  if (file.unalignedWrites === "rmw" || transfer.mayBeUnaligned === true) return;
  if (((lowBits(offset) | length) & file.writeMask) !== 0) throw misaligned(transfer);
}

/** Returns the bytes transferred; fewer than `length` only for reads that reach the end of the file. */
export async function runTransfer(transfer: Transfer): Promise<number> {
  if (transfer.length === 0) return 0;
  const leases = pooledParts(transfer);
  for (const { lender, offset, length } of leases) lender.countInFlight(offset, length, 1);
  try {
    const moved = await runEither(transfer);
    if (moved < transfer.length) await checkEnd(transfer, moved);
    return moved;
  } finally {
    for (const { lender, offset, length } of leases) lender.countInFlight(offset, length, -1);
  }
}

async function runEither(transfer: Transfer): Promise<number> {
  const { file, offset, length } = transfer;
  if (transfer.kind === abi.Kind.read) return runPlain(transfer);
  if (((lowBits(offset) | length) & file.ioMask) !== 0) return readModifyWrite(transfer);
  const range = { start: offset, end: addOffset(offset, length) };
  return file.lock.during(range, waiterOf(transfer), () => runPlain(transfer));
}

async function runPlain(transfer: Transfer): Promise<number> {
  const regions = slabRegions(transfer);
  return regions === undefined
    ? runBounced(transfer, spanOf(transfer))
    : runVector(transfer, regions);
}

// Buffers lent by a pool ------------------------------------------------------------------------------

type PooledPart = { lender: Lender; offset: number; length: number };
const NO_PARTS: readonly PooledPart[] = [];

/** The parts of the caller's memory that belong to a `BufferPool`: the pool must not lend them meanwhile. */
function pooledParts(transfer: Transfer): readonly PooledPart[] {
  if (!haveLenders()) return NO_PARTS;
  let parts: PooledPart[] | undefined;
  const { views, lengths } = transfer;
  for (let index = 0; index < views.length; index++) {
    const view = views[index] as Uint8Array;
    const lender = slabOf(view)?.lender;
    if (lender === undefined) continue;
    parts ??= [];
    const offset = byteOffsetOf(view);
    parts.push({ lender, offset, length: lengths[index] as number });
  }
  return parts ?? NO_PARTS;
}

// Vectors of native memory ----------------------------------------------------------------------------

/** A buffer of the caller that the kernel can use directly. */
interface Region {
  readonly view: Uint8Array;
  readonly length: number;
  readonly slab: Slab;
  readonly slabOffset: number;
}

/** The caller's buffers, if the kernel can use all of them directly. */
function slabRegions(transfer: Transfer): Region[] | undefined {
  const { file, views, lengths } = transfer;
  const mask = file.ioMask;
  if (mask !== 0) {
    if ((lowBits(transfer.offset) & mask) !== 0) return undefined;
    for (const length of lengths) if ((length & mask) !== 0) return undefined;
  }
  const regions: Region[] = [];
  for (let index = 0; index < views.length; index++) {
    const view = views[index] as Uint8Array;
    const slab = slabOf(view);
    if (slab === undefined) return undefined;
    // The start of a slab suits every device; only the offset within it matters.
    const slabOffset = byteOffsetOf(view);
    if ((slabOffset & file.memoryMask) !== 0) return undefined;
    regions.push({ view, length: lengths[index] as number, slab, slabOffset });
  }
  return regions;
}

async function runVector(transfer: Transfer, regions: readonly Region[]): Promise<number> {
  let done = 0;
  for (let first = 0; first < regions.length; first += abi.IOVECS_MAX) {
    const group = regions.slice(first, first + abi.IOVECS_MAX);
    const length = group.reduce((sum, region) => sum + region.length, 0);
    const outcome = await transfer.proactor.start(vectorRequest(transfer, group, length, done));
    transfer.proactor.releaseBlock(outcome.block);
    done += outcome.transferred;
    if (outcome.status === abi.Status.outcomeUnknown) loseRegions(group);
    if (outcome.status !== abi.Status.ok) throw await settledBadly(transfer, outcome, done);
    if (outcome.transferred < length) break;
  }
  // Data already written counts; data read has no buffer to go to.
  if (transfer.kind === abi.Kind.read) {
    if (regions.some(hasDetached)) throw detached(transfer, done);
  }
  return done;
}

/** The kernel may use these regions for ever. */
function loseRegions(regions: readonly Region[]): void {
  for (const { slab, slabOffset, length } of regions) {
    if (length > 0) slab.lender?.lose(slabOffset, length);
  }
}

/** Whether its memory was detached since the call. */
function hasDetached({ slab }: Region): boolean {
  return isDetachedBuffer(slab.buffer);
}

function vectorRequest(
  transfer: Transfer,
  group: readonly Region[],
  length: number,
  done: number,
): Request {
  return {
    kind: transfer.kind === abi.Kind.read ? abi.Kind.readv : abi.Kind.writev,
    fd: transfer.file.fd,
    file: transfer.file,
    offset: addOffset(transfer.offset, done),
    length,
    argument: group.length,
    blockBytes: group.length * (IOVEC_BYTES + 8),
    fill: (memory) => fillIovecs(transfer, group, memory, done),
    scope: transfer.scope,
  };
}

const IOVEC_BYTES = 16;

/** iovecs, then the slab header of each (zig/engine/operation.zig). */
function fillIovecs(
  transfer: Transfer,
  group: readonly Region[],
  memory: Uint8Array,
  done: number,
): void {
  const out = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  if (group.some(hasDetached)) throw detached(transfer, done);
  group.forEach(({ slab, slabOffset, length }, index) => {
    setUint64(out, index * IOVEC_BYTES, slab.address + slabOffset);
    setUint64(out, index * IOVEC_BYTES + 8, length);
    setUint64(out, group.length * IOVEC_BYTES + index * 8, slab.header);
  });
  if (transfer.change !== undefined) transfer.change.hasBegun = true;
}

function setUint64(out: DataView, at: number, value: number): void {
  out.setUint32(at, value, true);
  out.setUint32(at + 4, value / 0x1_0000_0000, true);
}
