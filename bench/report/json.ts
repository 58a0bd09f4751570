// Everything that was measured, for other programs: each sample, the medians, the bars.

import type { Results } from "../results.ts";
import type { Row } from "../rows/row.ts";
import { summarize } from "../statistics.ts";
import { judge } from "./bars.ts";
import type { Machine } from "./machine.ts";

export interface RunFacts {
  readonly machine: Machine;
  readonly rounds: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly targetBytes: number;
  /** Share of the CPU time during the run that the hypervisor gave to others, 0 to 1. */
  readonly stolenShare: number;
}

/** A quiet machine has a load near zero; its own last command may still count. */
const QUIET_LOAD = 0.5;
const QUIET_STEAL = 0.02;

/** What a reader of the figures has to know. */
export function warnings(results: Results, facts: RunFacts): string[] {
  const lines = results.omissions();
  const load = facts.machine.loadBefore;
  if (load > QUIET_LOAD) {
    lines.push(`the machine was busy when the run began (load ${load.toFixed(2)}): expect noise`);
  }
  if (facts.stolenShare > QUIET_STEAL) {
    const percent = (100 * facts.stolenShare).toFixed(0);
    lines.push(`the hypervisor gave ${percent} % of the CPU time to others: expect noise`);
  }
  return lines;
}

export function json(rows: readonly Row[], results: Results, facts: RunFacts): string {
  const document = {
    ...facts,
    warnings: warnings(results, facts),
    bars: judge(rows, results),
    rows: rows.map((row) => ({
      name: row.name,
      title: row.title,
      metric: row.metric.name,
      higherIsBetter: row.metric.higherIsBetter,
      blockSize: row.job.blockSize,
      direct: row.job.direct,
      pattern: row.job.pattern,
      cases: row.cases.map((one) => ({
        label: one.label,
        depth: one.depth,
        contestants: one.contestants.map(({ name }) => ({
          name,
          summary: summarize(results.values(row, one, name)),
          ...results.cell(row, one, name),
        })),
      })),
    })),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}
