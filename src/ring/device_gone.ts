// Asks a device that may have been unplugged for its size. errors/device_gone.ts says after which errors.

import { goneError, isSuspect } from "../errors/device_gone.ts";
import { type IoError, systemError } from "../errors/io_error.ts";
import * as abi from "../native/abi.gen.ts";
import type { FileState } from "./file_state.ts";
import type { Requests } from "./request.ts";

/** Of asking for the size. */
const GONE_CODES: ReadonlySet<string> = new Set(["ENXIO", "ENODEV", "EIO"]);

/**
 * Asks the device whether it is still there. Resolves with the error to report instead of `error`
 * (its cause) if it is not.
 */
export async function deviceGone(
  requests: Requests,
  file: FileState,
  error: IoError,
): Promise<IoError | undefined> {
  // The kernel has said so itself.
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
      return info.getFloat64(abi.FileInfo.size, true) > 0 ? undefined : goneError(error);
    }
    // What failed otherwise says nothing about the device: a closed descriptor, a ring that closes.
    const isGone =
      outcome.status === abi.Status.failed && GONE_CODES.has(systemError(outcome.errno).code);
    return isGone ? goneError(error) : undefined;
  } finally {
    requests.releaseBlock(outcome.block);
  }
}

/**
 * `error`, unless it turns out that the device is gone. Whoever reports a failure of the system goes this way, and
 * keeps the file open until it resolves: on a closed one nothing can be asked.
 */
export async function orGone(
  requests: Requests,
  file: FileState,
  error: IoError,
): Promise<IoError> {
  if (!isSuspect(file, error.code)) return error;
  return (await deviceGone(requests, file, error)) ?? error;
}
