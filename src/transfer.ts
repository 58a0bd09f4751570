// Transfers that are more than one native operation on one buffer: vectors, foreign views larger than
// a bounce block, and reads of a direct file that are not aligned. Parts go one after the other, so
// that the total is always a contiguous prefix.

import {
  addOffset,
  bytesOf,
  checkData,
  hasLength,
  type IoData,
  notItsMemory,
  type Offset,
} from "./arguments.ts";
import { countInFlight, isPlausible, type Slab, slabOf } from "./buffer.ts";
import type { Governor } from "./control.ts";
import type { Core, Outcome, Request } from "./core.ts";
import { IoError } from "./errors.ts";
import { statusError } from "./failures.ts";
import type { FileState } from "./file_state.ts";
import { syscallName } from "./hints.ts";
import * as abi from "./native/abi.gen.ts";

/** One of the caller's buffers as it was at the call. */
export interface Region {
  readonly view: IoData;
  readonly length: number;
  readonly slab: Slab | undefined;
  readonly slabOffset: number;
}

export function regionOf(name: string, value: unknown): Region {
  const view = checkData(name, value);
  const isView = ArrayBuffer.isView(view);
  const length = view.byteLength;
  const slab = slabOf(view);
  const slabOffset = isView ? view.byteOffset : 0;
  if (!isPlausible(slab, slabOffset, length)) throw notItsMemory(name, view);
  return { view, length, slab, slabOffset };
}

export interface Transfer {
  readonly core: Core;
  readonly file: FileState;
  /** `Kind.read` or `Kind.write`. */
  readonly kind: number;
  readonly regions: readonly Region[];
  readonly offset: Offset;
  /** Bytes of all regions. */
  readonly length: number;
  readonly governor: Governor | undefined;
}

/** Returns the bytes moved; fewer than `length` only for reads that meet the end of the file. */
export async function runTransfer(transfer: Transfer): Promise<number> {
  countRegions(transfer.regions, 1);
  try {
    return await (everyPieceFits(transfer) ? runVector(transfer) : runBounced(transfer));
  } finally {
    countRegions(transfer.regions, -1);
  }
}

/** Buffers of a pool are lent again only when no transfer uses them. */
function countRegions(regions: readonly Region[], by: 1 | -1): void {
  for (const { slab, slabOffset, length } of regions) {
    if (slab?.pool !== undefined) countInFlight(slab.pool, slabOffset, length, by);
  }
}

/** Whether the kernel can have the caller's own memory. */
function everyPieceFits(transfer: Transfer): boolean {
  const { file, regions } = transfer;
  for (const { slab, slabOffset, length } of regions) {
    if (slab === undefined) return false;
    if ((length & file.offsetMask) !== 0) return false;
    // A slab's start suits every device; what matters is the place within it.
    if ((slabOffset & file.memoryMask) !== 0) return false;
  }
  return (Number(BigInt.asUintN(32, BigInt(transfer.offset))) & file.offsetMask) === 0;
}

// Vectors of pinned memory ----------------------------------------------------------------------------

async function runVector(transfer: Transfer): Promise<number> {
  const { regions } = transfer;
  let done = 0;
  for (let first = 0; first < regions.length; first += abi.IOVECS_MAX) {
    const group = regions.slice(first, first + abi.IOVECS_MAX);
    const length = group.reduce((sum, region) => sum + region.length, 0);
    const outcome = await transfer.core.start(vectorRequest(transfer, group, length, done));
    transfer.core.releaseBlock(outcome.block);
    done += moved(transfer, outcome, done);
    if (outcome.transferred < length) break;
  }
  // What was written is written; what was read has no place to be.
  if (transfer.kind === abi.Kind.read) {
    for (const region of regions) {
      if (!hasLength(region.view, region.length)) throw gone(transfer, done);
    }
  }
  return done;
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
    governor: transfer.governor,
  };
}

const IOVEC_BYTES = 16;

/** iovecs, then the slab header of each (zig/operation.zig). */
function fillIovecs(
  transfer: Transfer,
  group: readonly Region[],
  memory: Uint8Array,
  done: number,
): void {
  const out = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  group.forEach(({ view, slab, slabOffset, length }, index) => {
    if (slab === undefined || !hasLength(view, length)) throw gone(transfer, done);
    setUint64(out, index * IOVEC_BYTES, slab.address + slabOffset);
    setUint64(out, index * IOVEC_BYTES + 8, length);
    setUint64(out, group.length * IOVEC_BYTES + index * 8, slab.header);
  });
}

function setUint64(out: DataView, at: number, value: number): void {
  out.setUint32(at, value, true);
  out.setUint32(at + 4, value / 0x1_0000_0000, true);
}

// Through bounce memory -------------------------------------------------------------------------------

/**
 * Copies by way of one aligned block after the other. A read whose range is not aligned is widened,
 * and what was not asked for is dropped.
 */
