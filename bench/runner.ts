// Runs the programme: the rounds outermost and the contestants innermost, so that whatever else
// the machine does for a while falls on all of them alike.

import type { Contestant } from "./contestants/contestant.ts";
import type { Job } from "./job.ts";
import type { Options } from "./options.ts";
import type { Results } from "./results.ts";
import type { Case, Row } from "./rows/row.ts";
import type { Targets } from "./targets/targets.ts";

export interface Progress {
  say(line: string): void;
  readonly interrupted: boolean;
}

interface Step {
  readonly row: Row;
  readonly case: Case;
  readonly contestant: Contestant;
}

export async function runProgramme(
  options: Options,
  targets: Targets,
  results: Results,
  progress: Progress,
): Promise<void> {
  const rows = await prepareRows(options, targets, results, progress);
  await prepareContestants(rows, results, progress);

  const total = options.rounds * steps(rows, results, 0).length;
  let count = 0;
  for (let round = 0; round < options.rounds; round += 1) {
    for (const step of steps(rows, results, round)) {
      if (progress.interrupted) return;
      count += 1;
      const { row, contestant } = step;
      const head = `[${count}/${total}] round ${round + 1}  ${row.name}, ${step.case.label}`;
      const said = await measure(step, jobFor(step, round, options, targets), results, progress);
      progress.say(`${head}  ${contestant.name}: ${said}`);
    }
  }
}

async function prepareRows(
  options: Options,
  targets: Targets,
  results: Results,
  progress: Progress,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const row of options.rows) {
    if (progress.interrupted) return [];
    const reason =
      (await targets.prepare(row.target)) ??
      (row.onto === undefined ? undefined : await targets.prepare(row.onto));
    if (reason === undefined) rows.push(row);
    else {
      results.skipRow(row, reason);
      progress.say(`!!! row ${row.name} is SKIPPED: ${reason}`);
    }
  }
  return rows;
}

async function prepareContestants(
  rows: readonly Row[],
  results: Results,
  progress: Progress,
): Promise<void> {
  const contestants = new Set(rows.flatMap((row) => row.cases.flatMap((one) => one.contestants)));
  for (const contestant of contestants) {
    if (progress.interrupted) return;
    const reason = await contestant.prepare();
    if (reason === undefined || progress.interrupted) continue;
    results.skipContestant(contestant, reason);
    progress.say(`!!! ${contestant.name} is SKIPPED: ${reason}`);
  }
}

function steps(rows: readonly Row[], results: Results, round: number): Step[] {
  return rows.flatMap((row) =>
    row.cases.flatMap((one) => {
      const present = one.contestants.filter((other) => results.whyAbsent(other) === undefined);
      // Another one begins in each round: none always follows the same neighbour from cold.
      const first = present.length === 0 ? 0 : round % present.length;
      return [...present.slice(first), ...present.slice(0, first)].map((contestant) => ({
        row,
        case: one,
        contestant,
      }));
    }),
  );
}

function jobFor(step: Step, round: number, options: Options, targets: Targets): Job {
  const { row } = step;
  return {
    cold: false,
    ...row.job,
    path: targets.path(row.target),
    onto: row.onto === undefined ? "" : targets.path(row.onto),
    depth: step.case.depth,
    span: targets.bytes(row.target),
    warmUpSeconds: options.warmUpSeconds,
    seconds: Math.max(options.seconds, row.secondsAtLeast ?? 0),
    seed: 0x9e37 + round,
    buffers: "own",
  };
}

async function measure(
  step: Step,
  job: Job,
  results: Results,
  progress: Progress,
): Promise<string> {
  const cell = results.cell(step.row, step.case, step.contestant.name);
  try {
    const sample = await step.contestant.measure(job);
    cell.samples.push(sample);
    return step.row.metric.format(step.row.metric.of(sample));
  } catch (error) {
    // A child that was killed by the interrupt has not failed.
    if (progress.interrupted) return "interrupted";
    const message = error instanceof Error ? error.message : String(error);
    cell.failures.push(message);
    return `FAILED: ${message}`;
  }
}
