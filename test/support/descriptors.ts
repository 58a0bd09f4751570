// Open descriptors of this process, by target.

import fs from "node:fs";

/** Descriptors that point to `prefix` or below. The reading itself uses one, which is gone when looked at. */
export function descriptorsBelow(prefix: string): number {
  return links().filter((link) => link.startsWith(prefix)).length;
}

/** What each descriptor points to, in order of descriptors. */
export function links(): string[] {
  const out: string[] = [];
  for (const name of fs.readdirSync("/proc/self/fd")) {
    try {
      out.push(fs.readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // Closed since it was listed.
    }
  }
  return out;
}