async function runBounced(transfer: Transfer): Promise<number> {
  const { core, file, kind, length } = transfer;
  const head = Number(BigInt(transfer.offset) & BigInt(file.offsetMask));
  const tail = (file.offsetMask + 1 - ((head + length) & file.offsetMask)) & file.offsetMask;
  const isRead = kind === abi.Kind.read;
  if (!isRead && (head > 0 || tail > 0)) throw misaligned(transfer, head);
  const start = addOffset(transfer.offset, -head);
  const wide = head + length + tail;
  let done = 0;
  do {
    const bytes = Math.min(wide - done, abi.BOUNCE_BLOCK_BYTES_MAX);
    const from = done;
    const outcome = await core.start({
      kind,
      fd: file.fd,
      file,
      offset: addOffset(start, done),
      length: bytes,
      blockBytes: bytes,
      ...(isRead ? {} : { fill: (memory) => gather(transfer, memory, from, bytes) }),
      governor: transfer.governor,
    });
    try {
      if (isRead && outcome.block >= 0) {
        const memory = core.blockMemory(outcome.block, outcome.transferred);
        scatter(transfer, memory, done - head);
      }
    } finally {
      core.releaseBlock(outcome.block);
    }
    done += moved(transfer, outcome, Math.max(0, done - head));
    if (outcome.transferred < bytes) break;
  } while (done < wide);
  return Math.max(0, Math.min(done - head, length));
}

/** Copies the caller's bytes from `from` on into `memory`. */
function gather(transfer: Transfer, memory: Uint8Array, from: number, bytes: number): void {
  eachOverlap(transfer, from, bytes, (source, within, at, count) => {
    memory.set(source.subarray(within, within + count), at);
  });
}

/** Copies `memory`, which stands at `from` (may be negative) of the transfer, to the caller. */
function scatter(transfer: Transfer, memory: Uint8Array, from: number): void {
  eachOverlap(transfer, from, memory.byteLength, (target, within, at, count) => {
    target.set(memory.subarray(at, at + count), within);
  });
}

/** The bytes of a region, undefined if the view no longer has them. */
function memoryOf({ view, length }: Region): Uint8Array | undefined {
  try {
    return view.byteLength < length ? undefined : bytesOf(view, length);
  } catch {
    return undefined;
  }
}

function eachOverlap(
  transfer: Transfer,
  from: number,
  bytes: number,
  use: (memory: Uint8Array, within: number, at: number, count: number) => void,
): void {
  let position = 0;
  for (const region of transfer.regions) {
    const first = Math.max(position, from);
    const end = Math.min(position + region.length, from + bytes);
    if (first < end) {
      const memory = memoryOf(region);
      if (memory === undefined) throw gone(transfer, Math.max(0, from));
      use(memory, first - position, first - from, end - first);
    }
    position += region.length;
  }
}

// Outcomes --------------------------------------------------------------------------------------------

/** Bytes of a part, or throws with the whole transfer's numbers. */
function moved(transfer: Transfer, outcome: Outcome, before: number): number {
  if (outcome.status === abi.Status.ok) return outcome.transferred;
  const transferred = Math.min(before + outcome.transferred, transfer.length);
  throw failure(transfer, outcome, transferred);
}

function failure(transfer: Transfer, outcome: Outcome, transferred: number): IoError {
  const context = describe(transfer, transferred);
  if (outcome.error === undefined) return statusError(outcome.status, outcome.errno, context);
  const { code, message: _message, cause } = outcome.error;
  const { kind: _kind, file: _file, ...init } = context;
  const reason = REASONS[code];
  if (reason === undefined) return outcome.error;
  return new IoError(code, { ...init, reason, ...(cause === undefined ? {} : { cause }) });
}

const REASONS: Readonly<Record<string, string>> = {
  ABORT_ERR: "the operation was aborted",
  ERR_TIMEOUT: "the operation timed out",
};

function describe(transfer: Transfer, transferred: number) {
  const { kind, file, offset, length } = transfer;
  const vector = transfer.regions.length !== 1;
  const shown = !vector ? kind : kind === abi.Kind.read ? abi.Kind.readv : abi.Kind.writev;
  return { kind, file, syscall: syscallName(shown), path: file.path, offset, length, transferred };
}

function gone(transfer: Transfer, transferred: number): IoError {
  const { kind: _kind, file: _file, ...init } = describe(transfer, transferred);
  return new IoError("ERR_BUFFER_DETACHED", {
    ...init,
    reason: "a buffer was transferred or has shrunk before the operation settled",
    hint: "Keep the buffer as it is until the promise settles",
  });
}

/** An unaligned write range: says what is off and by how much. */
function misaligned(transfer: Transfer, head: number): IoError {
  const { kind: _kind, file, ...init } = describe(transfer, 0);
  const unit = file.offsetMask + 1;
  const off: string[] = [];
  if (head > 0) off.push(`offset is ${head} bytes past a multiple of ${unit}`);
  const rest = transfer.length % unit;
  if (rest > 0) off.push(`length is ${rest} bytes past a multiple of ${unit}`);
  return new IoError("ERR_MISALIGNED", {
    ...init,
    reason: `the write is not aligned: ${off.join(", ")}`,
    hint: "Write whole sectors (see file.alignment)",
  });
}
