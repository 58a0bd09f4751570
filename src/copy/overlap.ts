// Refuses copies whose sides share bytes.

import { argumentValue } from "../common/argument_errors.ts";
import type { Offset } from "../common/arguments.ts";
import type { File } from "../file/file.ts";
import { openFileOf } from "../file/open_file.ts";
import { proactorOf } from "../ring/ring.ts";
import { type Extent, placementOf } from "../system/disk_extent.ts";
import { diskKey, systemOf } from "../system/loop_devices.ts";
import { numbersText } from "../system/sysfs.ts";

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

/** Where its bytes are stored; undefined for files on no medium (/dev/zero, /proc). */
async function extentOf(file: File): Promise<Extent | undefined> {
  if (file.kind !== "regular" && file.kind !== "disk") return undefined;
  if (file.ring.backend === "simulated") return { medium: file.ring, start: 0 };
  if (file.kind === "regular") return { medium: openFileOf(file).state.identity?.name, start: 0 };
  const { rdev } = await file.stat();
  if (process.platform !== "linux") return { medium: `disk ${rdev}`, start: 0 };
  return placementOf(systemOf(proactorOf(file.ring)), diskKey(numbersText(rdev)));
}
