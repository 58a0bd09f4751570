// The verification of a resumed copy, the parts of earlier copies included.

import type { CopyResult } from "../errors/copy_result.ts";
import { IoError, setResult } from "../errors/io_error.ts";
import { hasEarlierPart } from "./copy_job.ts";
import type { Running } from "./copying.ts";
import type { Interrupts } from "./interrupts.ts";
import { Progress } from "./progress.ts";
import { openSide } from "./side.ts";
import {
  compare,
  VERIFY_BS_DEFAULT,
  VERIFY_DEPTH_DEFAULT,
  VERIFY_MEMORY_BYTES_MAX,
} from "./verify.ts";

/** With --verify-from: compares and hashes what this copy and earlier ones wrote. */
export async function lookBack(
  { job, place, target, stage }: Running,
  copied: CopyResult,
  { signal }: Interrupts,
): Promise<CopyResult> {
  if (!hasEarlierPart(job)) return copied;
  stage.reached("copy");
  stage.reached("verify");
  const before = job.skip - job.start;
  using progress = await Progress.begin(job.quiet, signal);
  const length = before + copied.prefix;
  const starts = { skip: job.start, seek: job.seek - before };
  const unpacks = (): boolean => !job.raw && !job.rescue;
  await using a = await openSide(job.source, starts.skip, signal, unpacks);
  await using b = await openSide(place.path, starts.seek, signal);
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
  stage.reached("verify");
  const [difference] = outcome.differences;
  if (difference === undefined && !outcome.stopped) {
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
