// Errors that may mean that the device was unplugged. The kernel reports it in several ways: ENXIO and ENODEV, but
// also EIO for what was in flight. Once the disk is gone its size is 0 (del_gendisk() in block/genhd.c sets the
// capacity to 0), so reads see the end of the device and writes see ENOSPC. After an ambiguous error the device is
// asked for its size.

import { addOffset, type Offset } from "../common/arguments.ts";
import type { FileFacts } from "./file_facts.ts";
import { errnoOf, IoError } from "./io_error.ts";

const GONE_HINT = "Plug it in and open it again; what was not synced may be lost";

/** EINVAL: BLKDISCARD and BLKZEROOUT of a range that no longer exists. */
const SUSPECT_CODES: ReadonlySet<string> = new Set(["EIO", "ENOSPC", "EINVAL"]);

/** Whether a failure with `code` may mean that the device is gone. */
export function isSuspect(file: FileFacts, code: string): boolean {
  if (file.mediaBytes === 0) return false;
  return SUSPECT_CODES.has(code);
}

/** Whether a read that ended `transferred` bytes after `offset` ended before the end of the device. */
export function endsTooEarly(file: FileFacts, offset: Offset, transferred: number): boolean {
  return file.mediaBytes > 0 && addOffset(offset, transferred) < file.mediaBytes;
}

/** For a disk that had a size when it was opened and has none now. */
export function emptiedError(file: FileFacts): IoError {
  return goneError(
    new IoError("ENXIO", {
      reason: "the device has 0 bytes",
      errno: -errnoOf("ENXIO"),
      syscall: "fstat",
      path: file.path,
    }),
  );
}

export function goneError(error: IoError): IoError {
  return new IoError("ERR_DEVICE_GONE", {
    reason: `the device is gone (${error.code})`,
    errno: error.errno,
    syscall: error.syscall,
    path: error.path,
    offset: error.offset,
    length: error.length,
    transferred: error.transferred,
    hint: GONE_HINT,
    cause: error,
  });
}
