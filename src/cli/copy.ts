// `bun-aio copy`: a safe dd. Checks both sides, and asks before it writes.

import { File } from "../file/file.ts";
import { blockMapFor } from "./bmap.ts";
import { contentsOf, isCompressed, isZeroBetween, type Packing } from "./contents.ts";
import { hasEarlierPart, type Job, readJob } from "./copy_job.ts";
import { run } from "./copy_run.ts";
import { type Copying, knownLength } from "./copying.ts";
import { refused, Stop, usage } from "./exit.ts";
import { Interrupts } from "./interrupts.ts";
import {
  describe,
  look,
  nameOf,
  neither,
  openForReading,
  type Place,
  refuseBeyond,
} from "./places.ts";
import { absolute } from "./raw_words.ts";
import { RescueFile } from "./rescue_file.ts";
import { openSource, type Source } from "./source.ts";
import { ask, canAsk, paint, printable, say, warn } from "./terminal.ts";
import { formatExactSize, formatSize, grouped } from "./units.ts";
import { openTarget, refuseShared, refuseUnsafe, warnOfWriters } from "./writing.ts";

export async function copyCommand(argv: readonly string[]): Promise<number> {
  const job = readJob(argv);
  using interrupts = new Interrupts();
  const places: Place[] = [];
  for (const path of job.targets) places.push(await examined(job, path, places));
  await using source = await openSource(job.source, {
    ...{ direct: job.direct, skip: job.skip, stop: interrupts.signal },
    // What cannot be read has no place in what is unpacked.
    unpacks: () => !job.raw && !job.rescue,
    recognised: (packing, contents) => sayRecognised(job, places, packing, contents),
  });
  const map = await blockMapFor(job, source);
  if (map !== undefined) source.end = map.size;
  if (map !== undefined && hasEarlierPart(job)) {
    throw usage("--verify-from and --bmap cannot be used together");
  }
  const rescue = job.map === undefined ? undefined : await RescueFile.open(job.map);
  for (const place of places) {
    rescue?.refuseWithout(place);
    await refuseImpossible(job, source, place, interrupts);
    if (source.place !== undefined) await refuseShared(source.place, place);
  }
  if (source.place !== undefined) await warnOfWriters(source.place);
  await using targets = new AsyncDisposableStack();
  const copies = await opened(job, { source, map, rescue }, places, targets, interrupts);
  // A disk has been held since it was examined; a file may have been attached while the question was open.
  for (const place of places) {
    if (place.kind === "regular" && !job.yes) await refuseUnsafe(place);
  }
  return await run(copies, interrupts);
}

/** A target that may be overwritten, and is none of those before it. */
async function examined(job: Job, path: string, before: readonly Place[]): Promise<Place> {
  if (path === "-") throw usage("DST must be a file or a device", "Use cat to write to a pipe");
  const place = await look(path, "target");
  if (job.targets.length > 1 && place.kind === "other") {
    throw neither(place, "; with several DST, each must be one");
  }
  for (const other of before) {
    const isSame = place.identity === "" ? absolute(other.path) === absolute(path) : undefined;
    if (isSame ?? other.identity === place.identity) {
      throw refused(`${printable(path)} and ${printable(other.path)} are the same file or disk`);
    }
    await refuseShared(other, place);
  }
  await refuseUnsafe(place, job);
  return place;
}

type Origin = Pick<Copying, "source" | "map" | "rescue">;

/** Opens the targets. Disks are held while the question is open, unless they are mounted; files are made after it. */
async function opened(
  job: Job,
  from: Origin,
  places: readonly Place[],
  targets: AsyncDisposableStack,
  interrupts: Interrupts,
): Promise<Copying[]> {
  const held = new Map<Place, File>();
  {
    await using looked = new AsyncDisposableStack();
    const losses: Loss[] = [];
    for (const place of places) {
      if (place.kind === "missing") continue;
      const mounted = isMounted(job, place);
      const target = mounted
        ? looked.use(await openForReading(place))
        : targets.use(await openTarget(place, { ...job, unmount: false }));
      if (!mounted) held.set(place, target);
      if (isLoss(place)) losses.push({ place, target });
    }
    await confirm(job, from, losses, interrupts);
  }
  const copies: Copying[] = [];
  for (const place of places) {
    const target = held.get(place) ?? targets.use(await openTarget(place, job));
    copies.push({ job, ...from, place, target });
    if (!isMounted(job, place) || job.quiet) continue;
    say(`unmounted: ${(place.device?.allMounts ?? []).map(printable).join(", ")}`);
  }
  return copies;
}

