// The size of a file, where it is known before the file is read to its end.

import { FileInfo, FileKind, Kind } from "../native/abi.gen.ts";
import { Reply } from "../ring/slots.ts";
import type { OpenFile } from "./open_file.ts";

/**
 * The size of a file or disk in bytes. Undefined for character devices, and for files whose size means nothing: in
 * /proc it is 0, in sysfs a page, whatever a read returns (proc(5), sysfs(5)). Such a file occupies no blocks and
 * has no byte at its last position.
 */
export async function knownSize(file: OpenFile): Promise<number | undefined> {
  const { kind } = file.state;
  if (kind === FileKind.disk) return file.size();
  if (kind !== FileKind.regular) return undefined;
  const info = await file.info(Kind.stat);
  const size = info.getFloat64(FileInfo.size, true);
  if (size === 0) return undefined;
  if (info.getFloat64(FileInfo.blocks, true) > 0) return size;
  // Either a file that is one hole, or one that the kernel generates as it is read.
  const last = file.transfer(Kind.read, new Uint8Array(1), size - 1, undefined, Reply.bytes);
  return (await last.catch(() => 1)) === 1 ? size : undefined;
}
