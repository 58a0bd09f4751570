// What was to be reached, and whether it was.

import type { Results } from "../results.ts";
import type { Bar, Row } from "../rows/row.ts";

export interface Verdict {
  readonly row: string;
  readonly what: string;
  readonly required: string;
  readonly measured: string;
  readonly verdict: "met" | "missed" | "not measured";
}

export function judge(rows: readonly Row[], results: Results): Verdict[] {
  return rows.flatMap((row) => row.bars.flatMap((bar) => judgeBar(row, bar, results)));
}

function judgeBar(row: Row, bar: Bar, results: Results): Verdict[] {
  const one = row.cases.find((candidate) => candidate.label === bar.case);
  // Left out on the command line: nothing to say.
  if (one === undefined) return [];
  const median = (name: string): number | undefined => results.median(row, one, name);

  const own = median(bar.of);
  const other = bar.against === undefined ? 1 : best(row, namesOf(bar).map(median));
  const measured = own === undefined || other === undefined ? undefined : own / other;
  return [
    {
      row: row.name,
      what: `${row.title}, ${bar.case}${ofText(bar)}${againstText(bar)}`,
      required: required(row, bar),
      measured: measured === undefined ? "-" : figure(row, bar, measured),
      verdict: verdict(bar, measured),
    },
  ];
}

function namesOf({ against = [] }: Bar): readonly string[] {
  return typeof against === "string" ? [against] : against;
}

/** Of those that were measured. */
function best(row: Row, medians: readonly (number | undefined)[]): number | undefined {
  const known = medians.filter((median) => median !== undefined);
  if (known.length === 0) return undefined;
  return row.metric.higherIsBetter ? Math.max(...known) : Math.min(...known);
}

function ofText({ of }: Bar): string {
  return of === "bun-aio" ? "" : `, ${of}`;
}

function againstText(bar: Bar): string {
  const names = namesOf(bar);
  if (names.length === 0) return "";
  return names.length === 1 ? `, vs ${names[0]}` : `, vs the best of ${names.join("; ")}`;
}

function verdict(bar: Bar, measured: number | undefined): Verdict["verdict"] {
  if (measured === undefined || Number.isNaN(measured)) return "not measured";
  const highEnough = bar.atLeast === undefined || measured >= bar.atLeast;
  const lowEnough = bar.below === undefined || measured < bar.below;
  return highEnough && lowEnough ? "met" : "missed";
}

function required(row: Row, bar: Bar): string {
  if (bar.atLeast !== undefined) return `at least ${figure(row, bar, bar.atLeast)}`;
  return `below ${figure(row, bar, bar.below ?? Number.NaN)}`;
}

function figure(row: Row, bar: Bar, value: number): string {
  return bar.against === undefined ? row.metric.format(value) : ratio(value);
}

export function ratio(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : 1)} x`;
}
