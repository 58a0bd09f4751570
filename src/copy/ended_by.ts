// Errors of the caller's code: of a stream or a callback.

import { messageOf } from "../common/shown.ts";
import { IoError } from "../errors/io_error.ts";

/** An IoError as it is; anything else becomes the `cause` of one. */
export function endedBy(cause: unknown, syscall: "copy" | "compare"): IoError {
  if (cause instanceof IoError) return cause;
  const [code, what] = syscall === "copy" ? ["ERR_COPY", "copy"] : ["ERR_COMPARE", "comparison"];
  const reason = `the ${what} was ended: ${messageOf(cause)}`;
  return new IoError(code, { reason, syscall, cause });
}
