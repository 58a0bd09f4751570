// Where the bytes of an open file are stored. `copy` uses it to refuse copying a range onto itself.

import type { File } from "../file/file.ts";
import { openFileOf } from "../file/open_file.ts";
import { proactorOf } from "../ring/ring.ts";
import { type Extent, placementOf } from "../system/disk_extent.ts";
import { diskKey, systemOf } from "../system/loop_devices.ts";
import { numbersText } from "../system/sysfs.ts";

/** Undefined for files on no medium (/dev/zero, /proc). */
export async function extentOf(file: File): Promise<Extent | undefined> {
  if (file.kind !== "regular" && file.kind !== "disk") return undefined;
  if (file.ring.backend === "simulated") return { medium: file.ring, start: 0 };
  if (file.kind === "regular") return { medium: openFileOf(file).state.identity?.name, start: 0 };
  const { rdev } = await file.stat();
  if (process.platform !== "linux") return { medium: `disk ${rdev}`, start: 0 };
  return placementOf(systemOf(proactorOf(file.ring)), diskKey(numbersText(rdev)));
}
