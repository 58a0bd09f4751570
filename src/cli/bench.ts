// `bun-aio bench`: a small fio. Measures what a file or disk can do through this library: operations a second,
// bandwidth, and latencies (from the native histograms of ring.stats()).

import { unlinkSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { allSettled } from "../common/all_settled.ts";
import type { Bytes } from "../common/arguments.ts";
import { messageOf } from "../common/shown.ts";
import { BlockDevice } from "../device/block_device.ts";
import { IoError } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import { allocBuffer } from "../memory/alloc_buffer.ts";
import { Ring } from "../ring/ring.ts";
import { Arguments, type Spec } from "./arguments.ts";
import { latencyChart, type Series } from "./chart.ts";
import { Exit, refused, usage } from "./exit.ts";
import { Interrupts } from "./interrupts.ts";
import { describe, look, neither, type Place } from "./places.ts";
import { Progress, type Step } from "./progress.ts";
import { absolute, pathOf, statOf } from "./raw_words.ts";
import { isNarrow, print, printable, say, table, warn } from "./terminal.ts";
import { formatMicroseconds, formatRate, formatSeconds, formatSize, grouped } from "./units.ts";
import { orInUse, refuseUnsafe, refuseUnwritable } from "./writing.ts";

const BENCH_OPTIONS: Spec = {
  values: ["bs", "depth", "rw", "seconds", "size", "svg"],
  flags: ["buffered", "json", "quiet", "yes"],
};

const MODES = ["read", "write", "randread", "randwrite", "randrw"];
const BS_MAX = 2 ** 30;
const MEMORY_BYTES_MAX = 2 ** 30;
const NEW_FILE_BYTES = 256 * 2 ** 20;

type Job = Readonly<ReturnType<typeof readJob>>;

type Result = Awaited<ReturnType<typeof measure>>;
type Side = Result["read"];

export async function benchCommand(argv: readonly string[]): Promise<number> {
  const args = new Arguments("bench", BENCH_OPTIONS, argv);
  const job = readJob(args);
  const svg = args.text("svg");
  if (svg !== undefined) await refuseOdd(svg, job.path);
  using interrupts = new Interrupts();
  const place = await look(job.path);
  await refuseUnsafe(writes(job) || place.kind === "missing" ? place : { ...place, kind: "other" });
  refuseUnasked(job, place);
  using _made = place.kind === "missing" ? await Scratch.make(job, interrupts.signal) : undefined;
  if (interrupts.signal.aborted) return interrupts.code;
  const result = await measure(job, place, interrupts);
  if (args.flag("json")) print(JSON.stringify(toJson(job, result), null, 2));
  else show(job, result);
  if (svg !== undefined) {
    await writeFile(pathOf(svg), chart(job, result));
    if (!job.quiet) say(`latency chart: ${printable(svg)}`);
  }
  return interrupts.signal.aborted ? interrupts.code : Exit.done;
}

function readJob(args: Arguments) {
  const [path = ""] = args.operands(["PATH"]);
  const mode = args.choice("rw", MODES, "randread");
  const bs = args.size("bs", 1) ?? (mode.startsWith("rand") ? 4096 : 2 ** 20);
  const depth = args.integer("depth", 1, 1024) ?? 32;
  if (bs > BS_MAX || bs * depth > MEMORY_BYTES_MAX) {
    throw usage(`--bs times --depth takes too much memory: ${formatSize(bs * depth)}`);
  }
  const size = args.size("size", 1);
  if (size !== undefined && size < bs) throw usage("--size is smaller than --bs");
  return {
    path,
    mode,
    bs,
    depth,
    seconds: args.number("seconds", 0.01, 86_400) ?? 5,
    /** Bytes used, from the start. */
    size,
    ...args.flags(["buffered", "quiet", "yes"]),
  };
}

function writes({ mode }: Job): boolean {
  return mode !== "read" && mode !== "randread";
}

function refuseUnasked(job: Job, place: Place): void {
  if (place.kind === "other") throw neither(place);
  if (!writes(job) || place.kind === "missing" || job.yes) return;
  throw refused(
    `--rw ${job.mode} destroys the contents of ${printable(job.path)} (${describe(place)})`,
    "Pass --yes if nothing in it is needed, or name a file that does not exist",
  );
}

/** Refuses, before anything is measured, a chart that cannot be written, or would overwrite PATH. */
async function refuseOdd(svg: string, path: string): Promise<void> {
  const [there, measured] = await Promise.all([statOf(svg), statOf(path)]);
  const same = there !== undefined && there.dev === measured?.dev && there.ino === measured.ino;
  if (same || absolute(svg) === absolute(path))
    throw usage(`--svg: ${printable(svg)} is the same file as PATH`);
  if (there !== undefined && !there.isFile())
    throw usage(`--svg: ${printable(svg)} is not a regular file`);
  await refuseUnwritable("--svg", svg);
}

/** A file that exists during the benchmark: removed at its end, also at a second Ctrl-C. */
class Scratch implements Disposable {
  readonly #remove: () => void;

  private constructor(path: string) {
    this.#remove = () => {
      try {
        unlinkSync(pathOf(path));
      } catch (error) {
        warn(messageOf(error));
      }
    };
    process.once("exit", this.#remove);
  }

  static async make(job: Job, signal: AbortSignal): Promise<Scratch> {
    const size = Math.max(job.bs, job.size ?? NEW_FILE_BYTES);
    await using file = await File.open(pathOf(job.path), { write: true, createNew: true });
    const scratch = new Scratch(job.path);
    try {
      const name = printable(job.path);
      if (!job.quiet) say(`creating ${name} (${formatSize(size)}); it is removed afterwards`);
      const buffer = randomBuffer(2 ** 20);
      for (let at = 0; at < size && !signal.aborted; at += buffer.byteLength) {
        await file.writeAt(buffer.subarray(0, Math.min(buffer.byteLength, size - at)), at);
      }
      if (!signal.aborted) await file.syncAll();
    } catch (error) {
      scratch[Symbol.dispose]();
      throw error;
    }
    return scratch;
  }

  [Symbol.dispose](): void {
    process.off("exit", this.#remove);
    this.#remove();
  }
}

/** Random bytes, which a disk cannot compress. */
function randomBuffer(bytes: number): Bytes {
  const buffer = allocBuffer(bytes);
  for (let at = 0; at < bytes; at += 65_536) {
    crypto.getRandomValues(buffer.subarray(at, at + 65_536));
  }
  return buffer;
}

// Measuring ------------------------------------------------------------------------------------------------

async function measure(job: Job, place: Place, interrupts: Interrupts) {
  // A separate ring, so that its statistics cover nothing else.
  await using ring = Ring.open({ queueDepth: job.depth });
  interrupts.watch(ring);
  const { file, direct } = await openFile(job, place, ring);
  await using _closed = file;
  const size = await file.size();
  const region = Math.floor(Math.min(size, job.size ?? Infinity) / job.bs) * job.bs;
  if (region === 0) {
    throw usage(`${printable(job.path)} has ${formatSize(size)}, less than --bs ${job.bs}`);
  }
  const unit = file.alignment.length;
  if (job.bs % unit !== 0) {
    throw usage(`--bs ${job.bs} is not a multiple of ${unit}, as ${printable(job.path)} requires`);
  }
  if (!writes(job)) await file.invalidateCache().catch(() => {});
  const counts = await drive(job, file, region, interrupts.signal);
  // Of the sync after the last write.
  const syncMs = counts.writes > 0 ? await timed(() => file.syncAll()) : undefined;
  const { latency } = ring.stats();
  return {
    backend: ring.backend,
    direct,
    region,
    elapsedMs: counts.elapsedMs,
    syncMs,
    read: { ops: counts.reads, bytes: counts.reads * job.bs, latency: latency.read },
    write: { ops: counts.writes, bytes: counts.writes * job.bs, latency: latency.write },
  };
}

async function openFile(
  job: Job,
  place: Place,
  ring: Ring,
): Promise<{ file: File; direct: boolean }> {
  const write = writes(job);
  const direct = !job.buffered;
  try {
    const open = place.kind === "disk" ? BlockDevice.open : File.open;
    return { file: await open(pathOf(job.path), { write, direct, ring }), direct };
  } catch (error) {
    const isRefused = error instanceof IoError && error.code === "EINVAL";
    if (!isRefused || !direct || place.kind === "disk") throw orInUse(error);
    warn("this file system has no direct I/O: measuring through the page cache");
    return { file: await File.open(pathOf(job.path), { write, ring }), direct: false };
  }
}

async function timed(run: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await run();
  return performance.now() - started;
}

type Counts = Record<"reads" | "writes" | "elapsedMs", number>;

/** Runs `depth` loops, each with one operation in flight. */
async function drive(job: Job, file: File, region: number, signal: AbortSignal): Promise<Counts> {
  const counts: Counts = { reads: 0, writes: 0, elapsedMs: 0 };
  const blocks = region / job.bs;
  const random = job.mode.startsWith("rand");
  const writeShare = job.mode === "randrw" ? 0.5 : writes(job) ? 1 : 0;
  const started = performance.now();
  const end = started + job.seconds * 1000;
  let block = 0;
  let failed = false;
  const loop = async (): Promise<void> => {
    const buffer = writeShare > 0 ? randomBuffer(job.bs) : allocBuffer(job.bs);
    while (!failed && !signal.aborted && performance.now() < end) {
      const at = (random ? Math.floor(Math.random() * blocks) : block++ % blocks) * job.bs;
      if (writeShare > 0 && Math.random() < writeShare) {
        await file.writeAt(buffer, at);
        counts.writes++;
      } else {
        await file.readAt(buffer, at);
        counts.reads++;
      }
    }
  };
  using progress = await Progress.begin(job.quiet, signal);
  const timer = setInterval(() => progress.update(stepOf(job, counts, started)), 200);
  try {
    const loops = Array.from({ length: job.depth }, () =>
      loop().catch((error: unknown) => {
        failed = true;
        throw error;
      }),
    );
    await allSettled(loops);
  } finally {
    clearInterval(timer);
  }
  counts.elapsedMs = performance.now() - started;
  return counts;
}

function stepOf(job: Job, counts: Counts, started: number): Step {
  const seconds = (performance.now() - started) / 1000;
  const bytes = (counts.reads + counts.writes) * job.bs;
  return {
    ...{ phase: job.mode, bytes, total: undefined, secondsLeft: undefined },
    bytesPerSecond: bytes / seconds,
    time: { seconds: Math.min(seconds, job.seconds), total: job.seconds },
  };
}

// Reports ----------------------------------------------------------------------------------------------------

const SHARES = [0.5, 0.9, 0.99, 0.999, 1] as const;
const SHARE_NAMES = ["p50", "p90", "p99", "p99.9", "max"] as const;

function sides(result: Result): { name: string; side: Side }[] {
  return [
    { name: "read", side: result.read },
    { name: "write", side: result.write },
  ].filter(({ side }) => side.ops > 0);
}

function percentiles({ latency }: Side): { name: string; us: number }[] {
  return SHARES.map((share, index) => ({
    name: SHARE_NAMES[index] ?? "",
    us: latency.percentile(share),
  }));
}

function headline(job: Job, result: Result): string {
  const path = printable(job.path);
  const way = result.direct ? "direct" : "through the page cache";
  const bs = formatSize(job.bs);
  const seconds = formatSeconds(result.elapsedMs / 1000);
  return `${job.mode} ${path}: ${bs}, depth ${job.depth}, ${seconds}, ${result.backend}, ${way}`;
}

function show(job: Job, result: Result): void {
  print(headline(job, result));
  const seconds = result.elapsedMs / 1000;
  const rows = [["", "IOPS", "bandwidth", "operations", ...SHARE_NAMES]];
  for (const { name, side } of sides(result)) {
    rows.push([
      name,
      grouped(side.ops / seconds),
      formatRate(side.bytes / seconds),
      grouped(side.ops),
      ...percentiles(side).map(({ us }) => formatMicroseconds(us)),
    ]);
  }
  // A narrow terminal has no room for nine columns.
  const shown = isNarrow(process.stdout) ? turned(rows) : rows;
  print(table(shown, [1, 2, 3, 4, 5, 6, 7, 8]));
  if (result.syncMs !== undefined) print(`sync at the end: ${formatSeconds(result.syncMs / 1000)}`);
}

function turned(rows: readonly (readonly string[])[]): string[][] {
  return (rows[0] ?? []).map((_, column) => rows.map((row) => row[column] ?? ""));
}

function toJson(job: Job, result: Result): object {
  const seconds = result.elapsedMs / 1000;
  const side = (one: Side): object | null =>
    one.ops === 0
      ? null
      : {
          operations: one.ops,
          iops: one.ops / seconds,
          bytes: one.bytes,
          bytesPerSecond: one.bytes / seconds,
          latencyUs: Object.fromEntries(percentiles(one).map(({ name, us }) => [name, us])),
          histogram: one.latency.buckets(),
        };
  return {
    path: job.path,
    rw: job.mode,
    bs: job.bs,
    depth: job.depth,
    seconds,
    backend: result.backend,
    direct: result.direct,
    regionBytes: result.region,
    read: side(result.read),
    write: side(result.write),
    syncMs: result.syncMs ?? null,
  };
}

function chart(job: Job, result: Result): string {
  const seconds = result.elapsedMs / 1000;
  const series: Series[] = sides(result).map(({ name, side }) => ({
    name: `${name}: ${grouped(side.ops / seconds)} IOPS, ${formatRate(side.bytes / seconds)}`,
    buckets: side.latency.buckets(),
    marks: percentiles(side),
  }));
  return latencyChart({ title: headline(job, result), series });
}
