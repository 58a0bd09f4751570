// The report that `bun-aio copy` prints at its end.

import type { CopyResult } from "../errors/copy_result.ts";
import type { Job } from "./copy_job.ts";
import type { Copying, Running } from "./copying.ts";
import { complain, print, printable, say, warn } from "./terminal.ts";
import { formatExactSize, formatSize, grouped, pace } from "./units.ts";

interface Range {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/** Ranges: of the source for the digest, of the target for the verification. */
export function resultJson({ job, place }: Copying, result: CopyResult): object {
  const { source, skip, seek } = job;
  return {
    ...{ source, target: place.path, skip, seek },
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
export function report(copying: Running, result: CopyResult, lost: string | undefined): void {
  const { job, map, rescue, name, stage } = copying;
  for (const { offset, length, code } of result.readErrors) {
    warn(`unreadable: ${grouped(length)} bytes at ${grouped(offset)} (${code}); zeroes written`);
  }
  if (lost !== undefined) complain(lost);
  if (job.json) {
    const error = lost === undefined ? {} : { error: "ENOENT" };
    print(JSON.stringify({ ...resultJson(copying, result), ...error }));
    return;
  }
  if (lost !== undefined) return;
  if (result.digest !== undefined) {
    const ofRanges = `sha256 ${result.digest}  the ranges of ${printable(map?.path ?? "")}`;
    print(map === undefined ? digestLine(copying, result, result.digest) : ofRanges);
  }
  if (job.quiet) return;
  const total = result.bytesCopied + result.bytesSkipped;
  const verified = targetRange(job, result);
  const readBack = map === undefined ? verified.end - verified.start : total;
  const parts = [
    `copied ${formatExactSize(total)} in ${pace(total, stage.copyMs)}`,
    ...(result.bytesSkipped > 0 ? [`${formatSize(result.bytesSkipped)} of zeroes left out`] : []),
    ...(result.verified
      ? [
          `read back in ${pace(readBack, stage.verifyMs)}`,
          `verified ${map === undefined ? rangeText(verified) : `the ranges of ${printable(map.path)}`}`,
        ]
      : []),
  ];
  const left = rescue?.bytesLeft ?? 0;
  if (left > 0)
    warn(`not rescued: ${formatExactSize(left)}, listed in ${printable(rescue?.path ?? "")}`);
  say((name === undefined ? "" : `${name}: `) + parts.join(", "));
}

/** In the format of sha256sum(1) if it covers the whole source, else in one that sha256sum does not accept. */
function digestLine({ job, source, place }: Copying, result: CopyResult, digest: string): string {
  const ends = source.end ?? Infinity;
  const isWhole = job.start === 0 && (job.length === undefined || job.skip + job.length >= ends);
  const isLike = result.readErrors.length === 0;
  if (isWhole && isLike) return `${digest}  ${printable(job.source)}`;
  const range = isLike ? sourceRange(job, result) : targetRange(job, result);
  return `sha256 ${digest}  ${rangeText(range)} of ${printable(isLike ? job.source : place.path)}`;
}

function rangeText({ start, end }: Range): string {
  return `bytes ${grouped(start)} to ${grouped(end)}`;
}
