// The command line.

import { parseArgs } from "node:util";

import type { Contestant } from "./contestants/contestant.ts";
import { allRows } from "./rows/all.ts";
import type { Row } from "./rows/row.ts";

export interface Options {
  readonly help: boolean;
  readonly rounds: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  /** Bytes of each target. */
  readonly size: number;
  /** What is to be measured: chosen rows with chosen cases and contestants. */
  readonly rows: readonly Row[];
  readonly json: string | undefined;
  readonly svg: string | undefined;
  readonly markdown: string | undefined;
  /** Put the figures into README.md and docs/. */
  readonly publish: boolean;
}

const MIB = 1024 * 1024;

export const help: string = `usage: bun bench/main.ts [options]

Measures bun-aio beside node:fs/promises, fs.readSync, a bare Zig loop over io_uring, and fio.
Every contestant runs in a process of its own, the rounds are interleaved, and the tables show
medians. Takes about 20 minutes as it is; root is needed for the loop and zram rows.

  --rounds N        rounds of the whole programme; the medians are over these (default 5; odd is best)
  --seconds S       length of each measured interval (default 1)
  --warmup S        warm-up of each process before it (default 0.4)
  --rows A,B        only these rows: ${allRows.map((row) => row.name).join(", ")}
  --depths A,B      only these numbers of reads in flight
  --only A,B        only contestants whose name contains one of these: bun-aio, fs.promises,
                    fs.readSync, "bare loop", fio
  --size MIB        size of the file and the devices that are read (default 256)
  --json FILE       write every sample, the medians and the machine as JSON
  --svg FILE        write the throughput rows as a chart
  --markdown FILE   write the tables as Markdown
  --publish         put the figures into README.md, docs/benchmark.md and docs/benchmark.svg
  --help            this text

examples:
  bun bench/main.ts --rows cached --depths 1,32 --rounds 3 --seconds 0.5
  bun bench/main.ts --rows loop --only bun-aio,fio
  BUN_AIO_BACKEND=threads bun bench/main.ts --rows cached --only bun-aio,fs.promises

An interrupt (Ctrl-C) ends the run early, detaches the devices and reports what there is.
The exit status is 1 when a bun-aio measurement failed; a missed bar is reported, not an error.
`;

export function parseOptions(words: string[]): Options {
  const { values } = parseArgs({
    args: words,
    strict: true,
    allowPositionals: false,
    options: {
      help: { type: "boolean", short: "h", default: false },
      rounds: { type: "string", default: "5" },
      seconds: { type: "string", default: "1" },
      warmup: { type: "string", default: "0.4" },
      size: { type: "string", default: "256" },
      rows: { type: "string" },
      depths: { type: "string" },
      only: { type: "string" },
      json: { type: "string" },
      svg: { type: "string" },
      markdown: { type: "string" },
      publish: { type: "boolean", default: false },
    },
  });
  return {
    help: values.help,
    rounds: integer("--rounds", values.rounds, 1, 1000),
    seconds: number("--seconds", values.seconds, 0.05, 3600),
    warmUpSeconds: number("--warmup", values.warmup, 0, 3600),
    size: integer("--size", values.size, 2, 1 << 20) * MIB,
    rows: chooseRows(list(values.rows), list(values.depths), list(values.only)),
    json: values.json,
    svg: values.svg,
    markdown: values.markdown,
    publish: values.publish,
  };
}

function chooseRows(
  names: readonly string[] | undefined,
  depths: readonly string[] | undefined,
  only: readonly string[] | undefined,
): Row[] {
  for (const name of names ?? []) {
    if (!allRows.some((row) => row.name === name)) {
      throw new RangeError(
        `--rows: there is no row "${name}"; there are ${allRows.map((row) => row.name).join(", ")}`,
      );
    }
  }
  const wanted = (contestant: Contestant): boolean =>
    only === undefined || only.some((part) => contestant.name.includes(part));
  const chosenDepths = depths?.map((depth) => integer("--depths", depth, 1, 4096));

  const rows = allRows
    .filter((row) => names === undefined || names.includes(row.name))
    .map((row) => ({
      ...row,
      cases: row.cases
        .filter(({ depth }) => chosenDepths === undefined || chosenDepths.includes(depth))
        .map((one) => ({ ...one, contestants: one.contestants.filter(wanted) }))
        .filter(({ contestants }) => contestants.length > 0),
    }))
    .filter((row) => row.cases.length > 0);
  if (rows.length === 0) throw new RangeError("nothing is left to measure: see --help");
  return rows;
}

function list(text: string | undefined): string[] | undefined {
  return text?.split(",").map((part) => part.trim());
}

function integer(name: string, text: string, least: number, most: number): number {
  const value = number(name, text, least, most);
  if (!Number.isInteger(value)) throw new RangeError(`${name} takes a whole number, not ${text}`);
  return value;
}

function number(name: string, text: string, least: number, most: number): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (!(value >= least && value <= most)) {
    throw new RangeError(`${name} takes a number from ${least} to ${most}, not "${text}"`);
  }
  return value;
}
