// The counts of a step of `npm test`.

/** One test of a report, as it ended. */
export interface Case {
  /** Relative to the project. */
  file: string;
  /** Groups and name, joined by " > ", without the reason of a skip. */
  name: string;
  /** Why it was skipped; undefined if it ran. */
  skipped: string | undefined;
  failed: boolean;
  /** Calls of `expect`. */
  assertions: number;
}

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
  /** What the failed tests printed, for the end of the run. */
  failures: string[];
  /** How often each reason was given for a skipped test. */
  reasons: Map<string, number>;
  /** Tests by name, where the step knows them. */
  cases: Case[];
}

export const NO_REASON = "no reason given";

export function noCounts(): Counts {
  return { passed: 0, failed: 0, skipped: 0, failures: [], reasons: new Map(), cases: [] };
}

/** Adds `part` to `total`. */
export function add(total: Counts, part: Counts): void {
  total.passed += part.passed;
  total.failed += part.failed;
  total.skipped += part.skipped;
  total.failures.push(...part.failures);
  total.cases.push(...part.cases);
  for (const [reason, count] of part.reasons) addReason(total.reasons, reason, count);
}

export function addReason(reasons: Map<string, number>, reason: string, count = 1): void {
  reasons.set(reason, (reasons.get(reason) ?? 0) + count);
}

/** One more failure, of the run itself. */
export function fail(counts: Counts, text: string): void {
  counts.failed++;
  counts.failures.push(text);
}
