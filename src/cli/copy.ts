// `bun-aio copy`: a safe dd. Checks both sides, asks before it writes, and prints how to resume when it was stopped.

import { copy } from "../copy/copy.ts";
import { BlockDevice } from "../device/block_device.ts";
import type { CopyResult } from "../errors/copy_result.ts";
import { IoError, setResult } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import type { CopyProgress } from "../file/progress.ts";
import { type BlockMap, blockMapFor } from "./bmap.ts";
import { contentsOf, isCompressed, isZeroBetween, type Packing } from "./contents.ts";
import { hasEarlierPart, type Job, readJob } from "./copy_job.ts";
import { report, resultJson } from "./copy_report.ts";
import { Exit, refused, Stop, usage } from "./exit.ts";
import { complainOf } from "./hints.ts";
import { Interrupts } from "./interrupts.ts";
import { lostName } from "./lost_name.ts";
import {
  describe,
  look,
  nameOf,
  openForReading,
  openTarget,
  type Place,
  refuseBeyond,
  refuseShared,
  refuseUnsafe,
  warnOfWriters,
} from "./places.ts";
import { Progress, type Step } from "./progress.ts";
import { type Ended, isWritten, wayOn } from "./resume.ts";
import { openSide } from "./side.ts";
import { openSource, type Source } from "./source.ts";
import {
  ask,
  canAsk,
  complain,
  paint,
  print,
  printable,
  say,
  sayCommand,
  warn,
} from "./terminal.ts";
import { formatExactSize, formatSize, grouped } from "./units.ts";
import { Damaged } from "./unpack.ts";
import {
  compare,
  VERIFY_BS_DEFAULT,
  VERIFY_DEPTH_DEFAULT,
  VERIFY_MEMORY_BYTES_MAX,
} from "./verify.ts";

export async function copyCommand(argv: readonly string[]): Promise<number> {
  const job = readJob(argv);
  using interrupts = new Interrupts();
  if (job.target === "-") throw usage("DST must be a file or a device", "Use cat to write a pipe");
  const place = await look(job.target, "target");
  await refuseUnsafe(place, job.unmount);
  await using source = await openSource(job.source, {
    ...{ direct: job.direct, skip: job.skip, stop: interrupts.signal },
    // What cannot be read has no place in what is unpacked.
    unpacks: () => !job.raw && !job.rescue,
    recognised: (packing, contents) => sayRecognised(job, place, packing, contents),
  });
  const map = await blockMapFor(job, source);
  if (map !== undefined) source.end = map.size;
  await refuseImpossible(job, source, place, interrupts);
  if (map !== undefined && hasEarlierPart(job))
    throw usage("--verify-from and --bmap exclude each other");
  if (source.place !== undefined) await refuseShared(source.place, place);
  if (source.place !== undefined) await warnOfWriters(source.place);
  const mounts = job.unmount ? (place.device?.allMounts ?? []) : [];
  if (mounts.length > 0) {
    // Nothing is unmounted before the answer.
    await using mounted = await openForReading(place, false);
    await confirm(job, { source, map, place, target: mounted }, interrupts);
  }
  await using target = await openTarget(place, job.direct, job.unmount);
  const sides: Sides = { source, map, place, target };
  if (mounts.length === 0) await confirm(job, sides, interrupts);
  else if (!job.quiet) say(`unmounted: ${mounts.map(printable).join(", ")}`);
  // A disk has been held since it was examined; a file may have been attached while the question was open.
  if (place.kind === "regular" && !job.yes) await refuseUnsafe(place);
  return await run(job, sides, interrupts);
}

// Before anything is written -----------------------------------------------------------------------------

function sayRecognised(
  job: Job,
  target: Place,
  packing: Packing | undefined,
  contents: string,
): void {
  const isKept = packing === undefined || job.raw || job.rescue;
  if (!isKept && !job.quiet) {
    say(`${printable(job.source)} is unpacked (${packing}); --raw copies it as it is`);
  }
  // Not silenced by --quiet: the disk would be unusable, though the copy succeeds. For a file it may be intended.
  if (isKept && target.kind === "disk" && !job.raw && isCompressed(contents)) {
    warn("the source is compressed and will be written as it is; decompress it first?");
  }
}

