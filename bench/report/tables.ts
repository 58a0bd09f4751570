// The tables, before it is decided how they are written.

import type { Results } from "../results.ts";
import type { Case, Row } from "../rows/row.ts";
import { type Summary, summarize } from "../statistics.ts";
import { judge, ratio } from "./bars.ts";

export interface Table {
  readonly title: string;
  readonly head: readonly string[];
  readonly lines: readonly (readonly string[])[];
  readonly notes: readonly string[];
}

const MIB = 1024 * 1024;
const NOTHING = "-";

export function barsTable(rows: readonly Row[], results: Results): Table {
  return {
    title: "What was to be reached",
    head: ["", "bar", "measured", ""],
    lines: judge(rows, results).map((one) => [one.what, one.required, one.measured, one.verdict]),
    notes: [],
  };
}

/** Medians only: contestants down, cases across. */
export function matrixTable(row: Row, results: Results): Table {
  const names = [...new Set(row.cases.flatMap((one) => one.contestants.map(({ name }) => name)))];
  return {
    title: `${row.title} (${row.metric.name})`,
    head: ["", ...row.cases.map(({ label }) => label)],
    lines: names.map((name) => [
      name,
      ...row.cases.map((one) => {
        const summary = summarize(results.values(row, one, name));
        return summary === undefined ? NOTHING : row.metric.format(summary.median);
      }),
    ]),
    notes: [],
  };
}

/** Everything about one row. */
export function detailTable(row: Row, results: Results): Table {
  const notes: string[] = [];
  const reason = results.whySkipped(row);
  if (reason !== undefined) notes.push(`SKIPPED: ${reason}`);
  const lines = row.cases.flatMap((one) => detailLines(row, one, results, notes));
  return {
    title: `${row.name}: ${row.title}`,
    head: [
      "",
      "contestant",
      row.metric.name,
      "min - max",
      "bun-aio / contestant",
      "CPU us/read",
      "loop delay p99",
      "RSS MiB",
      "how",
    ],
    lines: reason === undefined ? lines : [],
    notes,
  };
}

function detailLines(row: Row, one: Case, results: Results, notes: string[]): string[][] {
  const reference = results.median(row, one, "bun-aio");
  return one.contestants.map(({ name }) => {
    const { samples, failures } = results.cell(row, one, name);
    for (const failure of new Set(failures)) {
      notes.push(`${one.label}, ${name} FAILED ${failures.length} x: ${failure}`);
    }
    const summary = summarize(results.values(row, one, name));
    if (summary === undefined) {
      return [one.label, name, failures.length > 0 ? "FAILED" : NOTHING, "", "", "", "", "", ""];
    }
    const cpu = summarize(
      samples
        .filter(({ operations }) => operations > 0)
        .map((sample) => (sample.cpuSeconds * 1e6) / sample.operations),
    );
    const delay = summarize(samples.flatMap(({ loopDelayP99Ms }) => loopDelayP99Ms ?? []));
    const rss = summarize(samples.map(({ rssBytes }) => rssBytes / MIB));
    return [
      one.label,
      name,
      row.metric.format(summary.median),
      range(row, summary),
      reference === undefined || name === "bun-aio" || summary.median === 0
        ? ""
        : ratio(reference / summary.median),
      number(cpu, 2),
      delay === undefined ? NOTHING : `${number(delay, 2)} ms`,
      number(rss, 1),
      [...new Set(samples.map(({ detail }) => detail))].join("; "),
    ];
  });
}

function range(row: Row, summary: Summary): string {
  return `${row.metric.format(summary.least)} - ${row.metric.format(summary.most)}`;
}

function number(summary: Summary | undefined, digits: number): string {
  return summary === undefined ? NOTHING : summary.median.toFixed(digits);
}
