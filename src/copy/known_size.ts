// The size of a file, where it is known before the file is read to its end.

import type { File } from "../file/file.ts";

/**
 * Bytes of a file or disk. Undefined where only reading tells: of character devices, and of files whose size says
 * nothing. In /proc that is 0, in sysfs a page, whatever a read gives (proc(5), sysfs(5)): such a file occupies no
 * blocks and its last byte is not there.
 */
export async function knownSize(file: File): Promise<number | undefined> {
  if (file.kind === "disk") return file.size();
  if (file.kind !== "regular") return undefined;
  const { size, blocks } = await file.stat();
  if (size === 0) return undefined;
  if (blocks > 0) return size;
  // A hole from its beginning to its end, or what the kernel makes up as it is read.
  const bytes = await file.readAt(new Uint8Array(1), size - 1).catch(() => 1);
  return bytes === 1 ? size : undefined;
}