async function refuseImpossible(
  job: Job,
  source: Source,
  place: Place,
  interrupts: Interrupts,
): Promise<void> {
  const origin = source.place;
  const name = printable(place.path);
  if (hasEarlierPart(job) && !source.isRereadable) {
    throw usage(`--verify-from reads SRC again, which ${printable(source.path)} cannot`);
  }
  const isSame = origin !== undefined && origin.identity === place.identity;
  if (isSame && (source.unpacking !== undefined || source.start + job.skip === job.seek)) {
    throw refused(`${name} is ${printable(source.path)} itself`);
  }
  refuseBeyond(source, job.skip, job.length ?? 0);
  const bytes = knownLength(job, source);
  const room = place.size - job.seek;
  if (place.kind === "disk" && room < Math.max(bytes ?? 0, 1)) {
    throw refused(
      `${name} is too small: it has room for ${formatExactSize(Math.max(0, room))}` +
        `${bytes === undefined ? "" : ` of ${formatExactSize(bytes)}`}`,
      await fittingLength(job, source, room, interrupts),
    );
  }
  if (job.verify && place.kind === "other") throw usage(`${name} cannot be read back`);
}

/** What to do where only zeroes do not fit. */
async function fittingLength(
  job: Job,
  { data, start, ...source }: Source,
  room: number,
  { signal, code }: Interrupts,
): Promise<string | undefined> {
  const bytes = knownLength(job, source);
  if (!(data instanceof File) || bytes === undefined || room <= 0) return undefined;
  const from = start + job.skip;
  try {
    if (!(await isZeroBetween(data, from + room, from + bytes, signal))) return undefined;
  } catch (error) {
    throw signal.aborted ? new Stop(code, "stopped; nothing was written") : error;
  }
  return `Behind that are only zeroes: with --length ${room} all else is copied`;
}

/** Bytes to copy, if known. */
function knownLength(job: Job, source: Pick<Source, "end">): number | undefined {
  if (job.length !== undefined) return job.length;
  return source.end === undefined ? undefined : Math.max(0, source.end - job.skip);
}

interface Sides {
  readonly source: Source;
  readonly map: BlockMap | undefined;
  readonly place: Place;
  readonly target: File;
}

const IF_SURE = "Pass --yes if you are sure";

/** Shows what will be overwritten and asks for confirmation. */
async function confirm(job: Job, sides: Sides, interrupts: Interrupts): Promise<void> {
  const { source, place, target } = sides;
  if (!isLoss(place)) return;
  // Reading a character device may have effects: move a tape, take from a queue.
  const held = place.kind === "other" ? undefined : await contentsOf(target);
  if (!job.yes || !job.quiet) {
    say(paint(process.stderr, "bold", "This will be overwritten:"));
    say(`  ${printable(nameOf(place))}  (${describe(place)})`);
    if (held !== undefined) say(`  holds  ${held}`);
    const mounts = place.device?.allMounts ?? [];
    if (mounts.length > 0)
      say(`  mounted at ${mounts.map(printable).join(", ")}; will be unmounted`);
    say(`  from   ${await sourceText(source)}`);
    say(`  bytes  ${extentText(job, sides)}`);
  }
  if (job.yes) return;
  if (job.source === "-") throw refused("standard input is SRC, so it cannot answer", IF_SURE);
  if (!canAsk()) throw refused("there is no terminal to ask at", IF_SURE);
  using _silence = interrupts.silence();
  const answer = await ask('Overwrite it? Type "yes" to go on: ', interrupts.signal);
  if (interrupts.signal.aborted) throw new Stop(interrupts.code, "stopped; nothing was written");
  if (/^y(es)?$/i.test(answer?.trim() ?? "")) return;
  throw refused("not confirmed; nothing was written");
}

