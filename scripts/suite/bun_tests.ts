// Runs test files, each in a process of its own and several at a time.

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { failuresIn, type Output, output, root, sum } from "./command.ts";
import { add, addReason, type Case, type Counts, fail, noCounts } from "./counts.ts";
import { readReport } from "./junit.ts";

/** Loop devices that go get one another's numbers, and lists see them all: of the files with any one runs at a time. */
const SHARES_SYSTEM = /imageDevice|LoopDevice|losetup|support\/devices|\bmount\b/;
/** Files that take the longest begin first. */
const LONG = ["cli/resume", "cli/copy", "teardown", "fuzz_api", "transfer", "in_use", "sandbox"];
const AT_ONCE = Math.min(4, availableParallelism());

interface Job {
  file: string;
  sharesSystem: boolean;
}

function jobsOf(files: readonly string[]): Job[] {
  const jobs = files.map((file) => ({
    file,
    sharesSystem: SHARES_SYSTEM.test(readFileSync(resolve(root, file), "utf8")),
  }));
  const rank = ({ file, sharesSystem }: Job): number =>
    (LONG.some((name) => file.includes(name)) ? 0 : 2) + (sharesSystem ? 0 : 1);
  return jobs.sort((a, b) => rank(a) - rank(b));
}

/** Runs `work` on all of them, `AT_ONCE` at a time. */
async function eachJob(jobs: Job[], work: (file: string) => Promise<void>): Promise<void> {
  let isSystemShared = false;
  const worker = async (): Promise<void> => {
    for (;;) {
      const next = jobs.findIndex(({ sharesSystem }) => !sharesSystem || !isSystemShared);
      // What is left waits for a file that another worker runs, who comes back for it.
      if (next === -1) return;
      const [job] = jobs.splice(next, 1);
      if (job === undefined) return;
      if (job.sharesSystem) isSystemShared = true;
      await work(job.file);
      if (job.sharesSystem) isSystemShared = false;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** Runs these files, relative to the project; `extra` goes to `bun test`, which then runs all of them in one process. */
export async function bunTests(
  environment: Record<string, string>,
  files: readonly string[],
  extra: readonly string[] = [],
): Promise<Counts> {
  const command = [process.execPath, "test", "--timeout", "60000"];
  if (extra.length > 0) {
    return counted(await output([...command, ...files, ...extra], environment), undefined);
  }
  const total = noCounts();
  const folder = mkdtempSync(join(tmpdir(), "bun-aio-reports-"));
  try {
    await eachJob(jobsOf(files), async (file) => {
      const report = join(folder, `${file.replace(/\W+/g, "-")}.xml`);
      const reporter = ["--reporter=junit", `--reporter-outfile=${report}`];
      const ended = await output([...command, ...reporter, file], environment, "at the end");
      add(total, counted(ended, existsSync(report) ? readFileSync(report, "utf8") : ""));
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
  return total;
}

/**
 * The counts of one run of `bun test`. One that ends badly has failed, even without a failed test: it crashed.
 * `report`: its JUnit report, empty if it left none, undefined if none was asked for.
 */
export function counted({ text, code }: Output, report: string | undefined): Counts {
  const counts = noCounts();
  counts.passed = sum(text, /^\s*(\d+) pass$/gm);
  counts.skipped = sum(text, /^\s*(\d+) (?:skip|todo)$/gm);
  counts.failed = code === 0 ? 0 : Math.max(1, sum(text, /^\s*(\d+) fail$/gm));
  if (counts.failed > 0) counts.failures = failuresIn(text);
  if (report === undefined) return counts;
  if (report !== "") return reported(readReport(report), counts);
  // Without a failure: the process ended in the middle of its tests, with code 0.
  if (counts.failed === 0) fail(counts, `ended without a report:\n${failuresIn(text).join("\n")}`);
  return counts;
}

/** What the tests of a report did, rather than what the output says, which may quote others. */
function reported(cases: Case[], { failed, failures }: Counts): Counts {
  const counts: Counts = { ...noCounts(), cases, failed, failures };
  for (const { file, name, skipped, failed, assertions } of cases) {
    if (skipped !== undefined) {
      counts.skipped++;
      addReason(counts.reasons, skipped);
    } else if (!failed && assertions > 0) {
      counts.passed++;
    } else if (!failed) {
      fail(counts, `expects nothing, and so tests nothing: ${file}: ${name}`);
    }
  }
  return counts;
}
