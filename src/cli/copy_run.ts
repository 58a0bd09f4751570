// Runs what `bun-aio copy` has checked: to one target, or to many at once.

import { copy } from "../copy/copy.ts";
import { type CopyToAllProgress, copyToAll } from "../copy/copy_to_all.ts";
import type { CopyResult } from "../errors/copy_result.ts";
import type { File } from "../file/file.ts";
import type { CopyProgress } from "../file/progress.ts";
import { endEarly, finish, resultOf } from "./copy_end.ts";
import { hasEarlierPart } from "./copy_job.ts";
import { type Copying, isSyncable, type Running } from "./copying.ts";
import { Exit } from "./exit.ts";
import type { Interrupts } from "./interrupts.ts";
import { Progress, type Step } from "./progress.ts";
import type { Source } from "./source.ts";
import { Stage } from "./stage.ts";
import { printable } from "./terminal.ts";

/** Copies to one target, or to many at once, and reports on each; the exit code. */
export async function run(copies: readonly Copying[], interrupts: Interrupts): Promise<number> {
  for (const copying of copies) await makeHoles(copying);
  const shown = await copyShown(copies, interrupts);
  noteTaken(shown);
  const codes: number[] = [];
  for (const { copying, result } of shown) {
    codes.push(
      result.status === "fulfilled"
        ? await finish(copying, result.value, interrupts)
        : await endEarly(copying, result.reason, interrupts),
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

interface Shown {
  readonly copying: Running;
  readonly result: PromiseSettledResult<CopyResult>;
}

/** Tells the source how much of it was used. */
function noteTaken(shown: readonly Shown[]): void {
  const prefixes = shown.flatMap(({ result }) => {
    const known = result.status === "fulfilled" ? result.value : resultOf(result.reason);
    return known === undefined ? [] : [known.prefix];
  });
  const [first] = shown;
  if (first === undefined || prefixes.length === 0) return;
  const { source, job } = first.copying;
  source.took(job.skip + Math.max(...prefixes));
}

async function copyShown(copies: readonly Copying[], interrupts: Interrupts): Promise<Shown[]> {
  const [first] = copies;
  if (first === undefined) throw new Error("a copy without targets");
  const { job, source, map, rescue } = first;
  using progress = await Progress.begin(job.quiet, interrupts.signal, copies.length);
  const all = copies.map((copying, row): Running => {
    const name = copies.length > 1 ? printable(copying.target.path ?? "") : undefined;
    return { ...copying, name, row, stage: new Stage() };
  });
  const looksLater = hasEarlierPart(job);
  const targets = all.map(({ target }) => target);
  const byTarget = new Map(all.map((copying) => [copying.target, copying]));
  const nameColumns = Math.max(...all.map(({ name = "" }) => name.length));
  const show = (step: CopyProgress, to: File): void => {
    const copying = byTarget.get(to);
    if (copying === undefined) return;
    const { name, row, stage } = copying;
    stage.reached(step.phase);
    const phase =
      name === undefined ? step.phase : `${name.padEnd(nameColumns)} ${step.phase.padStart(6)}`;
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
  await using _saving = rescue?.saving(first.target);
  const results =
    copies.length > 1
      ? await copyToAll(source.data, targets, {
          ...options,
          onProgress: (step: CopyToAllProgress) => show(step, step.target),
        })
      : await Promise.allSettled([
          copy(source.data, first.target, {
            ...{ ...options, map: rescue?.map, retries: job.retries },
            onProgress: (step) => show(step, first.target),
          }),
        ]);
  return results.flatMap((result, row) => {
    const copying = all[row];
    return copying === undefined ? [] : [{ copying, result }];
  });
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
