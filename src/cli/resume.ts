// Builds the command that resumes a copy that ended early.

import type { ByteRange } from "../common/byte_range.ts";
import type { BlockMap } from "./bmap.ts";
import type { Job } from "./copy_job.ts";
import { isUrl } from "./download.ts";
import type { Place } from "./places.ts";
import { absolute } from "./raw_words.ts";
import type { Source } from "./source.ts";
import { type Started, startedAs } from "./started.ts";
import { quoted } from "./terminal.ts";

export interface Ended {
  readonly job: Job;
  readonly source: Pick<Source, "isRereadable">;
  readonly map?: Pick<BlockMap, "path" | "ranges"> | undefined;
  readonly place: Place;
  readonly phase: "copy" | "verify";
  /** Bytes done from `job.skip`; negative in the earlier part. */
  readonly done: number;
  /** Bytes to copy, if known. */
  readonly total: number | undefined;
  /** Whether ranges of the source could not be read: the target differs there. */
  readonly hasReadErrors: boolean;
  /** Code of the failure; ABORT_ERR if it was stopped. */
  readonly code: string;
  /** Whether everything written is on the medium. */
  readonly isSynced: boolean;
}

export interface WayOn {
  readonly title: string;
  readonly command: string;
  readonly notes: readonly string[];
}

/** Resumes at a page boundary: bytes may be copied twice, but none is left out. */
const PAGE_BYTES = 4096;

/** Whether everything was written, and at most verification is missing. */
export function isWritten({ phase, done, total, code, place, job }: Ended): boolean {
  if (code === "ERR_VERIFY") return false;
  if (phase === "verify" || done === total) return true;
  return place.kind === "disk" && total === undefined && job.seek + done >= place.size;
}

/** The command that completes the job; undefined if none could. */
export function wayOn(ended: Ended): WayOn | undefined {
  const { job, code, place } = ended;
  const wantsLook = job.verify || job.hash;
  if (job.map !== undefined) return again(ended, "To continue with the rest:");
  if (isWritten(ended)) {
    // A failed sync covers everything that was written, and fails only once.
    if (!ended.isSynced) return again(ended, "To copy it again:");
    if (!wantsLook) return undefined;
    if (isReadable(ended)) return verification(ended);
    return again(ended, "To copy it again, and verify all of it:");
  }
  // These would fail again: a source that is too short or damaged, a full device, swap space.
  if (["ERR_END_OF_FILE", "ERR_DAMAGED", "ETXTBSY"].includes(code)) return undefined;
  if (code === "ENOSPC" && place.kind !== "regular" && place.kind !== "missing") return undefined;
  const { start } = job;
  const begun = job.skip + ended.done - start;
  const page = start + begun - (begun % PAGE_BYTES);
  // The checksum of a range is of the whole of it.
  const skip = ended.map?.ranges.find((range) => isWithin(page, range))?.offset ?? page;
  if (skip <= start) return again(ended, "To start over:");
  if (!ended.isSynced) return again(ended, "To copy it again:");
  if (wantsLook && (job.rescue || !isReadable(ended)))
    return again(ended, "To copy it again, and verify all of it:");
  return rest(ended, skip);
}

/** Whether the source can be read again and compared with the target. */
function isReadable({ source, map, hasReadErrors, job }: Ended): boolean {
  // Between the ranges of a block map they may differ.
  return source.isRereadable && map === undefined && !(job.rescue && hasReadErrors);
}

function isWithin(at: number, { offset, length }: ByteRange): boolean {
  return offset <= at && at < offset + length;
}

/** From where the first of the copies began. */
function again(ended: Ended, title: string): WayOn {
  const { job } = ended;
  const before = job.skip - job.start;
  const length = job.length === undefined ? undefined : job.length + before;
  return copying(ended, title, { skip: job.start, seek: job.seek - before, length });
}

type Where = Pick<Job, "skip" | "seek" | "length">;

function rest(ended: Ended, skip: number): WayOn {
  const { job } = ended;
  const moved = skip - job.skip;
  const length = job.length === undefined ? undefined : job.length - moved;
  return copying(ended, "To continue from there:", { skip, seek: job.seek + moved, length });
}

function copying(ended: Ended, title: string, where: Where): WayOn {
  const { job, source, map } = ended;
  const started = startedAs();
  const words = ["copy", ...operands(ended, started), ...whereWords(where), ...job.options];
  if (job.map !== undefined) words.push(`--map ${pathWord(job.map, started)}`);
  if (map !== undefined) words.push(`--bmap ${pathWord(map.path, started)}`);
  const looks = job.verify || job.hash;
  // Also if the user named the earlier part.
  if (looks && job.start < where.skip) words.push(`--verify-from ${job.start}`);
  const notes: string[] = [];
  const isInput = job.source === "-";
  if (!source.isRereadable) {
    notes.push(`Give it the same ${isInput ? "standard input" : "SRC"} from its beginning.`);
  }
  // Standard input cannot answer the question. The target held nothing to ask about, only what this copy has
  // written.
  if (isInput && !job.yes) words.push("--yes");
  else if (!job.yes) notes.push("It asks before it overwrites anything, unless --yes is given.");
  return { title, command: commandOf(started, words), notes };
}

/** Verifies everything from where the first copy began. */
function verification(ended: Ended): WayOn {
  const { job, done, total } = ended;
  const started = startedAs();
  const before = job.skip - job.start;
  const isPart = job.length !== undefined || job.skip !== job.seek;
  const length = isPart ? before + (total ?? done) : undefined;
  const where = whereWords({ skip: job.start, seek: job.seek - before, length });
  const words = ["verify", ...operands(ended, started), ...where];
  for (const name of ["bs", "depth"] as const) if (job[name]) words.push(`--${name} ${job[name]}`);
  for (const name of ["json", "quiet", "raw"] as const) if (job[name]) words.push(`--${name}`);
  return { title: "To verify it:", command: commandOf(started, words), notes: [] };
}

function whereWords({ skip, seek, length }: Where): string[] {
  const words: string[] = [];
  if (skip === seek && skip > 0) words.push(`--from ${skip}`);
  if (skip !== seek && skip > 0) words.push(`--skip ${skip}`);
  if (skip !== seek && seek > 0) words.push(`--seek ${seek}`);
  if (length !== undefined) words.push(`--length ${length}`);
  return words;
}

function operands({ job, place }: Ended, started: Started): string[] {
  return [job.source, place.path].map((path) => pathWord(path, started));
}

function pathWord(path: string, { here }: Started): string {
  if (path === "-") return path;
  if (isUrl(path)) return quoted(path);
  if (!here) return quoted(absolute(path));
  // Must not look like an option.
  return quoted(path.startsWith("-") ? `./${path}` : path);
}

function commandOf({ words }: Started, rest: readonly string[]): string {
  return [...words.map(quoted), ...rest].join(" ");
}
