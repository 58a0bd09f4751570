// The six figures that README shows, and what each means for its reader.

import type { Results } from "../results.ts";
import type { Row } from "../rows/row.ts";
import { ratio } from "./bars.ts";
import type { Table } from "./tables.ts";

interface Headline {
  /** Names of the row and the case. */
  readonly row: string;
  readonly case: string;
  readonly what: string;
  readonly against?: string | undefined;
  /** For the reader. */
  readonly means: string;
}

const HEADLINES: readonly Headline[] = [
  {
    ...{ row: "loop", case: "depth 32", against: "fs.promises" },
    what: "4 KiB reads of a disk, 32 at a time, past the page cache",
    means: "scrubbers, partition editors and databases get more out of the same disk",
  },
  {
    ...{ row: "loop", case: "depth 128", against: "fio, batch = depth" },
    what: "the same, 128 at a time",
    means: "as much as the benchmark that is written in C",
  },
  {
    ...{ row: "sequential", case: "depth 8", against: "fs.promises" },
    what: "1 MiB reads of a disk, 8 at a time",
    means: "verifiers read at the speed of the disk",
  },
  {
    ...{ row: "copy-file", case: "once over", against: "dd" },
    what: "`copy` of an image to a disk, synced",
    means: "reading and writing overlap, which dd's do not",
  },
  {
    ...{ row: "delay", case: "depth 128" },
    what: "delay of the event loop (p99) beside 128 reads of 1 MiB in flight",
    means: "timers, servers and progress bars go on",
  },
  {
    ...{ row: "cached", case: "depth 1", against: "fs.readSync" },
    what: "4 KiB reads of a cached file, one at a time",
    means: "what a promise costs: where blocking is fine, `fs.readSync` is faster",
  },
];

export function headlinesTable(rows: readonly Row[], results: Results): Table {
  const lines = HEADLINES.flatMap((headline) => {
    const row = rows.find(({ name }) => name === headline.row);
    const one = row?.cases.find(({ label }) => label === headline.case);
    if (row === undefined || one === undefined) return [];
    const { against } = headline;
    const own = results.median(row, one, "bun-aio");
    const other = against === undefined ? undefined : results.median(row, one, against);
    if (own === undefined) return [];
    const figure = `${row.metric.format(own)}${row.metric.higherIsBetter ? ` ${row.metric.name}` : ""}`;
    const beside = other === undefined ? "" : `${ratio(own / other)} ${against}`;
    return [[headline.what, figure, beside, headline.means]];
  });
  return { title: "In short", head: ["", "bun-aio", "beside", "which means"], lines, notes: [] };
}
