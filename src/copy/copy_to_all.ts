// `copyToAll`: one reading, many targets.

import { argumentType } from "../common/argument_errors.ts";
import { calledFrom, callSite, traced } from "../errors/call_site.ts";
import type { CopyResult } from "../errors/copy_result.ts";
import { setResult } from "../errors/io_error.ts";
import type { File } from "../file/file.ts";
import type { CopyProgress } from "../file/progress.ts";
import { type CopyOptions, checkCopy } from "./copy_options.ts";
import { refuseOverlap } from "./overlap.ts";
import { planReading, planTarget, sidesOf } from "./plan.ts";
import { CopyRun, cancelled, nothing } from "./run.ts";

/** Progress of one target. */
export interface CopyToAllProgress extends CopyProgress {
  /** The target, one of those that were passed. */
  readonly target: File;
}

/** The options of `copy` that suit several targets. */
export interface CopyToAllOptions extends Omit<CopyOptions, "onProgress" | "map" | "retries"> {
  /**
   * Called for each target at most ten times a second, and at the end of each phase. An error that it throws ends
   * the copy to that target.
   */
  onProgress?: ((progress: CopyToAllProgress) => void) | undefined;
}

type Settled = PromiseSettledResult<CopyResult>;

/**
 * Copies `source` to every target, and reads it once; all stay open. The results are in the order of the targets, in
 * the form of `Promise.allSettled`: a target that fails, is pulled out, or has too little room drops out alone, with
 * the error that `copy` would reject with (its `result` says what was copied), and the others go on. What concerns
 * the source, or `signal`, ends all of them.
 *
 * Each target is written at its own pace, and synced and verified as soon as it has everything. The fastest may be
 * 16 MiB ahead of the slowest; then the reading waits for that one. A target that hangs therefore holds up the
 * others until the system gives it up or `signal` ends the copy.
 *
 * The buffers take 16 MiB, or twice `concurrency` chunks if that is more. `chunkSize` is by default 2 MiB for one
 * target, 1 MiB for two, 512 KiB for more. `concurrency` is for each target: by default 8, but no more than make
 * up 4 MiB of all targets, and at least two.
 *
 * Rejects, before anything is written, for wrong arguments, also if two targets, or the source and a target, share
 * bytes of one medium; and for a source that cannot be examined.
 *
 * @example
 * ```ts
 * import { copyToAll, open } from "bun-aio";
 *
 * await using source = await open("disk.img");
 * await using first = await open("first.img", { write: true, create: true });
 * await using second = await open("second.img", { write: true, create: true });
 * for (const outcome of await copyToAll(source, [first, second], { verify: true }))
 *   console.log(outcome.status === "fulfilled" ? outcome.value.bytesCopied : outcome.reason);
 * ```
 */
export function copyToAll(
  source: File | ReadableStream<Uint8Array>,
  targets: readonly File[],
  options: CopyToAllOptions = {},
): Promise<PromiseSettledResult<CopyResult>[]> {
  const site = callSite();
  const settling = checkedCopyToAll(source, targets, options).then((all) =>
    all.map((each) =>
      each.status === "fulfilled" ? each : rejected(calledFrom(each.reason, site)),
    ),
  );
  return traced(settling);
}

async function checkedCopyToAll(
  source: File | ReadableStream<Uint8Array>,
  given: readonly File[],
  options: CopyToAllOptions,
): Promise<Settled[]> {
  if (!Array.isArray(given)) throw argumentType("targets", "an array of Files", given);
  // Copied: the caller may change it meanwhile.
  const targets: readonly File[] = [...given];
  const named = targets.map((target, index) => [`targets[${index}]`, target] as const);
  const asked = checkCopy("copyToAll", source, named, options);
  const { scope, onProgress } = asked;
  const { reason } = scope;
  if (reason !== undefined) {
    return targets.map((target) => rejected(setResult(cancelled(reason, target), nothing())));
  }
  if (targets.length === 0) return [];
  const reading = await planReading(source, targets, asked);
  const planned = await Promise.allSettled(
    targets.map((target) => planTarget(reading, target, asked)),
  );
  const plans = planned.filter(isFulfilled).map(({ value }) => value);
  const sides = named.filter((_, index) => planned[index]?.status === "fulfilled");
  await refuseOverlap(sidesOf(reading, sides), reading.end ?? Infinity);
  const tell =
    onProgress && ((progress: CopyProgress, target: File) => onProgress({ ...progress, target }));
  const results = (await new CopyRun(reading, plans, scope, tell).run()).values();
  return planned.flatMap((plan) => (plan.status === "rejected" ? [plan] : [...results.take(1)]));
}

function isFulfilled<T>(each: PromiseSettledResult<T>): each is PromiseFulfilledResult<T> {
  return each.status === "fulfilled";
}

function rejected(reason: unknown): PromiseRejectedResult {
  return { status: "rejected", reason };
}
