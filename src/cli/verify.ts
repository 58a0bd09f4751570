// `bun-aio verify`: compares two files or devices as they are on the medium, not in the page cache.

import { CancelScope } from "../cancellation/scope.ts";
import type { ByteRange } from "../common/byte_range.ts";
import { Digest } from "../common/digest.ts";
import { Differences, type Pair } from "../copy/differences.ts";
import { Cursor, inStep } from "../copy/in_step.ts";
import { Meter } from "../file/progress.ts";
import { Arguments, type Spec, startsOf } from "./arguments.ts";
import type { Packing } from "./contents.ts";
import { Exit, failure, usage } from "./exit.ts";
import { Interrupts } from "./interrupts.ts";
import { Progress } from "./progress.ts";
import { openSide, type Side, type Sizes } from "./side.ts";
import { print, printable, say } from "./terminal.ts";
import { formatRate, formatSeconds, formatSize, grouped } from "./units.ts";

const VERIFY_OPTIONS: Spec = {
  values: ["bs", "depth", "from", "length", "seek", "skip"],
  flags: ["all", "json", "no-hash", "quiet", "raw"],
};

export const VERIFY_BS_DEFAULT: number = 2 ** 20;
export const VERIFY_DEPTH_DEFAULT: number = 8;
const RANGES_SHOWN = 10;
export const VERIFY_MEMORY_BYTES_MAX: number = 2 ** 30;

/** `hash`: whether to compute digests, if there is no difference or all are wanted. */
export interface Comparison extends Sizes {
  readonly all: boolean;
}

interface Job extends Comparison {
  readonly quiet: boolean;
}

export interface Outcome {
  readonly compared: number;
  /** From the start of the comparison. */
  readonly differences: readonly ByteRange[];
  readonly bytesDiffering: number;
  readonly sha256A: string | undefined;
  readonly sha256B: string | undefined;
  readonly stopped: boolean;
}

export async function verifyCommand(argv: readonly string[]): Promise<number> {
  const args = new Arguments("verify", VERIFY_OPTIONS, argv);
  const [pathA = "", pathB = ""] = args.operands(["A", "B"]);
  const { skip, seek } = startsOf(args);
  const bs = args.size("bs", 1) ?? VERIFY_BS_DEFAULT;
  const depth = args.integer("depth", 1, 1024) ?? VERIFY_DEPTH_DEFAULT;
  if (bs * depth * 2 > VERIFY_MEMORY_BYTES_MAX) {
    throw usage(`--bs times --depth takes too much memory: ${formatSize(bs * depth)}`);
  }
  if (pathA === "-" && pathB === "-") throw usage("A and B are both standard input");
  using interrupts = new Interrupts();
  await using b = await openSide(pathB, seek, interrupts.signal);
  const unpacks = (packing: Packing): boolean => !args.flag("raw") && packing !== b.packing;
  await using a = await openSide(pathA, skip, interrupts.signal, unpacks);
  const wanted = args.size("length") ?? Infinity;
  const inOrder = a.inOrder || b.inOrder;
  const job: Job = {
    length: Math.min(wanted, inOrder ? Infinity : Math.min(a.rest, b.rest)),
    ...{ bs, depth, hash: !args.flag("no-hash") },
    ...args.flags(["all", "quiet"]),
  };
  const started = performance.now();
  const outcome = await compareShown(job, a, b, interrupts);
  for (const side of [a, b]) side.compared(outcome.compared);
  const seconds = (performance.now() - started) / 1000;
  const first = firstDifference(outcome, a, b, wanted);
  const identical = !outcome.stopped && first === undefined;
  if (args.flag("json")) {
    print(JSON.stringify({ ...verdict(outcome, a, b, first), durationMs: seconds * 1000 }));
  } else {
    show(job, [a, b], outcome, first);
    if (identical && !job.quiet) {
      const rate = formatRate(outcome.compared / Math.max(seconds, 1e-6));
      say(`compared ${formatSize(outcome.compared)} in ${formatSeconds(seconds)}, ${rate}`);
    }
  }
  if (first !== undefined) return Exit.differs;
  if (!outcome.stopped) return Exit.done;
  say(`stopped after ${grouped(outcome.compared)} bytes, which are the same`);
  return interrupts.code;
}

/** Position of the first difference, which may be the end of one side. In bytes from the start of the comparison. */
function firstDifference(outcome: Outcome, a: Side, b: Side, wanted: number): number | undefined {
  const [difference] = outcome.differences;
  if (difference !== undefined) return difference.offset;
  if (outcome.stopped) return undefined;
  const end = Math.min(a.rest, b.rest);
  if (wanted !== Infinity) return end < wanted ? end : undefined;
  // A disk may be longer than the image written to it.
  const shorter = a.rest < b.rest ? b : b.rest < a.rest ? a : undefined;
  return shorter === undefined || shorter.kind === "disk" ? undefined : end;
}

function verdict(outcome: Outcome, a: Side, b: Side, first: number | undefined): object {
  const side = ({ path, size, offset }: Side, sha256: string | undefined): object => {
    return { path, size: size ?? null, offset, sha256: sha256 ?? null };
  };
  return {
    a: side(a, outcome.sha256A),
    b: side(b, outcome.sha256B),
    identical: !outcome.stopped && first === undefined,
    compared: outcome.compared,
    firstDifference: first === undefined ? null : { a: a.offset + first, b: b.offset + first },
    bytesDiffering: outcome.bytesDiffering,
    ranges: outcome.differences.map(({ offset, length }) => ({ at: offset, length })),
  };
}

