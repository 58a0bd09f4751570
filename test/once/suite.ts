// The suite tests itself: no test is lost silently, and `npm test` counts correctly. Runs once: `npm test --
// suite`.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { bunTests } from "../../scripts/suite/bun_tests.ts";
import { root } from "../../scripts/suite/command.ts";
import { type Counts, NO_REASON, noCounts } from "../../scripts/suite/counts.ts";
import { readReport } from "../../scripts/suite/junit.ts";
import { judgeSkips, ranNowhere, readExpected, skipTable } from "../../scripts/suite/skips.ts";
import { TempDir } from "../support/temp.ts";

function sources(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .map((name) => `${folder}/${name}`);
}

/** Lines of the suite that match, but for `allowed` files. */
function linesLike(pattern: RegExp, ...allowed: string[]): string[] {
  const files = sources("test", ".ts").filter((file) => !allowed.includes(file));
  return files.flatMap((file) => {
    const text = readFileSync(join(root, file), "utf8");
    return [...text.matchAll(pattern)].map(([match]) => `${file}: ${match.trim()}`);
  });
}

describe("sources", () => {
  test("tests are skipped by testUnless and describeUnless alone, which say why", () => {
    const raw = /\b(?:test|it|describe)\s*\.\s*(?:skip|skipIf|todo|todoIf|if|only|failing)\b.*/g;
    expect(linesLike(raw, "test/support/conditions.ts", "test/once/suite.ts")).toEqual([]);
  });

  test("no test returns before it has begun", () => {
    const early = /^.*\b(?:test|testUnless|blockingTest)\([^;]*=> \{\n\s*if \([^\n]*\) return;/gm;
    expect(linesLike(early)).toEqual([]);
  });

  test("every reason that CI expects is still given by some test", () => {
    const text = [...sources("test", ".ts"), ...sources("zig", ".zig")]
      .map((file) => readFileSync(join(root, file), "utf8"))
      .join("\n");
    const lines = readFileSync(join(root, ".ci", "expected_skips.txt"), "utf8");
    for (const { reason } of readExpected(lines)) expect(text).toContain(JSON.stringify(reason));
  });
});

const REPORT = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="bun test" tests="5" assertions="1" failures="1" skipped="4" time="0.014">
  <testsuite name="a.test.ts" file="a.test.ts" tests="5" assertions="1" failures="1" skipped="3" time="0.001">
    <testsuite name="outer &lt;a&gt; &amp; &quot;b&quot; [skipped: needs root]" file="a.test.ts" line="2" tests="1" time="0">
      <testcase name="one" classname="outer" time="0" file="a.test.ts" line="2" assertions="0">
        <skipped />
      </testcase>
    </testsuite>
    <testsuite name="empty" tests="0" />
    <testcase name="two&#10;lines &#x41;" classname="" time="0" file="a.test.ts" line="3" assertions="0">
      <skipped />
    </testcase>
    <testcase name="f" classname="" time="0.0001" file="a.test.ts" line="4" assertions="2">
      <failure type="AssertionError" message="1 &gt; 2">&lt;skipped /&gt;</failure>
    </testcase>
    <testcase name="passes" classname="" time="0.0001" file="a.test.ts" line="5" assertions="3" />
  </testsuite>
</testsuites>
`;

test("a report is read: names, groups, reasons, expectations", () => {
  const file = "a.test.ts";
  const ran = { file, skipped: undefined, failed: false };
  expect(readReport(REPORT)).toEqual([
    { ...ran, name: 'outer <a> & "b" > one', skipped: "needs root", assertions: 0 },
    { ...ran, name: "two\nlines A", skipped: NO_REASON, assertions: 0 },
    { ...ran, name: "f", failed: true, assertions: 2 },
    { ...ran, name: "passes", assertions: 3 },
  ]);
});

const SUITE = `
import { expect, test } from "bun:test";
import { describeUnless, testUnless } from ${JSON.stringify(join(root, "test/support/conditions.ts"))};
test("passes", () => expect(1).toBe(1));
test("expects nothing", () => {});
testUnless("no [real] reason", "skipped", () => {});
describeUnless("another reason", "group", () => {
  test("skipped", () => {});
  testUnless("an inner reason", "skipped too", () => {});
});
test.skip("silent", () => {});
`;

test("files are run: what passes, what expects nothing, reasons, and an end in the middle", async () => {
  using dir = new TempDir();
  const counts = await bunTests({}, [dir.file("a.test.ts", SUITE)]);
  const { passed, failed, skipped, reasons, failures } = counts;
  expect({ passed, failed, skipped }).toEqual({ passed: 1, failed: 1, skipped: 4 });
  expect(failures.join()).toContain("expects nothing, and so tests nothing");
  expect(Object.fromEntries(reasons)).toEqual({
    "another reason": 2,
    "no (real) reason": 1,
    [NO_REASON]: 1,
  });

  const ends = `import { test } from "bun:test"; test("ends", () => process.exit(0));`;
  const ended = await bunTests({}, [dir.file("b.test.ts", ends)]);
  expect(ended.failed).toBe(1);
  expect(ended.failures.join()).toContain("ended without a report");
});

/** A step in which these tests ran (no reason) or were skipped. */
function step(tests: Record<string, string | undefined>): Counts {
  const counts = noCounts();
  for (const [name, skipped] of Object.entries(tests)) {
    counts.cases.push({ file: "a.test.ts", name, skipped, failed: false, assertions: 1 });
    if (skipped === undefined) continue;
    counts.skipped++;
    counts.reasons.set(skipped, (counts.reasons.get(skipped) ?? 0) + 1);
  }
  return counts;
}

describe("skipped tests", () => {
  const ring = step({ both: undefined, threads: "threads only", lost: "no loop", x: "no loop" });
  const threads = step({ both: "io_uring only", threads: undefined, lost: "no loop" });
  const steps = new Map([
    ["io_uring", ring],
    ["threads-faults", threads],
  ]);

  function unexpected(list: string, everything: boolean): string[] {
    const total = noCounts();
    judgeSkips(total, steps, readExpected(list), everything);
    expect(total.failed).toBe(total.failures.length);
    return total.failures;
  }

  test("are told of by reason, the most frequent first", () => {
    expect(skipTable(steps)).toBe(
      "    3  no loop (io_uring, threads-faults)\n" +
        "    1  threads only (io_uring)\n" +
        "    1  io_uring only (threads-faults)\n",
    );
    expect(skipTable(new Map([["io_uring", step({ a: undefined })]]))).toBe("");
  });

  test("that ran in no step are found", () => {
    expect([...ranNowhere(steps).keys()]).toEqual(["a.test.ts: lost", "a.test.ts: x"]);
  });

  test("fail a run for what is not in its list, or ran nowhere", () => {
    const structural = "# how steps differ\nio_uring: threads only\nthreads*: io_uring only\n";
    expect(unexpected(structural, false)).toHaveLength(2);
    const loops = `${structural}io_uring threads-faults: no loop\n`;
    expect(unexpected(loops, false)).toEqual([]);
    expect(unexpected(loops, true)).toEqual([
      "ran in no step (no loop): a.test.ts: lost",
      "ran in no step (no loop): a.test.ts: x",
    ]);
    expect(unexpected(`${loops}nowhere: no loop`, true)).toEqual([]);
    // A step's name is the whole name.
    expect(unexpected(loops.replace("threads*:", "threads:"), false)).toHaveLength(1);
    expect(() => readExpected("no reason at all")).toThrow('not "steps: reason"');
  });
});