/** Whether data could be lost. Character devices may be tapes, or memory. */
function isLoss({ kind, size, realPath }: Place): boolean {
  if (kind === "missing") return false;
  if (kind === "regular") return size > 0;
  return kind === "disk" || !/^\/dev\/(null|zero|full)$/.test(realPath);
}

async function sourceText({ path, place, data, start, end, unpacking }: Source): Promise<string> {
  const name = printable(place === undefined ? path : nameOf(place));
  const isKnown = data instanceof File && place?.kind !== "other";
  const contents = isKnown ? await contentsOf(data, start) : undefined;
  const size = end === undefined ? undefined : formatSize(end);
  const packed = unpacking === undefined ? undefined : `${unpacking.packing}, unpacked on the way`;
  const facts = [place === undefined ? size : describe(place), contents ?? packed];
  const known = facts.filter((fact) => fact !== undefined).join("; ");
  return known === "" ? name : `${name}  (${known})`;
}

function extentText(job: Job, { source, map, place }: Sides): string {
  const bytes = knownLength(job, source);
  const start = grouped(job.seek);
  if (bytes === undefined) return `from ${start} to the end of the source`;
  const keeps = place.kind === "disk" && (map !== undefined || job.seek + bytes < place.size);
  const rest = keeps ? "; the rest stays as it is" : "";
  const ranges = map === undefined ? "" : `, where ${printable(map.path)} has data`;
  return `${start} to ${grouped(job.seek + bytes)} (${formatSize(bytes)})${ranges}${rest}`;
}

// Copying ------------------------------------------------------------------------------------------------

async function run(job: Job, sides: Sides, interrupts: Interrupts): Promise<number> {
  const { target, place, map } = sides;
  const isWhole = job.length === undefined && job.skip === job.seek;
  const stage: Stage = { phase: "copy", verifyStarted: undefined };
  const started = performance.now();
  try {
    // Between the ranges of a block map a file has holes, not what it had before.
    if (map !== undefined && place.kind === "regular" && isWhole && job.seek === 0)
      await target.truncate(0);
    const copied = await copyShown(job, sides, stage, interrupts);
    sides.source.took(job.skip + copied.prefix);
    if (map !== undefined && target.kind === "regular" && isWhole) await target.truncate(map.size);
    else await cutRest(job, target, place, copied);
    const result = await lookAtAll(job, sides, stage, copied, interrupts);
    const ended = performance.now();
    const { verifyStarted = ended } = stage;
    const verifyMs = ended - verifyStarted;
    // Best effort: makes the system read a partition table that came with the image.
    if (target instanceof BlockDevice) await target.rereadPartitions().catch(() => {});
    const lost = await lostName(job.target, target);
    report(job, sides, result, lost, { copyMs: verifyStarted - started, verifyMs });
    return result.readErrors.length === 0 && lost === undefined ? Exit.done : Exit.failed;
  } catch (error) {
    const result = error instanceof IoError ? resultOf(error) : undefined;
    if (!(error instanceof IoError) || result === undefined) throw error;
    sides.source.took(job.skip + result.prefix);
    const stopped = interrupts.signal.aborted && error.code === "ABORT_ERR";
    const mismatch = stage.phase === "copy" ? mismatchOf(error, sides) : undefined;
    const isDamaged = error.cause instanceof Damaged || mismatch !== undefined;
    const ended = await settle(job, sides, stage, {
      code: isDamaged ? "ERR_DAMAGED" : error.code,
      result,
    });
    if (job.json) print(JSON.stringify({ ...resultJson(job, result), error: error.code }));
    if (stopped) say(stoppedText(ended));
    else if (mismatch !== undefined) complain(mismatch, "What was written of it is on the target");
    else complainOf(error);
    const lost = await lostName(job.target, target);
    if (lost === undefined) sayHowToGoOn(ended);
    else complain(lost);
    if (stopped) return interrupts.code;
    if (error.code === "ETXTBSY" && result.bytesCopied === 0) return Exit.refused;
    return error.code === "ERR_VERIFY" ? Exit.differs : Exit.failed;
  }
}

