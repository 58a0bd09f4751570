// Transfers through aligned bounce buffers: for foreign and misaligned memory, vectors with unaligned pieces, and
// reads that are widened to whole sectors.
//
// A few parts are in flight at once. Each has its own block and releases it when it ends; none waits for memory
// while it holds some. The result is the contiguous prefix.

import { addOffset, lowBits, type Offset } from "../common/arguments.ts";
import { byteLengthOf, partOf, setBytes } from "../common/memory_views.ts";
import type { IoError } from "../errors/io_error.ts";
import * as abi from "../native/abi.gen.ts";
import type { Outcome } from "../ring/request.ts";
import { checkEnd, detached, settledBadly } from "./errors.ts";
import type { Transfer } from "./request.ts";

/** Bytes of one part, and parts in flight at once; measured in docs/block-devices.md. */
const PART_BYTES = 512 * 1024;
const PARTS_MAX = 4;

/** The range that is actually read or written: the caller's, widened to what the kernel accepts. */
export interface Span {
  readonly start: Offset;
  readonly bytes: number;
  /** Bytes before the caller's first one. */
  readonly head: number;
  /** Bytes after the caller's last one. */
  readonly tail: number;
  /** Writes: the current contents of the first and last unit, around the caller's bytes. */
  readonly partialSectors?: readonly PartialSector[];
}

export interface PartialSector {
  /** Offset within the span. */
  readonly at: number;
  readonly bytes: Uint8Array;
}

export function spanOf(transfer: Transfer): Span {
  const { offset, length } = transfer;
  const mask = transfer.file.ioMask;
  const head = lowBits(offset) & mask;
  const tail = (mask + 1 - ((head + length) & mask)) & mask;
  return { start: addOffset(offset, -head), bytes: head + length + tail, head, tail };
}

/** Reads of one buffer up to this size are one part, and take the short path below. */
export const WIDENED_BYTES_MAX: number = PART_BYTES / 2;

/** A read of one buffer of at most WIDENED_BYTES_MAX bytes, widened to whole sectors and trimmed. */
export async function readWidened(transfer: Transfer): Promise<number> {
  const { proactor, file, length } = transfer;
  if (length === 0) return 0;
  const span = spanOf(transfer);
  const outcome = await proactor.start({
    kind: abi.Kind.read,
    fd: file.fd,
    file,
    offset: span.start,
    length: span.bytes,
    blockBytes: span.bytes,
    scope: transfer.scope,
  });
  const moved = Math.max(0, Math.min(outcome.transferred - span.head, length));
  try {
    if (moved > 0) {
      const memory = proactor.bounce.memoryOf(outcome.block, outcome.transferred);
      scatter(transfer, 0, 0, memory, -span.head);
    }
  } finally {
    proactor.releaseBlock(outcome.block);
  }
  if (outcome.status !== abi.Status.ok) throw await settledBadly(transfer, outcome, moved);
  if (moved < length) await checkEnd(transfer, moved);
  return moved;
}

interface Part {
  readonly bytes: number;
  readonly outcome: Outcome;
  /** Set if the caller's buffer was detached. */
  readonly error: IoError | undefined;
}

/** Returns how many of the caller's bytes were transferred, contiguous from the first. */
export async function runBounced(transfer: Transfer, span: Span): Promise<number> {
  const running: Promise<Part>[] = [];
  const cursor: Cursor = { index: 0, position: 0 };
  let launched = 0;
  let done = 0;
  let ended: Part | undefined;
  while (true) {
    while (ended === undefined && running.length < PARTS_MAX && launched < span.bytes) {
      const bytes = Math.min(PART_BYTES, span.bytes - launched);
      running.push(runPart(transfer, span, launched, bytes, cursor));
      launched += bytes;
      advance(transfer, cursor, launched - span.head);
      // The kernel works on this part while the next one is gathered.
      if (launched < span.bytes) await undefined;
    }
    const next = running.shift();
    if (next === undefined) break;
    const part = await next;
    // Parts after one that fell short do not count; but nobody may believe that a write has ended which has not.
    if (ended !== undefined) {
      const isUnknown = part.outcome.status === abi.Status.outcomeUnknown;
      if (isUnknown && transfer.kind === abi.Kind.write) ended = part;
      continue;
    }
    done += part.outcome.transferred;
    const complete = part.outcome.transferred === part.bytes;
    if (!complete || part.error !== undefined || part.outcome.status !== abi.Status.ok) {
      ended = part;
    }
  }
  const moved = Math.max(0, Math.min(done - span.head, transfer.length));
  if (ended?.error !== undefined) throw ended.error;
  if (ended !== undefined && ended.outcome.status !== abi.Status.ok) {
    const error = await settledBadly(transfer, ended.outcome, moved);
    // Later changes of these sectors are refused: the delayed write would overwrite them with old bytes.
    if (ended.outcome.status === abi.Status.outcomeUnknown && span.partialSectors !== undefined) {
      transfer.file.lock.giveUp(span.start, addOffset(span.start, span.bytes), error);
    }
    throw error;
  }
  return moved;
}