function isMounted({ unmount }: Job, { device }: Place): boolean {
  return unmount && (device?.allMounts ?? []).length > 0;
}

// Before anything is written -----------------------------------------------------------------------------

function sayRecognised(
  job: Job,
  targets: readonly Place[],
  packing: Packing | undefined,
  contents: string,
): void {
  const isKept = packing === undefined || job.raw || job.rescue;
  if (!isKept && !job.quiet) {
    say(`unpacking ${printable(job.source)} (${packing}); --raw copies it as it is`);
  }
  // Not silenced by --quiet: the disk would be unusable, though the copy succeeds. For a file it may be intended.
  const isOntoDisk = targets.some(({ kind }) => kind === "disk");
  if (isKept && isOntoDisk && !job.raw && isCompressed(contents)) {
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
    throw usage(`--verify-from reads SRC again, which ${printable(source.path)} does not allow`);
  }
  const isSame = origin !== undefined && origin.identity === place.identity;
  if (isSame && (source.unpacking !== undefined || source.start + job.skip === job.seek)) {
    throw refused(`${printable(source.path)} and ${name} are the same file or disk`);
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
  if (job.verify && place.kind === "other")
    throw usage(`${name} cannot be read back: leave out --verify`);
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
  return `Only zeroes do not fit: --length ${room} copies everything else`;
}

const IF_SURE = "Pass --yes if you are sure";

type Loss = Pick<Copying, "place" | "target">;

async function confirm(
  job: Job,
  from: Origin,
  losses: readonly Loss[],
  interrupts: Interrupts,
): Promise<void> {
  const [first] = losses;
  if (first === undefined) return;
  if (!job.yes || !job.quiet) {
    say(paint(process.stderr, "bold", "This will be overwritten:"));
    for (const loss of losses) await sayLoss(loss);
    say(`  from   ${await sourceText(from.source)}`);
    say(`  bytes  ${extentText(job, from, first.place)}`);
  }
  if (job.yes) return;
  if (job.source === "-")
    throw refused("cannot ask for confirmation: standard input is SRC", IF_SURE);
  if (!canAsk()) throw refused("cannot ask for confirmation: there is no terminal", IF_SURE);
  using _silence = interrupts.silence();
  const answer = await ask('Overwrite it? Type "yes" to go on: ', interrupts.signal);
  if (interrupts.signal.aborted) throw new Stop(interrupts.code, "stopped; nothing was written");
  if (/^y(es)?$/i.test(answer?.trim() ?? "")) return;
  throw refused("not confirmed; nothing was written");
}

async function sayLoss({ place, target }: Loss): Promise<void> {
  say(`  ${printable(nameOf(place))}  (${describe(place)})`);
  // Reading a character device may have effects: move a tape, take from a queue.
  const held = place.kind === "other" ? undefined : await contentsOf(target);
  if (held !== undefined) say(`  holds  ${held}`);
  const mounts = place.device?.allMounts ?? [];
  if (mounts.length > 0) say(`  mounted at ${mounts.map(printable).join(", ")}; will be unmounted`);
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

function extentText(job: Job, { source, map }: Origin, place: Place): string {
  const bytes = knownLength(job, source);
  const start = grouped(job.seek);
  if (bytes === undefined) return `from ${start} to the end of the source`;
  const keeps = place.kind === "disk" && (map !== undefined || job.seek + bytes < place.size);
  const rest = keeps ? "; the rest stays as it is" : "";
  const ranges = map === undefined ? "" : `, where ${printable(map.path)} has data`;
  return `${start} to ${grouped(job.seek + bytes)} (${formatSize(bytes)})${ranges}${rest}`;
}
