// Refuses copies whose sides share bytes.

import { argumentValue } from "../common/argument_errors.ts";
import type { Offset } from "../common/arguments.ts";
import type { File } from "../file/file.ts";
import type { Extent } from "../system/disk_extent.ts";
import { extentOf } from "./extent.ts";

/** What a copy reads or writes. */
export interface Side {
  /** Of the argument: `source`, `target`, `targets[0]`. */
  readonly name: string;
  readonly file: File;
  readonly offset: Offset;
}

interface Placed extends Side {
  readonly extent: Extent | undefined;
}

/** Throws if two ranges of `length` bytes overlap on one medium: chunks are copied in any order. */
export async function refuseOverlap(sides: readonly Side[], length: number): Promise<void> {
  const placed = await Promise.all(
    sides.map(async (side) => ({ ...side, extent: await extentOf(side.file) })),
  );
  for (const [index, side] of placed.entries()) {
    for (const other of placed.slice(0, index)) {
      if (overlap(side, other, length)) throw shared(side, other);
    }
  }
}

function overlap(a: Placed, b: Placed, length: number): boolean {
  if (a.extent === undefined || b.extent === undefined) return false;
  if (a.extent.medium !== b.extent.medium) return false;
  const first = BigInt(a.offset) + BigInt(a.extent.start);
  const second = BigInt(b.offset) + BigInt(b.extent.start);
  return Math.abs(Number(first - second)) < length;
}

function shared(side: Side, other: Side): TypeError {
  const name = other.name === "source" ? "the source" : other.name;
  const isSame = side.file.path === other.file.path;
  const is = isSame ? `is ${name}` : `shares bytes with ${other.file.path ?? name}`;
  return argumentValue(side.name, `${is}, and the ranges overlap`, side.file.path);
}
