// The options of `bun-aio copy`, checked.

import { Arguments, startsOf } from "./arguments.ts";
import { usage } from "./exit.ts";
import { quoted } from "./terminal.ts";

/** Options that choose what is copied: a resumed copy has others. */
const WHERE = ["bmap", "from", "map", "skip", "seek", "length", "verify-from"] as const;
const HOW = ["bs", "depth", "retries"] as const;
const NO_BMAP = "no-bmap";
const SWITCHES = [
  "direct",
  "hash",
  "json",
  "quiet",
  "raw",
  "rescue",
  "sparse",
  "unmount",
  "verify",
  "yes",
] as const;

export interface Job extends Readonly<Record<(typeof SWITCHES)[number], boolean>> {
  /** "-": standard input. */
  readonly source: string;
  readonly targets: readonly string[];
  readonly skip: number;
  readonly seek: number;
  readonly length: number | undefined;
  /** Offset in the source where an earlier copy began; at most `skip`. What it wrote is verified and hashed, too. */
  readonly start: number;
  readonly bmap: string | undefined;
  readonly noBmap: boolean;
  readonly map: string | undefined;
  readonly retries: number | undefined;
  readonly bs: number | undefined;
  readonly depth: number | undefined;
  /** All options but those of the range, quoted for the shell. */
  readonly options: readonly string[];
}

export function readJob(argv: readonly string[]): Job {
  const flags = [...SWITCHES, NO_BMAP];
  const args = new Arguments("copy", { values: [...WHERE, ...HOW], flags }, argv);
  const [source = "", ...targets] = operands(args);
  const starts = startsOf(args);
  const job: Job = {
    ...{ source, targets },
    ...starts,
    length: args.size("length"),
    start: args.size("verify-from") ?? starts.skip,
    bmap: args.text("bmap"),
    noBmap: args.flag(NO_BMAP),
    map: args.text("map"),
    retries: args.integer("retries", 0, 1000),
    bs: args.size("bs", 1),
    depth: args.integer("depth", 1, 1024),
    ...args.flags(SWITCHES),
    options: optionWords(args),
  };
  if (args.text("verify-from") !== undefined) refuseStart(job);
  if (job.bmap !== undefined) refuseBmap(job);
  if ((job.map ?? job.retries) !== undefined) refuseMap(job);
  return job;
}

/** Whether the part of an earlier copy must be verified or hashed, too. */
export function hasEarlierPart(job: Job): boolean {
  return job.start < job.skip;
}

function refuseStart(job: Job): void {
  const { start, skip, seek } = job;
  if (!job.verify && !job.hash) {
    throw usage("--verify-from needs --verify or --hash", "Add one of them");
  }
  if (job.targets.length > 1)
    throw usage("--verify-from works with only one DST", "Resume each DST by itself");
  if (start > skip) throw usage("--verify-from must not be after the start of the copy");
  if (skip - start > seek) throw usage("--verify-from is before the start of DST");
  if (job.source === "-" || job.rescue) {
    throw usage(
      `--verify-from reads SRC again, which ${job.rescue ? "--rescue" : "standard input"} does not allow`,
      "Copy it again from its beginning",
    );
  }
}

function refuseBmap({ noBmap, raw, rescue }: Job): void {
  if (noBmap) throw usage("--bmap and --no-bmap contradict each other");
  if (rescue) throw usage("--rescue copies everything that can be read: leave out --bmap");
  if (raw) throw usage("--bmap describes the unpacked image: leave out --raw");
}

function refuseMap({ rescue, hash, source, targets }: Job): void {
  if (!rescue) throw usage("--map and --retries need --rescue", "Add --rescue");
  const why = "--map and --retries do not read SRC in order";
  if (hash) throw usage(`${why}: leave out --hash`, "Run sha256sum DST afterwards instead");
  if (source === "-") throw usage(`${why}: standard input cannot be SRC`);
  if (targets.length > 1) throw usage("--map and --retries work with only one DST");
}

function optionWords(args: Arguments): string[] {
  const valued: readonly string[] = HOW;
  return [...HOW, ...SWITCHES, NO_BMAP].sort().flatMap((name) => {
    if (!valued.includes(name)) return args.flag(name) ? [`--${name}`] : [];
    const text = name === "bs" ? args.size(name) : args.text(name);
    return text === undefined ? [] : [`--${name}`, quoted(String(text))];
  });
}

function operands(args: Arguments): string[] {
  const foreign = args.positionals.find((word) => /^(if|of|bs|count|skip|seek|conv)=/.test(word));
  if (foreign !== undefined) {
    throw usage(
      `"${foreign}" is dd syntax`,
      "Use: bun-aio copy SRC DST --bs SIZE --skip SIZE --seek SIZE --length SIZE",
    );
  }
  return args.operands(["SRC", "DST", ...args.positionals.slice(2).map(() => "DST")]);
}
