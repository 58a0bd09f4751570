// Where operations were called, for the stacks of their errors. An operation settles in a turn of its own, so the
// stack of its error shows only the code that settled it. Recorded with BUN_AIO_TRACE=1, and while `trackLeaks`
// tracks; otherwise a call costs the test of a number.

import { OWN_FOLDER } from "../native/embedded.ts";
import { IoError } from "./io_error.ts";

let wanted = process.env["BUN_AIO_TRACE"] === "1" ? 1 : 0;

/** Records calls until the result is called. */
export function recordCalls(): () => void {
  wanted++;
  let isOver = false;
  return () => {
    if (!isOver) wanted--;
    isOver = true;
  };
}

export type CallSite = Error | undefined;

/** The place that is being executed, if calls are recorded. */
export function callSite(): CallSite {
  return wanted > 0 ? new Error() : undefined;
}

/** `promise`; if it rejects with an `IoError`, with the stack of this call. */
export function traced<T>(promise: Promise<T>): Promise<T> {
  return wanted > 0 ? tracedFrom(promise, callSite()) : promise;
}

function tracedFrom<T>(promise: Promise<T>, site: CallSite): Promise<T> {
  return promise.catch((error: unknown) => {
    throw calledFrom(error, site);
  });
}

/** Replaces the stack of an `IoError` by that of a call. */
export function calledFrom<E>(error: E, site: CallSite): E {
  if (site !== undefined && error instanceof IoError) {
    error.stack = `${error.name}: ${error.message}\n${framesOf(site)}`;
  }
  return error;
}

/** The frames from the caller's code on: Bun shows the source of the first. */
function framesOf({ stack = "" }: Error): string {
  const frames = stack.split("\n").filter((line) => /^\s+at /.test(line));
  const first = frames.findIndex((frame) => !frame.includes(OWN_FOLDER));
  return frames.slice(Math.max(first, 0)).join("\n");
}
