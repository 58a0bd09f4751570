// Which tests were skipped and why, and whether that was expected: otherwise a test that never runs is lost
// silently.

import { type Counts, fail } from "./counts.ts";

/** Reasons that may be given, each with the steps that may give it. */
export type Expected = { steps: RegExp; reason: string }[];

/** Reads a list: one `steps: reason` a line, the steps by name with `*` and separated by blanks; `#` comments. */
export function readExpected(text: string): Expected {
  const lines = text.split("\n").map((line) => line.trim());
  return lines
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [, steps, reason] = /^([\w* -]+): (.+)$/.exec(line) ?? [];
      if (steps === undefined || reason === undefined)
        throw new Error(`not "steps: reason": ${line}`);
      const names = steps.split(/ +/).map((name) => name.replaceAll("*", ".*"));
      return { steps: new RegExp(`^(${names.join("|")})$`), reason };
    });
}

function isExpected(expected: Expected, step: string, reason: string): boolean {
  return expected.some((entry) => entry.reason === reason && entry.steps.test(step));
}

/** The step that stands for tests that ran in none. */
export const NOWHERE = "nowhere";

/** Tests that were skipped in every step, with the reasons. */
export function ranNowhere(steps: ReadonlyMap<string, Counts>): Map<string, Set<string>> {
  const reasons = new Map<string, Set<string>>();
  const ran = new Set<string>();
  for (const { cases } of steps.values()) {
    for (const { file, name, skipped } of cases) {
      const key = `${file}: ${name}`;
      if (skipped === undefined) ran.add(key);
      else reasons.set(key, (reasons.get(key) ?? new Set()).add(skipped));
    }
  }
  for (const key of ran) reasons.delete(key);
  return reasons;
}

/** The table of reasons, most frequent first; empty if nothing was skipped. */
export function skipTable(steps: ReadonlyMap<string, Counts>): string {
  const rows = new Map<string, { count: number; steps: string[] }>();
  for (const [step, { reasons }] of steps) {
    for (const [reason, count] of reasons) {
      const row = rows.get(reason) ?? { count: 0, steps: [] };
      row.count += count;
      row.steps.push(step);
      rows.set(reason, row);
    }
  }
  const sorted = [...rows].sort(([, a], [, b]) => b.count - a.count);
  return sorted
    .map(
      ([reason, { count, steps }]) =>
        `${String(count).padStart(5)}  ${reason} (${steps.join(", ")})\n`,
    )
    .join("");
}

/**
 * What is not in the list is a failure of the run, one for each reason and step. `everything`: all steps have run, so
 * that a test that ran in none is lost.
 */
export function judgeSkips(
  total: Counts,
  steps: ReadonlyMap<string, Counts>,
  expected: Expected,
  everything: boolean,
): void {
  for (const [step, { reasons }] of steps) {
    for (const [reason, count] of reasons) {
      if (isExpected(expected, step, reason)) continue;
      fail(
        total,
        `== ${step}\nskips ${count} tests for a reason that is not expected here: ${reason}`,
      );
    }
  }
  if (!everything) return;
  for (const [name, reasons] of ranNowhere(steps)) {
    if ([...reasons].some((reason) => isExpected(expected, NOWHERE, reason))) continue;
    fail(total, `ran in no step (${[...reasons].join("; ")}): ${name}`);
  }
}
