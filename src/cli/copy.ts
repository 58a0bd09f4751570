// `bun-aio copy`: the safe dd. It looks before it asks, asks before it writes, and says how to go on
// when it was stopped.

import { BlockDevice } from "../block_device.ts";
import { copy } from "../copy.ts";
import type { CopyResult } from "../copy_result.ts";
import { IoError } from "../errors.ts";
import type { File } from "../file.ts";
import type { CopyProgress } from "../meter.ts";
import { Arguments, type Spec, startsOf } from "./arguments.ts";
import { contentsOf, isCompressed } from "./contents.ts";
import { Exit, refused, Stop, usage } from "./exit.ts";
import { Interrupts } from "./interrupts.ts";
import { lostName } from "./lost_name.ts";
import {
  describe,
  look,
  nameOf,
  openSource,
  openTarget,
  type Place,
  refuseBeyond,
  refuseShared,
  refuseUnsafe,
  warnOfWriters,
} from "./places.ts";
import { Progress } from "./progress.ts";
import { ask, canAsk, complain, paint, print, printable, quoted, say, warn } from "./terminal.ts";
import { formatExactSize, formatRate, formatSeconds, formatSize, grouped } from "./units.ts";

export const COPY_OPTIONS: Spec = {
  bs: { value: true },
  depth: { value: true },
  direct: {},
  from: { value: true },
  hash: {},
  json: {},
  length: { value: true },
  quiet: { short: "q" },
  rescue: {},
  seek: { value: true },
  skip: { value: true },
  sparse: {},
  verify: {},
  yes: { short: "y" },
};

interface Job {
  /** "-": standard input. */
  readonly source: string;
  readonly target: string;
  readonly skip: number;
  readonly seek: number;
  readonly length: number | undefined;
  readonly bs: number | undefined;
  readonly depth: number | undefined;
  readonly direct: boolean;
  readonly hash: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly rescue: boolean;
  readonly sparse: boolean;
  readonly verify: boolean;
  readonly yes: boolean;
}

/** Standard input, or something that has been looked at. */
type Origin = Place | undefined;

export async function copyCommand(argv: readonly string[]): Promise<number> {
  const job = readJob(new Arguments("copy", COPY_OPTIONS, argv));
  using interrupts = new Interrupts();
  const origin = job.source === "-" ? undefined : await look(job.source);
  const place = await look(job.target);
  await refuseUnsafe(place);
  refuseImpossible(job, origin, place);
  if (origin !== undefined) await refuseShared(origin, place);
  if (origin !== undefined) await warnOfWriters(origin);
  await using source = origin === undefined ? undefined : await openSource(origin, job.direct);
  await using target = await openTarget(place, job.direct);
  await confirm(job, { origin, source, place, target }, interrupts);
  return await run(job, source, target, place, interrupts);
}

function readJob(args: Arguments): Job {
  const [source = "", target = ""] = operands(args);
  return {
    source,
    target,
    ...startsOf(args),
    length: args.size("length"),
    bs: args.size("bs", 1),
    depth: args.integer("depth", 1, 1024),
    direct: args.flag("direct"),
    hash: args.flag("hash"),
    json: args.flag("json"),
    quiet: args.flag("quiet"),
    rescue: args.flag("rescue"),
    sparse: args.flag("sparse"),
    verify: args.flag("verify"),
    yes: args.flag("yes"),
  };
}

function operands(args: Arguments): string[] {
  const foreign = args.positionals.find((word) => /^(if|of|bs|count|skip|seek|conv)=/.test(word));
  if (foreign !== undefined) {
    throw usage(
      `"${foreign}" is the language of dd`,
      "Here it is: bun-aio copy SRC DST --bs SIZE --skip SIZE --seek SIZE --length SIZE",
    );
  }
  return args.operands(["SRC", "DST"]);
}

// Before anything is written -----------------------------------------------------------------------------

function refuseImpossible(job: Job, origin: Origin, place: Place): void {
  if (job.target === "-") throw usage("DST must be a file or a device", "Use cat to write a pipe");
  if (origin?.kind === "missing") throw new Stop(Exit.failed, `there is no ${job.source}`);
  if (origin !== undefined && origin.identity === place.identity && job.skip === job.seek) {
    throw refused(`${place.path} is ${origin.path} itself`);
  }
  if (origin !== undefined) refuseBeyond(origin, job.skip, job.length ?? 0);
  const bytes = knownLength(job, origin);
  const room = place.size - job.seek;
  if (place.kind === "disk" && room < Math.max(bytes ?? 0, 1)) {
    throw refused(
      `${place.path} is too small: it has room for ${formatExactSize(Math.max(0, room))}` +
        `${bytes === undefined ? "" : ` of ${formatExactSize(bytes)}`}`,
    );
  }
  if (job.verify && place.kind === "other") throw usage(`${place.path} cannot be read back`);
}

