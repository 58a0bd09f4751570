// A copy that is under way: what `bun-aio copy` has opened for one target.

import type { CopyResult } from "../errors/copy_result.ts";
import type { File } from "../file/file.ts";
import type { BlockMap } from "./bmap.ts";
import type { Job } from "./copy_job.ts";
import type { Place } from "./places.ts";
import type { RescueFile } from "./rescue_file.ts";
import type { Source } from "./source.ts";
import type { Stage } from "./stage.ts";

export interface Copying {
  readonly job: Job;
  readonly source: Source;
  readonly map: BlockMap | undefined;
  readonly rescue: RescueFile | undefined;
  readonly place: Place;
  readonly target: File;
}

export interface Running extends Copying {
  /** The target, if there are others. */
  readonly name: string | undefined;
  /** Of the progress. */
  readonly row: number;
  readonly stage: Stage;
}

/** Bytes to copy, if known. */
export function knownLength(job: Job, source: Pick<Source, "end">): number | undefined {
  if (job.length !== undefined) return job.length;
  return source.end === undefined ? undefined : Math.max(0, source.end - job.skip);
}

export function isSyncable({ kind }: File): boolean {
  return kind === "regular" || kind === "disk";
}

/** Cuts an overwritten file to the end of the copy, unless a part was chosen. */
export async function cutRest({ job, target, place }: Copying, result: CopyResult): Promise<void> {
  if (place.kind !== "regular" || job.length !== undefined || job.skip !== job.seek) return;
  const end = job.seek + result.prefix;
  if (place.size <= end) return;
  await target.truncate(end);
  await target.syncAll();
}
