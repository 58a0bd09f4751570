// `bun-aio verify`: compares two files or devices as they are on the medium, not in the page cache.

import { BufferPool, type Bytes } from "../index.ts";
import { Arguments, type Spec, startsOf } from "./arguments.ts";
import type { Packing } from "./contents.ts";
import { Exit, Stop, usage } from "./exit.ts";
import { Interrupts } from "./interrupts.ts";
import { Progress } from "./progress.ts";
import { openSide, type Side } from "./side.ts";
import { print, printable, say } from "./terminal.ts";
import { formatRate, formatSeconds, formatSize, grouped } from "./units.ts";

const VERIFY_OPTIONS: Spec = {
  all: {},
  bs: { value: true },
  depth: { value: true },
  from: { value: true },
  json: {},
  length: { value: true },
  quiet: { short: "q" },
  raw: {},
  seek: { value: true },
  skip: { value: true },
};

export const VERIFY_BS_DEFAULT: number = 2 ** 20;
export const VERIFY_DEPTH_DEFAULT: number = 8;
/** Ranges listed one by one. */
const RANGES_SHOWN = 10;
export const VERIFY_MEMORY_BYTES_MAX: number = 2 ** 30;

export interface Comparison {
  /** Bytes to compare; Infinity if an end must be found. */
  readonly length: number;
  readonly bs: number;
  readonly depth: number;
  /** Whether to report every difference, not only the first. */
  readonly all: boolean;
}

interface Job extends Comparison {
  readonly quiet: boolean;
}

export interface Difference {
  /** From the start of the comparison. */
  readonly at: number;
  readonly length: number;
}

export interface Outcome {
  readonly compared: number;
  readonly differences: readonly Difference[];
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
    throw new Stop(Exit.usage, `--bs times --depth is too much memory: ${formatSize(bs * depth)}`);
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
    bs,
    depth: inOrder ? 1 : depth,
    all: args.flag("all"),
    quiet: args.flag("quiet"),
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
  if (difference !== undefined) return difference.at;
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
    ranges: outcome.differences,
  };
}

// Comparing ----------------------------------------------------------------------------------------------

