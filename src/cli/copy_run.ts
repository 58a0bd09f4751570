// Runs what `bun-aio copy` has checked, and reports how it ended: what was copied, or how to go on.

import { copy } from "../copy/copy.ts";
import { type CopyToAllProgress, copyToAll } from "../copy/copy_to_all.ts";
import { BlockDevice } from "../device/block_device.ts";
import type { CopyResult } from "../errors/copy_result.ts";
import { IoError, setResult } from "../errors/io_error.ts";
import type { File } from "../file/file.ts";
import type { CopyProgress } from "../file/progress.ts";
import type { BlockMap } from "./bmap.ts";
import { hasEarlierPart, type Job } from "./copy_job.ts";
import { report, resultJson } from "./copy_report.ts";
import { Exit } from "./exit.ts";
import { complainOf } from "./hints.ts";
import type { Interrupts } from "./interrupts.ts";
import { lostName } from "./lost_name.ts";
import type { Place } from "./places.ts";
import { Progress, type Step } from "./progress.ts";
import type { RescueFile } from "./rescue_file.ts";
import { type Ended, isWritten, wayOn } from "./resume.ts";
import { openSide } from "./side.ts";
import type { Source } from "./source.ts";
import { complain, print, printable, say, sayCommand } from "./terminal.ts";
import { formatExactSize, grouped } from "./units.ts";
import { Damaged } from "./unpack.ts";
import {
  compare,
  VERIFY_BS_DEFAULT,
  VERIFY_DEPTH_DEFAULT,
  VERIFY_MEMORY_BYTES_MAX,
} from "./verify.ts";

export interface Copying {
  /** Of this target. */
  readonly job: Job;
  readonly source: Source;
  readonly map: BlockMap | undefined;
  readonly rescue: RescueFile | undefined;
  readonly place: Place;
  readonly target: File;
}

/** Copies to one target, or to many at once, and reports on each; the exit code. */
export async function run(copies: readonly Copying[], interrupts: Interrupts): Promise<number> {
  const [first] = copies;
  if (first === undefined) throw new Error("a copy without targets");
  const stages = copies.map(
    ({ target }): Stage => ({
      ...{ name: copies.length > 1 ? printable(target.path ?? "") : undefined, phase: "copy" },
      ...{ started: performance.now(), verifyStarted: undefined, ended: undefined },
    }),
  );
  for (const copying of copies) await makeHoles(copying);
  const results = await copyShown(first, copies, stages, interrupts);
  const prefixes = results.flatMap((result) => {
    const known = result.status === "fulfilled" ? result.value : resultOf(result.reason);
    return known === undefined ? [] : [known.prefix];
  });
  if (prefixes.length > 0) first.source.took(first.job.skip + Math.max(...prefixes));
  const codes: number[] = [];
  for (const [index, result] of results.entries()) {
    const [copying, stage] = [copies[index], stages[index]];
    if (copying === undefined || stage === undefined) continue;
    codes.push(
      result.status === "fulfilled"
        ? await finish(copying, stage, result.value, interrupts)
        : await endEarly(copying, stage, result.reason, interrupts),
    );
  }
  if (interrupts.signal.aborted && codes.includes(interrupts.code)) return interrupts.code;
  return codes.find((code) => code === Exit.differs) ?? codes.find((code) => code !== 0) ?? 0;
}

/** Between the ranges of a block map a file has holes, not what it had before. */
async function makeHoles({ job, map, place, target }: Copying): Promise<void> {
  const isWhole = job.length === undefined && job.skip === 0 && job.seek === 0;
  if (map !== undefined && place.kind === "regular" && isWhole) await target.truncate(0);
}

async function finish(
  copying: Copying,
  stage: Stage,
  copied: CopyResult,
  interrupts: Interrupts,
): Promise<number> {
  const { job, target } = copying;
  try {
    await finishLength(copying, copied);
    const result = await lookAtAll(copying, stage, copied, interrupts);
    const ended = stage.ended ?? performance.now();
    const { started, verifyStarted = ended } = stage;
    // Best effort: makes the system read a partition table that came with the image.
    if (target instanceof BlockDevice) await target.rereadPartitions().catch(() => {});
    const lost = await lostName(job.target, target);
    const times = { copyMs: verifyStarted - started, verifyMs: ended - verifyStarted };
    report(copying, result, lost, { name: stage.name, ...times });
    const isAll = (copying.rescue?.bytesLeft ?? result.readErrors.length) === 0;
    return isAll && lost === undefined ? Exit.done : Exit.failed;
  } catch (error) {
    return endEarly(copying, stage, error, interrupts);
  }
}