/** For a range of the source that has not the checksum of the block map. */
function mismatchOf({ code, offset, length }: IoError, { source, map }: Sides): string | undefined {
  if (code !== "ERR_VERIFY" || map === undefined) return undefined;
  const range = `bytes ${grouped(Number(offset))} to ${grouped(Number(offset) + (length ?? 0))}`;
  return `${printable(source.path)} is damaged, or not what ${printable(map.path)} was made of: ${range}`;
}

/** The current phase. */
interface Stage {
  phase: "copy" | "verify";
  /** By performance.now(). */
  verifyStarted: number | undefined;
}

async function copyShown(
  job: Job,
  { source, map, target }: Sides,
  stage: Stage,
  interrupts: Interrupts,
): Promise<CopyResult> {
  using progress = new Progress(job.quiet, interrupts.signal);
  const looksLater = hasEarlierPart(job);
  const started = performance.now();
  return await copy(source.data, target, {
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
    sync: isSyncable(target),
    onReadError: job.rescue ? "skip" : "fail",
    hash: job.hash && !looksLater ? "sha256" : undefined,
    signal: interrupts.signal,
    onProgress: (step: CopyProgress) => {
      if (stage.phase !== step.phase) stage.verifyStarted = performance.now();
      stage.phase = step.phase;
      progress.update({ ...step, ...unpackingProgress(source, step, started) });
    },
  });
}

/** Of a stream of unknown size that is unpacked: by the compressed bytes that were taken. */
function unpackingProgress(
  { unpacking }: Source,
  { phase, total }: CopyProgress,
  started: number,
): Pick<Step, "share" | "secondsLeft"> | undefined {
  if (unpacking?.total === undefined || phase !== "copy" || total !== undefined) return undefined;
  const share = unpacking.total === 0 ? 1 : unpacking.read / unpacking.total;
  const seconds = (performance.now() - started) / 1000;
  return { share, secondsLeft: share > 0 ? seconds / share - seconds : undefined };
}

/** With --verify-from: compares and hashes what this copy and earlier ones wrote. */
async function lookAtAll(
  job: Job,
  { target }: Sides,
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
async function cutRest(job: Job, target: File, place: Place, result: CopyResult): Promise<void> {
  if (place.kind !== "regular" || job.length !== undefined || job.skip !== job.seek) return;
  const end = job.seek + result.prefix;
  if (place.size <= end) return;
  await target.truncate(end);
  await target.syncAll();
}

/** Syncs what was written before the end, so that the copy can be resumed. */
async function settle(
  job: Job,
  { source, map, target, place }: Sides,
  { phase }: Stage,
  { code, result }: { code: string; result: CopyResult },
): Promise<Ended> {
  const facts = { job, source, map, place, phase, code, done: result.prefix };
  const hasReadErrors = result.readErrors.length > 0;
  const ended = { ...facts, total: knownLength(job, source), hasReadErrors };
  const written = isWritten({ ...ended, isSynced: true });
  // Everything was written, so it was the sync that failed.
  if (code !== "ABORT_ERR") return { ...ended, isSynced: phase === "verify" || !written };
  if (phase === "verify" || result.prefix === 0 || !isSyncable(target)) {
    if (written) await cutRest(job, target, place, result);
    return { ...ended, isSynced: true };
  }
  say("what was written is being synced");
  try {
    await target.syncAll();
    if (written) await cutRest(job, target, place, result);
    return { ...ended, isSynced: true };
  } catch (error) {
    complain(error instanceof Error ? error.message : String(error));
    return { ...ended, isSynced: false };
  }
}

function isSyncable({ kind }: File): boolean {
  return kind === "regular" || kind === "disk";
}

function resultOf(error: IoError): CopyResult | undefined {
  const { result } = error;
  return isResult(result) ? result : undefined;
}

function isResult(value: unknown): value is CopyResult {
  return typeof value === "object" && value !== null && "prefix" in value && "readErrors" in value;
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