/** Bytes that will be copied, where that is known. */
function knownLength(job: Job, origin: Origin): number | undefined {
  if (job.length !== undefined) return job.length;
  return origin?.end === undefined ? undefined : Math.max(0, origin.end - job.skip);
}

interface Sides {
  readonly origin: Origin;
  readonly source: File | undefined;
  readonly place: Place;
  readonly target: File;
}

/** Shows what will be lost and has it agreed to. */
async function confirm(job: Job, sides: Sides, interrupts: Interrupts): Promise<void> {
  const { origin, source, place, target } = sides;
  if (!isLoss(place)) return;
  // Reading a character device may do something: move a tape, take from a queue.
  const held = place.kind === "other" ? undefined : await contentsOf(target);
  const given =
    source === undefined || origin?.kind === "other" ? undefined : await contentsOf(source);
  if (!job.yes || !job.quiet) {
    say(paint(process.stderr, "bold", "This will be overwritten:"));
    say(`  ${printable(nameOf(place))}  (${describe(place)})`);
    if (held !== undefined) say(`  holds  ${held}`);
    say(`  from   ${origin === undefined ? "standard input" : fromText(origin, given)}`);
    say(`  bytes  ${extentText(job, origin, place)}`);
  }
  // Never silent: a disk written so is of no use, and looks done.
  if (place.kind === "disk" && isCompressed(given)) {
    warn("the source is compressed and will be written as it is; unpack it first?");
  }
  if (job.yes) return;
  if (!canAsk()) throw refused("nobody is there to be asked", "Pass --yes if you are sure");
  using _silence = interrupts.silence();
  const answer = await ask('Overwrite it? Type "yes" to go on: ', interrupts.signal);
  if (interrupts.signal.aborted) throw new Stop(interrupts.code, "stopped; nothing was written");
  if (/^y(es)?$/i.test(answer?.trim() ?? "")) return;
  throw refused("not confirmed; nothing was written");
}

/** Whether something could be lost. Character devices may be tapes, or memory. */
function isLoss({ kind, size, realPath }: Place): boolean {
  if (kind === "missing") return false;
  if (kind === "regular") return size > 0;
  return kind === "disk" || !/^\/dev\/(null|zero|full)$/.test(realPath);
}

function fromText(origin: Place, contents: string | undefined): string {
  const text = `${printable(nameOf(origin))}  (${describe(origin)}`;
  return `${text}${contents === undefined ? "" : `; ${contents}`})`;
}

function extentText(job: Job, origin: Origin, place: Place): string {
  const bytes = knownLength(job, origin);
  const start = grouped(job.seek);
  if (bytes === undefined) return `from ${start} on, as many as the source has`;
  const keeps = place.kind === "disk" && job.seek + bytes < place.size;
  const rest = keeps ? "; what is behind stays as it is" : "";
  return `${start} to ${grouped(job.seek + bytes)} (${formatSize(bytes)})${rest}`;
}

// Copying ------------------------------------------------------------------------------------------------

async function run(
  job: Job,
  source: File | undefined,
  target: File,
  place: Place,
  interrupts: Interrupts,
): Promise<number> {
  try {
    const result = await copyShown(job, source, target, interrupts);
    await cutRest(job, target, place, result);
    // Best effort: the system learns of a partition table that came with the image.
    if (target instanceof BlockDevice) await target.rereadPartitions().catch(() => {});
    const lost = await lostName(job.target, target);
    report(job, result, lost);
    return result.readErrors.length === 0 && lost === undefined ? Exit.done : Exit.failed;
  } catch (error) {
    const result = error instanceof IoError ? resultOf(error) : undefined;
    if (!(error instanceof IoError) || result === undefined) throw error;
    const stopped = interrupts.signal.aborted && error.code === "ABORT_ERR";
    if (stopped) await settleWritten(target, result);
    if (job.json) print(JSON.stringify({ ...resultJson(job, result), error: error.code }));
    if (stopped) say(`stopped after ${formatExactSize(result.prefix)}`);
    else complain(error.message);
    const lost = await lostName(job.target, target);
    if (lost === undefined) sayHowToGoOn(job, result);
    else complain(lost);
    if (stopped) return interrupts.code;
    if (error.code === "ETXTBSY" && result.bytesCopied === 0) return Exit.refused;
    return error.code === "ERR_VERIFY" ? Exit.differs : Exit.failed;
  }
}