/** A file ends where the image does. */
async function finishLength(copying: Copying, copied: CopyResult): Promise<void> {
  const { job, map, target } = copying;
  const isWhole = job.length === undefined && job.skip === job.seek;
  if (map !== undefined && target.kind === "regular" && isWhole) await target.truncate(map.size);
  else if (copying.rescue === undefined) await cutRest(copying, copied);
}

/** Reports a copy that failed or was stopped, and how to go on; the exit code. */
async function endEarly(
  copying: Copying,
  stage: Stage,
  error: unknown,
  interrupts: Interrupts,
): Promise<number> {
  const { job, target } = copying;
  const result = resultOf(error);
  if (!(error instanceof IoError) || result === undefined) throw error;
  const stopped = interrupts.signal.aborted && error.code === "ABORT_ERR";
  const mismatch = stage.phase === "copy" ? mismatchOf(error, copying) : undefined;
  const isDamaged = error.cause instanceof Damaged || mismatch !== undefined;
  const code = isDamaged ? "ERR_DAMAGED" : error.code;
  const ended = await settle(copying, stage, { code, result });
  if (job.json) print(JSON.stringify({ ...resultJson(job, result), error: error.code }));
  const name = stage.name === undefined ? "" : `${stage.name}: `;
  if (stopped) say(name + stoppedText(ended));
  else if (mismatch !== undefined) complain(mismatch, "What was written of it is on the target");
  else complainOf(error, name);
  const lost = await lostName(job.target, target);
  if (lost === undefined) sayHowToGoOn(ended);
  else complain(lost);
  if (stopped) return interrupts.code;
  if (error.code === "ETXTBSY" && result.bytesCopied === 0) return Exit.refused;
  return error.code === "ERR_VERIFY" ? Exit.differs : Exit.failed;
}

/** For a range of the source that has not the checksum of the block map. */
function mismatchOf(
  { code, offset, length }: IoError,
  { source, map }: Copying,
): string | undefined {
  if (code !== "ERR_VERIFY" || map === undefined) return undefined;
  const range = `bytes ${grouped(Number(offset))} to ${grouped(Number(offset) + (length ?? 0))}`;
  return `${printable(source.path)} is damaged, or not what ${printable(map.path)} was made of: ${range}`;
}

/** Where the copy to one target is. */
interface Stage {
  /** The target, if there are others. */
  readonly name: string | undefined;
  phase: "copy" | "verify";
  /** By performance.now(). */
  readonly started: number;
  verifyStarted: number | undefined;
  ended: number | undefined;
}

async function copyShown(
  { job, source, map, rescue, target }: Copying,
  copies: readonly Copying[],
  stages: readonly Stage[],
  interrupts: Interrupts,
): Promise<PromiseSettledResult<CopyResult>[]> {
  using progress = new Progress(job.quiet, interrupts.signal, copies.length);
  const looksLater = hasEarlierPart(job);
  const targets = copies.map((copying) => copying.target);
  const nameColumns = Math.max(...stages.map(({ name = "" }) => name.length));
  const tell = (step: CopyProgress, to: File): void => {
    const row = targets.indexOf(to);
    const stage = stages[row];
    if (stage === undefined) return;
    if (stage.phase !== step.phase) stage.verifyStarted = performance.now();
    stage.phase = step.phase;
    stage.ended = performance.now();
    const phase =
      stage.name === undefined
        ? step.phase
        : `${stage.name.padEnd(nameColumns)} ${step.phase.padStart(6)}`;
    progress.update({ ...step, ...unpackingProgress(source, step, stage), phase }, row);
  };
  const options = {
    sourceOffset: source.start + job.skip,
    targetOffset: job.seek,
    length: job.length,
    ranges: map?.ranges,
    expectedLength: source.end === undefined ? undefined : source.start + source.end,
    chunkSize: job.bs,
    concurrency: job.depth,
    sparse: job.sparse,
    verify: job.verify && !looksLater,
    // Character devices have nothing to sync.
    sync: targets.every(isSyncable),
    onReadError: job.rescue ? "skip" : "fail",
    hash: job.hash && !looksLater ? "sha256" : undefined,
    signal: interrupts.signal,
  } as const;
  if (targets.length > 1) {
    const onProgress = (step: CopyToAllProgress): void => tell(step, step.target);
    return await copyToAll(source.data, targets, { ...options, onProgress });
  }
  const onProgress = (step: CopyProgress): void => tell(step, target);
  const { retries } = job;
  await using _saving = rescue?.saving(target);
  return await Promise.allSettled([
    copy(source.data, target, { ...options, map: rescue?.map, retries, onProgress }),
  ]);
}

/** Of a stream of unknown size that is unpacked: by the compressed bytes that were taken. */
function unpackingProgress(
  { unpacking }: Source,
  { phase, total }: CopyProgress,
  { started }: Stage,
): Pick<Step, "share" | "secondsLeft"> | undefined {
  if (unpacking?.total === undefined || phase !== "copy" || total !== undefined) return undefined;
  const share = unpacking.total === 0 ? 1 : unpacking.read / unpacking.total;
  const seconds = (performance.now() - started) / 1000;
  return { share, secondsLeft: share > 0 ? seconds / share - seconds : undefined };
}

