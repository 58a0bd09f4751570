// How the copy to one target ends: what was copied, or how to go on.

import { messageOf } from "../common/shown.ts";
import { BlockDevice } from "../device/block_device.ts";
import type { CopyResult } from "../errors/copy_result.ts";
import { IoError } from "../errors/io_error.ts";
import { report, resultJson } from "./copy_report.ts";
import { type Copying, cutRest, isSyncable, knownLength, type Running } from "./copying.ts";
import { Exit } from "./exit.ts";
import { complainOf } from "./hints.ts";
import type { Interrupts } from "./interrupts.ts";
import { lookBack } from "./look_back.ts";
import { lostName } from "./lost_name.ts";
import { type Ended, isWritten, wayOn } from "./resume.ts";
import { complain, print, printable, say, sayCommand } from "./terminal.ts";
import { formatExactSize, grouped } from "./units.ts";
import { Damaged } from "./unpack.ts";

/** Reports a copy that is done; the exit code. */
export async function finish(
  copying: Running,
  copied: CopyResult,
  interrupts: Interrupts,
): Promise<number> {
  const { place, target } = copying;
  try {
    await finishLength(copying, copied);
    const result = await lookBack(copying, copied, interrupts);
    // Best effort: makes the system read a partition table that came with the image.
    if (target instanceof BlockDevice) await target.rereadPartitions().catch(() => {});
    const lost = await lostName(place.path, target);
    report(copying, result, lost);
    const isAll = (copying.rescue?.bytesLeft ?? result.readErrors.length) === 0;
    return isAll && lost === undefined ? Exit.done : Exit.failed;
  } catch (error) {
    return endEarly(copying, error, interrupts);
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
export async function endEarly(
  copying: Running,
  error: unknown,
  interrupts: Interrupts,
): Promise<number> {
  const { job, place, target, stage } = copying;
  const result = resultOf(error);
  if (!(error instanceof IoError) || result === undefined) throw error;
  const stopped = interrupts.signal.aborted && error.code === "ABORT_ERR";
  const mismatch = stage.phase === "copy" ? mismatchOf(error, copying) : undefined;
  const isDamaged = error.cause instanceof Damaged || mismatch !== undefined;
  const code = isDamaged ? "ERR_DAMAGED" : error.code;
  const ended = await settle(copying, { code, result });
  if (job.json) print(JSON.stringify({ ...resultJson(copying, result), error: error.code }));
  const name = copying.name === undefined ? "" : `${copying.name}: `;
  if (stopped) say(name + stoppedText(ended));
  else if (mismatch !== undefined) complain(mismatch, "The target keeps what was written so far");
  else complainOf(error, name);
  const lost = await lostName(place.path, target);
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
  return `${printable(source.path)} is damaged, or not the image that ${printable(map.path)} describes: ${range}`;
}

/** Syncs what was written before the end, so that the copy can be resumed. */
async function settle(
  copying: Running,
  { code, result }: { code: string; result: CopyResult },
): Promise<Ended> {
  const { job, source, map, target, place } = copying;
  const { phase } = copying.stage;
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
  say("syncing what was written");
  try {
    await target.syncAll();
    if (written) await cutRest(copying, result);
    return { ...ended, isSynced: true };
  } catch (error) {
    complain(messageOf(error));
    return { ...ended, isSynced: false };
  }
}

export function resultOf(error: unknown): CopyResult | undefined {
  return error instanceof IoError ? error.result : undefined;
}

function stoppedText(ended: Ended): string {
  if (!isWritten(ended)) return `stopped after ${formatExactSize(ended.done)}`;
  const { phase, isSynced, done, job } = ended;
  if (phase === "verify") return `stopped while verifying; copied ${formatExactSize(done)}`;
  const looks = job.verify || job.hash || !isSynced;
  return `stopped after everything was copied${looks ? "" : " and synced: nothing is left to do"}`;
}

function sayHowToGoOn(ended: Ended): void {
  const way = wayOn(ended);
  if (way === undefined) return;
  say(way.title);
  sayCommand(way.command);
  for (const note of way.notes) say(note);
}