async function copyShown(
  job: Job,
  source: File | undefined,
  target: File,
  interrupts: Interrupts,
): Promise<CopyResult> {
  using progress = new Progress(job.quiet, interrupts.signal);
  return await copy(source ?? Bun.stdin.stream(), target, {
    sourceOffset: job.skip,
    targetOffset: job.seek,
    length: job.length,
    chunkSize: job.bs,
    concurrency: job.depth,
    sparse: job.sparse,
    verify: job.verify,
    // Character devices have nothing to sync.
    sync: target.kind === "regular" || target.kind === "disk",
    onReadError: job.rescue ? "skip" : "fail",
    hash: job.hash ? "sha256" : undefined,
    signal: interrupts.signal,
    onProgress: (step: CopyProgress) => progress.update(step),
  });
}

/** A file that was longer than what was copied over it ends with the copy, unless a part was named. */
async function cutRest(job: Job, target: File, place: Place, result: CopyResult): Promise<void> {
  if (place.kind !== "regular" || job.length !== undefined || job.skip !== job.seek) return;
  const end = job.seek + result.prefix;
  if (place.size <= end) return;
  await target.truncate(end);
  await target.syncAll();
}

/** What was written before the stop is on the medium, so that one can go on from there. */
async function settleWritten(target: File, result: CopyResult): Promise<void> {
  if (result.prefix === 0 || (target.kind !== "regular" && target.kind !== "disk")) return;
  say("what was written is being synced");
  await target.syncAll().catch((error: unknown) => {
    complain(error instanceof Error ? error.message : String(error));
  });
}

function resultOf(error: IoError): CopyResult | undefined {
  const { result } = error;
  return isResult(result) ? result : undefined;
}

function isResult(value: unknown): value is CopyResult {
  return typeof value === "object" && value !== null && "prefix" in value && "readErrors" in value;
}

// Reports ------------------------------------------------------------------------------------------------

function resultJson(job: Job, result: CopyResult): object {
  return { source: job.source, target: job.target, skip: job.skip, seek: job.seek, ...result };
}

/** `lost`: what became of the target's name. */
function report(job: Job, result: CopyResult, lost: string | undefined): void {
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
  if (result.digest !== undefined) print(`${result.digest}  ${printable(job.source)}`);
  if (job.quiet) return;
  const seconds = result.durationMs / 1000;
  const total = result.bytesCopied + result.bytesSkipped;
  const parts = [
    `copied ${formatExactSize(total)} in ${formatSeconds(seconds)}`,
    ...(total > 0 ? [formatRate(total / seconds)] : []),
    ...(result.bytesSkipped > 0
      ? [`${formatSize(result.bytesSkipped)} of it zeroes left out`]
      : []),
    ...(result.verified ? ["verified"] : []),
  ];
  say(parts.join(", "));
}

/** The command that does the rest. */
function sayHowToGoOn(job: Job, result: CopyResult): void {
  // Whole pages: a byte too many is copied again, never one too few.
  const done = result.prefix - (result.prefix % 4096);
  if (done === 0) return;
  const skip = job.skip + done;
  const seek = job.seek + done;
  const words = ["bun-aio copy", quoted(job.source), quoted(job.target)];
  if (skip === seek) words.push(`--from ${skip}`);
  else words.push(`--skip ${skip}`, `--seek ${seek}`);
  if (job.length !== undefined) words.push(`--length ${job.length - done}`);
  if (job.bs !== undefined) words.push(`--bs ${job.bs}`);
  if (job.depth !== undefined) words.push(`--depth ${job.depth}`);
  for (const name of ["direct", "hash", "json", "quiet", "rescue", "sparse", "verify"] as const) {
    if (job[name]) words.push(`--${name}`);
  }
  say("To go on from there:");
  say(`  ${words.join(" ")}`);
  if (job.source === "-") say("with the same standard input from its beginning");
}
