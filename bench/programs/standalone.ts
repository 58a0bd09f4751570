// What the programs beside main.ts share: they measure one row by themselves.

import type { Job } from "../job.ts";
import { allRows } from "../rows/all.ts";
import type { Row } from "../rows/row.ts";
import type { Targets } from "../targets/targets.ts";

export const TARGET_BYTES: number = 256 * 1024 * 1024;

export function rowNamed(name: string): Row {
  const row = allRows.find((known) => known.name === name);
  if (row === undefined) throw new RangeError(`there is no row "${name}"`);
  return row;
}

type Measured = Pick<Job, "depth" | "warmUpSeconds" | "seconds" | "seed"> & Partial<Job>;

export function jobOf(row: Row, targets: Targets, measured: Measured): Job {
  return {
    cold: false,
    ...row.job,
    path: targets.path(row.target),
    onto: "",
    span: targets.bytes(row.target),
    buffers: "own",
    ...measured,
  };
}

/** The contestants of one round: another begins in each. */
export function inRound<T>(contestants: readonly T[], round: number): T[] {
  const first = round % contestants.length;
  return [...contestants.slice(first), ...contestants.slice(0, first)];
}
