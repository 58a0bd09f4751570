// The size of a file, where it is known before the file is read to its end.

import type { File } from "../file/file.ts";

/**
 * The size of a file or disk in bytes. Undefined for character devices, and for files whose size means nothing: in
 * /proc it is 0, in sysfs a page, whatever a read returns (proc(5), sysfs(5)). Such a file occupies no blocks and
 * has no byte at its last position.
 */
export async function knownSize(file: File): Promise<number | undefined> {
  if (file.kind === "disk") return file.size();
  if (file.kind !== "regular") return undefined;
  const { size, blocks } = await file.stat();
  if (size === 0) return undefined;
  if (blocks > 0) return size;
  // Either a file that is one hole, or one that the kernel generates as it is read.
  const bytes = await file.readAt(new Uint8Array(1), size - 1).catch(() => 1);
  return bytes === 1 ? size : undefined;
}
