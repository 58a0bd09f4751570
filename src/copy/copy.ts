// `copy`: from a file, a device or a stream to a file or device.

import { traced } from "../errors/call_site.ts";
import type { CopyResult } from "../errors/copy_result.ts";
import { setResult } from "../errors/io_error.ts";
import type { File } from "../file/file.ts";
import type { CopyProgress } from "../file/progress.ts";
import { type CopyOptions, checkCopy } from "./copy_options.ts";
import { refuseOverlap } from "./overlap.ts";
import { planReading, planTarget, sidesOf } from "./plan.ts";
import { checkRescue, runRescue } from "./rescue.ts";
import { CopyRun, cancelled, nothing } from "./run.ts";

/**
 * Copies `source` to `target`; both stay open. Bytes of the target after the last one copied stay as they are.
 *
 * A file onto a file is copied by the kernel where it can and no option asks for a look at the bytes (`verify`,
 * `hash`, `sparse`, `ranges`, `onReadError: "skip"`) or says how to read them (`chunkSize`, `concurrency`, `direct` or
 * `dsync` of a file). See `method` of the result: on btrfs, xfs and others both files may share their blocks.
 *
 * Rejects before anything is written when the target has too little room (ENOSPC), when both are the same file and
 * the ranges overlap, or when the target can never be synced again because a write or sync of it has failed (see
 * `syncAll`). A failure or abort later is an IoError whose `result` says what was copied.
 *
 * @example
 * ```ts
 * import { copy, open } from "bun-aio";
 *
 * await using source = await open("disk.img");
 * await using target = await open("copy.img", { write: true, create: true });
 * const { digest } = await copy(source, target, { verify: true, hash: "sha256" });
 * console.log(digest);
 * ```
 */
export function copy(
  source: File | ReadableStream<Uint8Array>,
  target: File,
  options: CopyOptions = {},
): Promise<CopyResult> {
  return traced(checkedCopy(source, target, options));
}

async function checkedCopy(
  source: File | ReadableStream<Uint8Array>,
  target: File,
  options: CopyOptions,
): Promise<CopyResult> {
  const named = [["target", target]] as const;
  const asked = checkCopy("copy", source, named, options);
  const rescue = checkRescue(source, asked);
  const { scope, onProgress } = asked;
  const { reason } = scope;
  if (reason !== undefined) throw setResult(cancelled(reason, target), nothing());
  const reading = await planReading(source, [target], asked);
  const plan = await planTarget(reading, target, asked);
  await refuseOverlap(sidesOf(reading, named), reading.end ?? Infinity);
  if (rescue !== undefined) return runRescue(rescue, plan, scope, onProgress);
  const tell = onProgress && ((progress: CopyProgress) => onProgress(progress));
  const [settled] = await new CopyRun(reading, [plan], scope, tell).run();
  if (settled?.status !== "fulfilled") throw settled?.reason;
  return settled.value;
}
