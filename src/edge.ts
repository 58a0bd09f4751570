// The ragged ends of a sequential writer: `writable()` and `copy` send aligned requests, but where they
// begin and end is up to the caller. On a file that wants whole units (`direct`, sectors of a device) the
// first and the last unit are read, changed and written back; a regular file keeps its exact length.
//
// No lock: the writer has nothing else in flight on these units, and neither should others.

import { addOffset, type IoOptions, type Offset } from "./arguments.ts";
import { allocBuffer } from "./buffer.ts";
import type { File } from "./file.ts";

/** How far `offset` is past a multiple of `unit`. */
export function remainder(offset: Offset, unit: number): number {
  return typeof offset === "number" ? offset % unit : Number(offset % BigInt(unit));
}

export function roundUp(bytes: number, unit: number): number {
  return Math.ceil(bytes / unit) * unit;
}

export function isAligned(file: File, offset: Offset, length: number): boolean {
  const unit = file.alignment.offset;
  return remainder(offset, unit) === 0 && length % unit === 0;
}

/**
 * Writes `data` wherever it begins and ends. A regular file may be longer afterwards, by less than a
 * unit: see `trimLength`.
 */
export async function writeAnywhere(
  file: File,
  data: Uint8Array,
  offset: Offset,
  options: IoOptions,
): Promise<void> {
  if (isAligned(file, offset, data.byteLength)) {
    await file.writeAt(data, offset, options);
    return;
  }
  const unit = file.alignment.offset;
  const head = remainder(offset, unit);
  const start = addOffset(offset, -head);
  const wide = roundUp(head + data.byteLength, unit);
  const buffer = allocBuffer(wide);
  const last = wide - unit;
  if (head > 0) await file.readAt(buffer.subarray(0, unit), start, options);
  const tail = (head + data.byteLength) % unit;
  if (tail > 0 && (last > 0 || head === 0)) {
    await file.readAt(buffer.subarray(last), addOffset(start, last), options);
  }
  buffer.set(data, head);
  await file.writeAt(buffer, start, options);
}

/** Whether unaligned writes can leave a file longer than was asked for. */
export function growsByUnits(file: File): boolean {
  return file.kind === "regular" && file.alignment.offset > 1;
}

/** Cuts what `writeAnywhere` wrote past `end`, in a file that had `before` bytes. */
export async function trimLength(
  file: File,
  before: number,
  end: Offset,
  options: IoOptions,
): Promise<void> {
  const wanted = Math.max(before, Number(end));
  if ((await file.size()) > wanted) await file.truncate(wanted, options);
}