/** With --verify-from: compares and hashes what this copy and earlier ones wrote. */
async function lookAtAll(
  { job, target }: Copying,
  stage: Stage,
  copied: CopyResult,
  { signal }: Interrupts,
): Promise<CopyResult> {
  if (!hasEarlierPart(job)) return copied;
  stage.phase = "verify";
  stage.verifyStarted = performance.now();
  const before = job.skip - job.start;
  using progress = new Progress(job.quiet, signal);
  const length = before + copied.prefix;
  const starts = { skip: job.start, seek: job.seek - before };
  const unpacks = (): boolean => !job.raw && !job.rescue;
  await using a = await openSide(job.source, starts.skip, signal, unpacks);
  await using b = await openSide(job.target, starts.seek, signal);
  const { bs = VERIFY_BS_DEFAULT } = job;
  const depthMax = Math.max(1, Math.floor(VERIFY_MEMORY_BYTES_MAX / (2 * bs)));
  const depth = Math.min(job.depth ?? VERIFY_DEPTH_DEFAULT, depthMax);
  const outcome = await compare(
    { length, bs, depth, all: false, hash: job.hash },
    a,
    b,
    progress,
    signal,
  );
  const [difference] = outcome.differences;
  if (difference === undefined && !outcome.stopped) {
    stage.ended = performance.now();
    const digest = job.hash ? outcome.sha256A : undefined;
    return { ...copied, verified: job.verify, digest };
  }
  const { path } = target;
  if (difference === undefined) {
    const init = { reason: "the operation was aborted", syscall: "copy", path };
    throw setResult(new IoError("ABORT_ERR", init), copied);
  }
  const offset = starts.seek + difference.offset;
  const init = { reason: "the target differs from the source", syscall: "read", path, offset };
  throw setResult(new IoError("ERR_VERIFY", init), {
    ...copied,
    prefix: difference.offset - before,
  });
}

/** Cuts an overwritten file to the end of the copy, unless a part was chosen. */
async function cutRest({ job, target, place }: Copying, result: CopyResult): Promise<void> {
  if (place.kind !== "regular" || job.length !== undefined || job.skip !== job.seek) return;
  const end = job.seek + result.prefix;
  if (place.size <= end) return;
  await target.truncate(end);
  await target.syncAll();
}

/** Syncs what was written before the end, so that the copy can be resumed. */
async function settle(
  copying: Copying,
  { phase }: Stage,
  { code, result }: { code: string; result: CopyResult },
): Promise<Ended> {
  const { job, source, map, target, place } = copying;
  const facts = { job, source, map, place, phase, code, done: result.prefix };
  const hasReadErrors = result.readErrors.length > 0;
  const ended = { ...facts, total: knownLength(job, source), hasReadErrors };
  const written = isWritten({ ...ended, isSynced: true });
  // Everything was written, so it was the sync that failed.
  if (code !== "ABORT_ERR") return { ...ended, isSynced: phase === "verify" || !written };
  if (phase === "verify" || result.prefix === 0 || !isSyncable(target)) {
    if (written) await cutRest(copying, result);
    return { ...ended, isSynced: true };
  }
  say("what was written is being synced");
  try {
    await target.syncAll();
    if (written) await cutRest(copying, result);
    return { ...ended, isSynced: true };
  } catch (error) {
    complain(error instanceof Error ? error.message : String(error));
    return { ...ended, isSynced: false };
  }
}

function isSyncable({ kind }: File): boolean {
  return kind === "regular" || kind === "disk";
}

function resultOf(error: unknown): CopyResult | undefined {
  return error instanceof IoError ? error.result : undefined;
}

function stoppedText(ended: Ended): string {
  if (!isWritten(ended)) return `stopped after ${formatExactSize(ended.done)}`;
  const { phase, isSynced, done, job } = ended;
  if (phase === "verify") return `stopped while verifying; ${formatExactSize(done)} were copied`;
  const looks = job.verify || job.hash || !isSynced;
  return `stopped when all was copied${looks ? "" : " and synced: nothing is left to do"}`;
}

function sayHowToGoOn(ended: Ended): void {
  const way = wayOn(ended);
  if (way === undefined) return;
  say(way.title);
  sayCommand(way.command);
  for (const note of way.notes) say(note);
}

/** Bytes to copy, if known. */
export function knownLength(job: Job, source: Pick<Source, "end">): number | undefined {
  if (job.length !== undefined) return job.length;
  return source.end === undefined ? undefined : Math.max(0, source.end - job.skip);
}
