// The ragged ends of a sequential writer: `writable()` and `copy` send aligned requests, but where they
// begin and end is up to the caller.

import type { IoOptions, Offset } from "./arguments.ts";
import { type File, writeRagged } from "./file.ts";

/** How far `offset` is past a multiple of `unit`. */
export function remainder(offset: Offset, unit: number): number {
  return typeof offset === "number" ? offset % unit : Number(offset % BigInt(unit));
}

export function roundUp(bytes: number, unit: number): number {
  return Math.ceil(bytes / unit) * unit;
}

/**
 * Writes `data` wherever it begins and ends, whatever the file's `unalignedWrites` says. What it shares
 * units with is neither changed nor lost, and a regular file gets no longer than was asked for.
 */
export async function writeAnywhere(
  file: File,
  data: Uint8Array,
  offset: Offset,
  options: IoOptions,
): Promise<void> {
  const unit = file.alignment.offset;
  const aligned = remainder(offset, unit) === 0 && data.byteLength % unit === 0;
  await (aligned ? file.writeAt(data, offset, options) : writeRagged(file, data, offset, options));
}
