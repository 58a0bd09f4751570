// Whether there is a medium in a drive.

import { IoError } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import type { SysfsFacts } from "../system/device_facts.ts";

/**
 * An empty card reader has no size. The size of an optical drive in sysfs is that of the last disc, or 1 GB if there
 * was none: only the drive can tell. Null if this user may not ask it.
 */
export async function hasMedium(path: string, facts: SysfsFacts): Promise<boolean | null> {
  if (facts.removable !== true) return facts.removable === null ? null : true;
  if (!/\/sr\d+$/.test(path)) return facts.size === null ? null : facts.size > 0;
  try {
    await using drive = await File.open(path);
    return (await drive.size()) > 0;
  } catch (error) {
    return error instanceof IoError && error.code === "ENOMEDIUM" ? false : null;
  }
}