// Comparing ----------------------------------------------------------------------------------------------

async function compareShown(job: Job, a: Side, b: Side, interrupts: Interrupts): Promise<Outcome> {
  using progress = await Progress.begin(job.quiet, interrupts.signal);
  const { signal } = interrupts;
  const stop = (): void => {
    for (const side of [a, b]) side.stop(signal.reason);
  };
  signal.addEventListener("abort", stop);
  try {
    return await compare(job, a, b, progress, signal);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** Reads both sides ahead, and compares them in step. */
export async function compare(
  job: Comparison,
  a: Side,
  b: Side,
  progress: Progress,
  signal: AbortSignal,
): Promise<Outcome> {
  const scope = new CancelScope(signal);
  await using left = new Cursor(a.pieces(job, scope));
  await using right = new Cursor(b.pieces(job, scope));
  const found = new Differences(true);
  const digests = new Digests(job);
  const total = job.length === Infinity ? undefined : job.length;
  using meter = new Meter(
    (step) => progress.update(step),
    "verify",
    total,
    () => {},
  );
  const isEnough = (): boolean => !job.all && found.first !== undefined;
  try {
    for await (const pair of inStep(left, right)) {
      const isSame = found.note(pair);
      await digests.add(pair, isSame, () => signal.aborted);
      meter.add(pair.length);
      if (signal.aborted || isEnough()) break;
    }
    if (!signal.aborted && !isEnough()) await noteEnds(job, [a, left], [b, right]);
    if (!signal.aborted) meter.end();
  } catch (error) {
    // The other one may wait for a stream.
    for (const side of [a, b]) side.stop(error);
    if (!signal.aborted) throw error;
  }
  const stopped = signal.aborted && !isEnough();
  const differences = found.ranges.slice(0, job.all ? RANGES_SHOWN : 1);
  const bytesDiffering = job.all ? found.bytes : (differences[0]?.length ?? 0);
  const sums = stopped || isEnough() ? NO_DIGESTS : digests.hex();
  return { compared: left.bytes, stopped, differences, bytesDiffering, ...sums };
}

/** One side, or both, have ended. */
async function noteEnds(job: Comparison, ...sides: readonly [Side, Cursor][]): Promise<void> {
  const compared = Math.min(...sides.map(([, { bytes }]) => bytes));
  if (compared >= job.length) return;
  for (const [side, cursor] of sides) {
    if (side.inOrder && (await cursor.ready()) === 0) side.rest = compared;
  }
  if (sides.every(([{ rest }]) => compared < rest)) {
    throw failure(`one side ended at ${grouped(compared)} while it was read`);
  }
}

const NO_DIGESTS = { sha256A: undefined, sha256B: undefined };

/** The digests of both sides. While both are equal, one is enough. */
class Digests {
  #a: Digest | undefined;
  #b: Digest | undefined;

  constructor({ hash }: Comparison) {
    this.#a = hash ? new Digest("sha256") : undefined;
  }

  async add({ length, a, b }: Pair, isSame: boolean, isOver: () => boolean): Promise<void> {
    if (!isSame && this.#a !== undefined) this.#b ??= new Digest(this.#a);
    await this.#a?.update(a ?? length, isOver);
    await this.#b?.update(b ?? length, isOver);
  }

  hex(): { sha256A: string | undefined; sha256B: string | undefined } {
    const sha256A = this.#a?.hex();
    return { sha256A, sha256B: this.#b?.hex() ?? sha256A };
  }
}

// Showing ------------------------------------------------------------------------------------------------

function show(
  job: Job,
  sides: readonly [Side, Side],
  outcome: Outcome,
  first: number | undefined,
): void {
  const names = sides.map(({ path }) => printable(path));
  const { differences, stopped } = outcome;
  if (first === undefined && !stopped) {
    print(`identical: ${names.join(" and ")}, ${grouped(outcome.compared)} bytes`);
    const [a, b] = sides.map((side) => extent(side, outcome));
    const where = `${a}${a === b ? "" : ` of ${names[0]}, ${b} of ${names[1]}`}`;
    if (job.hash) print(`sha256 ${outcome.sha256A}  ${where}`);
    if (sides[0].size !== sides[1].size) print(lengths(sides));
  }
  if (first === undefined) return;
  const [offsetA, offsetB] = [sides[0].offset + first, sides[1].offset + first];
  const where = offsetA === offsetB ? `at ${offsetA}` : `at ${offsetA} and ${offsetB}`;
  print(`different: ${names.join(" and ")}, first ${where}`);
  print(lengths(sides));
  if (!job.all || differences.length === 0) return;
  print(`${grouped(outcome.bytesDiffering)} bytes differ`);
  for (const { offset, length } of differences) {
    print(`  ${sides[0].offset + offset}  ${length} bytes`);
  }
  if (differences.length === RANGES_SHOWN) print("  ... (the first ranges only)");
  if (!job.hash) return;
  print(`sha256 ${outcome.sha256A}  ${extent(sides[0], outcome)} of ${names[0]}`);
  print(`sha256 ${outcome.sha256B}  ${extent(sides[1], outcome)} of ${names[1]}`);
}

function extent({ offset }: Side, { compared }: Outcome): string {
  return `bytes ${grouped(offset)} to ${grouped(offset + compared)}`;
}

function lengths(sides: readonly [Side, Side]): string {
  const words = sides.map(({ path, size }) => {
    return `${printable(path)} has ${size === undefined ? "more" : `${grouped(size)} bytes`}`;
  });
  return words.join(", ");
}
