// Asks a device that may have been unplugged, or have shrunk, for its size. errors/device_gone.ts says after which
// errors.

import { goneError, isSuspect, orShrunk } from "../errors/device_gone.ts";
import { type IoError, systemError } from "../errors/io_error.ts";
import * as abi from "../native/abi.gen.ts";
import type { FileState } from "./file_state.ts";
import type { Requests } from "./request.ts";

/** Codes of the size request that mean that the device is gone. */
const GONE_CODES: ReadonlySet<string> = new Set(["ENXIO", "ENODEV", "EIO"]);

/**
 * Asks the device for its size. If it is gone, resolves with the error to report in place of `error`, which becomes
 * its cause; if `error` reaches past the end that it has now, with one that says so.
 */
export async function deviceGone(
  requests: Requests,
  file: FileState,
  error: IoError,
): Promise<IoError | undefined> {
  // The kernel has already said that it is gone.
  if (error.code === "ERR_DEVICE_GONE") return error;
  const outcome = await requests.start({
    kind: abi.Kind.stat,
    fd: file.fd,
    file,
    blockBytes: abi.FileInfo.SIZE,
  });
  try {
    if (outcome.status === abi.Status.ok) {
      const memory = requests.bounce.memoryOf(outcome.block, abi.FileInfo.SIZE);
      const info = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
      const size = info.getFloat64(abi.FileInfo.size, true);
      const better = size > 0 ? orShrunk(file, size, error) : goneError(error);
      return better === error ? undefined : better;
    }
    // Other failures (a closed descriptor, a closing ring) say nothing about the device.
    const isGone =
      outcome.status === abi.Status.failed && GONE_CODES.has(systemError(outcome.errno).code);
    return isGone ? goneError(error) : undefined;
  } finally {
    requests.releaseBlock(outcome.block);
  }
}

/**
 * Resolves with `error`, or with ERR_DEVICE_GONE if the device is gone. Every failure reported by the system passes
 * through here. The caller keeps the file open until it resolves: a closed file cannot be asked.
 */
export async function orGone(
  requests: Requests,
  file: FileState,
  error: IoError,
): Promise<IoError> {
  if (!isSuspect(file, error.code)) return error;
  return (await deviceGone(requests, file, error)) ?? error;
}
