// A row of the benchmark: what is measured, on which target, by whom, and what it must reach.

import type { Contestant } from "../contestants/contestant.ts";
import type { Job, Sample } from "../job.ts";
import type { TargetName } from "../targets/targets.ts";

/** The figure that a row is about. */
export interface Metric {
  /** As a table's head: "reads/s". */
  readonly name: string;
  readonly higherIsBetter: boolean;
  of(sample: Sample): number;
  format(value: number): string;
}

/** One setting of a row. */
export interface Case {
  /** "depth 32": unique in the row. */
  readonly label: string;
  readonly depth: number;
  readonly contestants: readonly Contestant[];
}

/** What `of` must reach: against another contestant, or as a bare number. */
export interface Bar {
  readonly case: string;
  readonly of: string;
  /** The other contestant, or the best of several; the bar is then on the ratio of the medians. */
  readonly against?: string | readonly string[] | undefined;
  readonly atLeast?: number | undefined;
  readonly below?: number | undefined;
}

export interface Row {
  readonly name: string;
  readonly title: string;
  readonly target: TargetName;
  /** What is written to, if anything is. */
  readonly onto?: TargetName | undefined;
  readonly metric: Metric;
  readonly job: Pick<Job, "direct" | "pattern" | "blockSize" | "probe" | "probeMilliseconds"> &
    Partial<Pick<Job, "cold">>;
  readonly cases: readonly Case[];
  readonly bars: readonly Bar[];
  /** Has a panel in the SVG chart. */
  readonly charted: boolean;
  /** Shortest interval that gives this row a usable figure. */
  readonly secondsAtLeast?: number | undefined;
}