async function compareShown(job: Job, a: Side, b: Side, interrupts: Interrupts): Promise<Outcome> {
  using progress = new Progress(job.quiet, interrupts.signal);
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

interface Pair {
  readonly at: number;
  readonly a: Bytes & Disposable;
  readonly b: Bytes & Disposable;
  readonly read: Promise<number>;
}

/** Reads `depth` pairs ahead and compares them in order. */
export async function compare(
  job: Comparison,
  a: Side,
  b: Side,
  progress: Progress,
  signal: AbortSignal,
): Promise<Outcome> {
  using pool = new BufferPool({ size: job.bs, count: job.depth * 2 });
  const found = new Findings(job.all);
  const meter = new Meter(job.length, progress);
  const pairs: Pair[] = [];
  let next = 0;
  let compared = 0;
  let ended = false;
  try {
    while (compared < job.length && !ended && !signal.aborted && !found.isEnough) {
      while (pairs.length < job.depth && next < job.length) {
        pairs.push(await startPair(job, pool, a, b, next));
        next += job.bs;
      }
      const pair = pairs[0];
      if (pair === undefined) break;
      const bytes = await pair.read;
      // A cancelled comparison has not reached its end.
      if (signal.aborted) break;
      found.look(pair.at, pair.a.subarray(0, bytes), pair.b.subarray(0, bytes));
      pairs.shift();
      release(pair);
      compared += bytes;
      meter.told(compared);
      ended = bytes < Math.min(job.bs, job.length - pair.at);
      if (ended && compared < Math.min(a.rest, b.rest)) throw shrunk(compared);
    }
  } finally {
    await Promise.allSettled(pairs.map(({ read }) => read));
    pairs.forEach(release);
  }
  const stopped = compared < job.length && !ended && !found.isEnough;
  return { compared, stopped, ...found.result(!stopped) };
}

async function startPair(
  job: Comparison,
  pool: BufferPool,
  sideA: Side,
  sideB: Side,
  at: number,
): Promise<Pair> {
  const [a, b] = [await pool.acquire(), await pool.acquire()];
  const bytes = Math.min(job.bs, job.length - at);
  const reads = [sideA.read(a.subarray(0, bytes), at), sideB.read(b.subarray(0, bytes), at)];
  // The buffers are free only when both reads have settled.
  const read = Promise.allSettled(reads)
    .then(() => Promise.all(reads))
    .then((n) => Math.min(...n));
  read.catch(() => {});
  return { at, a, b, read };
}

function release({ a, b }: Pair): void {
  a[Symbol.dispose]();
  b[Symbol.dispose]();
}

function shrunk(at: number): Stop {
  return new Stop(Exit.failed, `one side ended at ${grouped(at)} while it was read`);
}

class Findings {
  readonly #all: boolean;
  readonly #hasherA = new Bun.CryptoHasher("sha256");
  #hasherB: Bun.CryptoHasher = this.#hasherA;
  readonly #ranges: Difference[] = [];
  #bytes = 0;
  #seen = 0;
  /** While both are equal, one digest is enough. */
  #same = true;

  constructor(all: boolean) {
    this.#all = all;
  }

  /** One difference is enough, unless all are wanted. */
  get isEnough(): boolean {
    return !this.#all && this.#seen > 0;
  }

  look(at: number, a: Uint8Array, b: Uint8Array): void {
    const differ = Buffer.compare(a, b) !== 0;
    if (differ && this.#same) {
      this.#same = false;
      if (this.#all) this.#hasherB = this.#hasherA.copy();
    }
    if (differ) this.#note(at, a, b);
    if (!this.#same && !this.#all) return;
    this.#hasherA.update(a);
    if (!this.#same) this.#hasherB.update(b);
  }

  result(complete: boolean): Omit<Outcome, "compared" | "stopped"> {
    const sha256A = complete && (this.#same || this.#all) ? this.#hasherA.digest("hex") : undefined;
    const other = complete && this.#all ? this.#hasherB.digest("hex") : undefined;
    const sha256B = this.#same ? sha256A : other;
    const ranges = this.#ranges;
    return { differences: ranges, bytesDiffering: this.#bytes, sha256A, sha256B };
  }

  #note(at: number, a: Uint8Array, b: Uint8Array): void {
    for (let i = 0; i < a.byteLength; ) {
      if (a[i] === b[i]) {
        i++;
        continue;
      }
      const begin = i;
      while (i < a.byteLength && a[i] !== b[i]) i++;
      this.#bytes += i - begin;
      this.#add(at + begin, i - begin);
      if (!this.#all) return;
    }
  }

  #add(at: number, length: number): void {
    const last = this.#ranges.at(-1);
    this.#seen++;
    if (last !== undefined && last.at + last.length === at) {
      this.#ranges[this.#ranges.length - 1] = { at: last.at, length: last.length + length };
    } else if (this.#ranges.length < RANGES_SHOWN) this.#ranges.push({ at, length });
  }
}

/** Reports the progress ten times a second. */
class Meter {
  readonly #started: number = performance.now();
  #toldAt = 0;

  constructor(
    readonly total: number,
    readonly progress: Progress,
  ) {}

  told(bytes: number): void {
    const now = performance.now();
    if (now - this.#toldAt < 100 && bytes < this.total) return;
    this.#toldAt = now;
    const total = this.total === Infinity ? undefined : this.total;
    const bytesPerSecond = (bytes / Math.max(1, now - this.#started)) * 1000;
    const isKnown = total !== undefined && bytesPerSecond > 0;
    const secondsLeft = isKnown ? (total - bytes) / bytesPerSecond : undefined;
    this.progress.update({ phase: "verify", bytes, total, bytesPerSecond, secondsLeft });
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
    print(
      `sha256 ${outcome.sha256A}  ${a}${a === b ? "" : ` of ${names[0]}, ${b} of ${names[1]}`}`,
    );
    if (sides[0].size !== sides[1].size) print(lengths(sides));
  }
  if (first === undefined) return;
  const [offsetA, offsetB] = [sides[0].offset + first, sides[1].offset + first];
  const where = offsetA === offsetB ? `at ${offsetA}` : `at ${offsetA} and ${offsetB}`;
  print(`different: ${names.join(" and ")}, first ${where}`);
  print(lengths(sides));
  if (!job.all || differences.length === 0) return;
  print(`${grouped(outcome.bytesDiffering)} bytes differ`);
  for (const { at, length } of differences) print(`  ${sides[0].offset + at}  ${length} bytes`);
  if (differences.length === RANGES_SHOWN) print("  ... (the first ranges only)");
  print(`sha256 ${outcome.sha256A}  ${extent(sides[0], outcome)} of ${names[0]}`);
  print(`sha256 ${outcome.sha256B}  ${extent(sides[1], outcome)} of ${names[1]}`);
}

/** The range that a digest covers. */
function extent({ offset }: Side, { compared }: Outcome): string {
  return `bytes ${grouped(offset)} to ${grouped(offset + compared)}`;
}

function lengths(sides: readonly [Side, Side]): string {
  const words = sides.map(({ path, size }) => {
    return `${printable(path)} has ${size === undefined ? "more" : `${grouped(size)} bytes`}`;
  });
  return words.join(", ");
}