/** Never rejects. */
async function runPart(
  transfer: Transfer,
  span: Span,
  from: number,
  bytes: number,
  cursor: Cursor,
): Promise<Part> {
  const { proactor, file, kind } = transfer;
  const { index, position } = cursor;
  const isRead = kind === abi.Kind.read;
  const fill = (memory: Uint8Array): void => {
    for (const edge of span.partialSectors ?? []) {
      if (edge.at >= from && edge.at < from + bytes) memory.set(edge.bytes, edge.at - from);
    }
    gather(transfer, index, position, memory, from - span.head, bytes);
    if (transfer.change !== undefined) transfer.change.hasBegun = true;
  };
  const outcome = await proactor.start({
    kind,
    fd: file.fd,
    file,
    offset: addOffset(span.start, from),
    length: bytes,
    blockBytes: bytes,
    ...(isRead ? {} : { fill }),
    scope: transfer.scope,
  });
  let error: IoError | undefined;
  try {
    if (isRead && outcome.block >= 0) {
      const memory = proactor.bounce.memoryOf(outcome.block, outcome.transferred);
      scatter(transfer, index, position, memory, from - span.head);
    }
  } catch (failure) {
    error = failure as IoError;
  } finally {
    proactor.releaseBlock(outcome.block);
  }
  return { bytes, outcome, error };
}

// Between the caller's buffers and a block --------------------------------------------------------------

/** A buffer of the caller, and its position in the whole. */
interface Cursor {
  index: number;
  position: number;
}

/** Advances to the buffer that holds byte `to`. */
function advance(transfer: Transfer, cursor: Cursor, to: number): void {
  const { lengths } = transfer;
  while (cursor.index < lengths.length) {
    const end = cursor.position + (lengths[cursor.index] as number);
    if (end > to) return;
    cursor.position = end;
    cursor.index++;
  }
}

/** Copies the caller's bytes into `memory`, whose position in the whole is `from` (may be negative). */
function gather(
  transfer: Transfer,
  index: number,
  position: number,
  memory: Uint8Array,
  from: number,
  bytes: number,
): void {
  const { views, lengths } = transfer;
  const end = Math.min(from + bytes, transfer.length);
  let start = position;
  for (let i = index; i < views.length && start < end; i++) {
    const view = views[i] as Uint8Array;
    const length = lengths[i] as number;
    const bytes = byteLengthOf(view);
    if (bytes < length) throw detached(transfer, Math.max(0, from));
    const within = Math.max(0, from - start);
    const count = Math.min(length, end - start) - within;
    if (count > 0) {
      const source = count === bytes ? view : partOf(view, within, count);
      setBytes(memory, source, start + within - from);
    }
    start += length;
  }
}

/** Copies `memory`, whose position in the whole is `from` (may be negative), to the caller. */
function scatter(
  transfer: Transfer,
  index: number,
  position: number,
  memory: Uint8Array,
  from: number,
): void {
  const { views, lengths } = transfer;
  const end = Math.min(from + memory.byteLength, transfer.length);
  let start = position;
  for (let i = index; i < views.length && start < end; i++) {
    const view = views[i] as Uint8Array;
    const length = lengths[i] as number;
    if (byteLengthOf(view) < length) throw detached(transfer, Math.max(0, from));
    const within = Math.max(0, from - start);
    const count = Math.min(length, end - start) - within;
    if (count > 0) {
      const at = start + within - from;
      const source = memory.subarray(at, at + count);
      setBytes(view, source, within);
    }
    start += length;
  }
}
