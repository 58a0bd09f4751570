// The report that `bun-aio copy` prints at its end.

import type { CopyResult } from "../errors/copy_result.ts";
import type { BlockMap } from "./bmap.ts";
import type { Job } from "./copy_job.ts";
import type { RescueFile } from "./rescue_file.ts";
import type { Source } from "./source.ts";
import { complain, print, printable, say, warn } from "./terminal.ts";
import { formatExactSize, formatRate, formatSeconds, formatSize, grouped } from "./units.ts";

interface Range {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/** What was copied. */
interface Reported {
  readonly job: Job;
  readonly source: Pick<Source, "end">;
  readonly map: BlockMap | undefined;
  readonly rescue: RescueFile | undefined;
}

interface Told {
  /** The target, if there are others. */
  readonly name: string | undefined;
  /** Durations of both phases. */
  readonly copyMs: number;
  readonly verifyMs: number;
}

/** Ranges: of the source for the digest, of the target for the verification. */
export function resultJson(job: Job, result: CopyResult): object {
  const { source, target, skip, seek } = job;
  return {
    ...{ source, target, skip, seek },
    ...result,
    ...(result.verified ? { verifiedRange: targetRange(job, result) } : {}),
    ...(result.digest === undefined ? {} : { digestRange: sourceRange(job, result) }),
  };
}

function sourceRange(job: Job, { prefix }: CopyResult): Range {
  return { start: job.start, end: job.skip + prefix };
}

function targetRange(job: Job, { prefix }: CopyResult): Range {
  return { start: job.seek - (job.skip - job.start), end: job.seek + prefix };
}

/** `lost`: what happened to the name of the target. */
export function report(
  { job, source, map, rescue }: Reported,
  result: CopyResult,
  lost: string | undefined,
  { name, copyMs, verifyMs }: Told,
): void {
  for (const { offset, length, code } of result.readErrors) {
    warn(`unreadable: ${grouped(length)} bytes at ${grouped(offset)} (${code}); zeroes written`);
  }
  if (lost !== undefined) complain(lost);
  if (job.json) {
    const error = lost === undefined ? {} : { error: "ENOENT" };
    print(JSON.stringify({ ...resultJson(job, result), ...error }));
    return;
  }
  if (lost !== undefined) return;
  if (result.digest !== undefined) {
    const ofRanges = `sha256 ${result.digest}  the ranges of ${printable(map?.path ?? "")}`;
    print(map === undefined ? digestLine(job, source, result, result.digest) : ofRanges);
  }
  if (job.quiet) return;
  const total = result.bytesCopied + result.bytesSkipped;
  const verified = targetRange(job, result);
  const readBack = map === undefined ? verified.end - verified.start : total;
  const parts = [
    `copied ${formatExactSize(total)} in ${pace(total, copyMs)}`,
    ...(result.bytesSkipped > 0
      ? [`${formatSize(result.bytesSkipped)} of it zeroes left out`]
      : []),
    ...(result.verified
      ? [
          `read back in ${pace(readBack, verifyMs)}`,
          `verified ${map === undefined ? rangeText(verified) : `the ranges of ${printable(map.path)}`}`,
        ]
      : []),
  ];
  const left = rescue?.bytesLeft ?? 0;
  if (left > 0)
    warn(`${formatExactSize(left)} are not rescued; ${printable(rescue?.path ?? "")} says which`);
  say((name === undefined ? "" : `${name}: `) + parts.join(", "));
}

/** "33.4 s, 18.9 MiB/s" */
function pace(bytes: number, ms: number): string {
  const time = formatSeconds(ms / 1000);
  return bytes > 0 && ms > 0 ? `${time}, ${formatRate((bytes / ms) * 1000)}` : time;
}

/** In the format of sha256sum(1) if it covers the whole source, else in one that sha256sum does not accept. */
function digestLine(
  job: Job,
  { end }: Pick<Source, "end">,
  result: CopyResult,
  digest: string,
): string {
  const ends = end ?? Infinity;
  const isWhole = job.start === 0 && (job.length === undefined || job.skip + job.length >= ends);
  const isLike = result.readErrors.length === 0;
  if (isWhole && isLike) return `${digest}  ${printable(job.source)}`;
  const range = isLike ? sourceRange(job, result) : targetRange(job, result);
  return `sha256 ${digest}  ${rangeText(range)} of ${printable(isLike ? job.source : job.target)}`;
}

function rangeText({ start, end }: Range): string {
  return `bytes ${grouped(start)} to ${grouped(end)}`;
}
