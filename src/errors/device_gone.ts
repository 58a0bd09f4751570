// Errors that may mean that the device was unplugged. The kernel reports it in several ways: ENXIO and ENODEV, but
// also EIO for what was in flight. Once the disk is gone its size is 0 (del_gendisk() in block/genhd.c sets the
// capacity to 0; zig/os/linux_disk.zig says so of older kernels and of drives without a medium), so reads see the end
// of the device and writes see ENOSPC. After an ambiguous error the device is asked for its size.

import { addOffset, type Offset } from "../common/arguments.ts";
import type { FileFacts } from "./file_facts.ts";
import { hinted, IoError, initOf } from "./io_error.ts";

const GONE_HINT =
  "Plug it in, or put its medium back, and open it again; what was not synced may be lost";

/**
 * EINVAL: BLKDISCARD and BLKZEROOUT of a range that no longer exists; ENOTSUP, below 5.11, of a device that never could.
 * The last three: a connection that was cut.
 */
const SUSPECT_CODES: ReadonlySet<string> = new Set([
  ...["EIO", "ENOSPC", "EINVAL", "ENOTSUP", "ENOLINK", "EREMOTEIO", "ETIMEDOUT"],
]);

/** Whether a failure with `code` of a disk means that it is gone, or its medium. */
export function saysGone(file: FileFacts | undefined, code: string): boolean {
  return GONE_CODES.has(code) && (file?.mediaBytes ?? 0) > 0;
}

const GONE_CODES: ReadonlySet<string> = new Set(["ENXIO", "ENODEV", "ENOMEDIUM"]);

/** Whether a failure with `code` may mean that the device is gone. */
export function isSuspect(file: FileFacts, code: string): boolean {
  return file.mediaBytes > 0 && SUSPECT_CODES.has(code);
}

/** Whether a read that ended `transferred` bytes after `offset` ended before the end of the device. */
export function endsTooEarly(file: FileFacts, offset: Offset, transferred: number): boolean {
  return file.mediaBytes > 0 && addOffset(offset, transferred) < file.mediaBytes;
}

/** For a disk that had a size when it was opened and has none now; `syscall`: what was tried. */
export function emptiedError(file: FileFacts, syscall: string): IoError {
  const { path } = file;
  return goneError(new IoError("ENXIO", { reason: "the device has 0 bytes", syscall, path }));
}

/**
 * `error` with a better hint, if what failed reaches past the end that the disk has now, at `size` bytes: the cause of
 * ENOSPC, and of EINVAL of a discard.
 */
export function orShrunk(file: FileFacts, size: number, error: IoError): IoError {
  const { code, offset, length } = error;
  if (code !== "ENOSPC" && code !== "EINVAL") return error;
  if (offset === undefined || length === undefined) return error;
  if (size >= file.mediaBytes || addOffset(offset, length) <= size) return error;
  return hinted(
    error,
    `The device has shrunk since it was opened, from ${file.mediaBytes} to ${size} bytes`,
  );
}

export function goneError(error: IoError): IoError {
  const reason = `the device is gone (${error.code})`;
  return new IoError("ERR_DEVICE_GONE", {
    ...{ ...initOf(error), reason, hint: GONE_HINT, cause: error },
  });
}
