// `npm test`: the Zig unit tests, then the whole TypeScript suite once for each backend of this system,
// then once over a library that injects faults. Ends with the reasons of skipped tests and one line of totals.
//
// Arguments: names of steps to run only these (`npm test -- io_uring`); `--` passes the rest to bun test.
// BUN_AIO_EXPECTED_SKIPS names a list of the reasons that are expected here (.ci/expected_skips.txt): then any other
// one fails the run, and so does a test that ran in no step.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { lab, SHORT } from "../test/lab/lab.ts";
import { ensureLibrary, zigPath } from "./build.ts";
import { packRuntime } from "./pack.ts";
import { bunTests } from "./suite/bun_tests.ts";
import { failuresIn, type Output, output, root, sum } from "./suite/command.ts";
import { add, addReason, type Counts, fail, NO_REASON, noCounts } from "./suite/counts.ts";
import { suiteFiles } from "./suite/files.ts";
import { judgeSkips, ranNowhere, readExpected, skipTable } from "./suite/skips.ts";

interface Step {
  name: string;
  run(): Promise<Counts>;
  /** Compiles most of the time, or minds no company: runs beside the other one of these lines. */
  line?: "zig" | "driver";
  /** Not a step of a whole run, of which it does a part. */
  onlyByName?: true;
}

const cut = process.argv.indexOf("--");
const wanted = process.argv.slice(2, cut === -1 ? undefined : cut);
const extra = cut === -1 ? [] : process.argv.slice(cut + 1);

/** Backends that this system can run. */
const backends = process.platform === "linux" ? ["io_uring", "threads", "posix_aio"] : ["threads"];

/** Nothing of the caller's environment: faults are injected where a step says so. */
const PLAIN = { BUN_AIO_FAULTS: "", BUN_AIO_LIBRARY: "" };

const steps: Step[] = [
  { name: "zig", line: "zig", run: () => zigTests("test") },
  { name: "unit", line: "zig", onlyByName: true, run: () => zigTests("unit-test") },
  // The engine over each lane over the fake kernel; then proof that the fuzzer can fail.
  {
    name: "fuzz",
    line: "zig",
    run: () => zigStep(["fuzz", "--", "--seeds", "2000"], /^(\d+) seeds hold$/gm),
  },
  { name: "plants", line: "zig", run: () => zigStep(["plants"], /^ok /gm) },
  { name: "targets", line: "zig", run: () => zigStep(["check-targets"], undefined) },
  { name: "soak", line: "zig", run: soak },
  { name: "sanitize", line: "driver", run: () => once("native") },
  {
    name: "default",
    line: "driver",
    onlyByName: true,
    run: () => bunTests(PLAIN, suiteFiles(), extra),
  },
  { name: "suite", line: "driver", run: () => once("suite") },
  { name: "lab", line: "driver", run: shortLab },
  { name: "package", run: () => once("package") },
  { name: "packed", run: packedTests },
  { name: "docs", run: () => once("docs", "docs_shell") },
  ...backends.map((backend) => ({
    name: backend,
    run: () => bunTests({ ...PLAIN, BUN_AIO_BACKEND: backend }, suiteFiles(), extra),
  })),
  ...backends.map((backend) => ({ name: `${backend}-faults`, run: () => faultTests(backend) })),
];

/** Files that run once, not for each backend. */
function once(...names: string[]): Promise<Counts> {
  const files = names.map((name) => `./test/once/${name}.ts`);
  return bunTests(PLAIN, files, extra);
}

async function zigTests(step: string): Promise<Counts> {
  const { text, code } = await output([zigPath(), "build", step, "--summary", "all"]);
  const counts = noCounts();
  counts.passed = sum(text, /Build Summary:.*?; (\d+)(?:\/\d+)? tests passed/g);
  counts.failed = sum(text, /Build Summary:.*?(\d+) failed/g);
  counts.skipped = sum(text, /Build Summary:.*?(\d+) skipped/g);
  for (const [, reason = ""] of text.matchAll(/\[skipped: ([^\]]*)\]/g))
    addReason(counts.reasons, reason);
  const told = [...counts.reasons.values()].reduce((total, count) => total + count, 0);
  if (told < counts.skipped) addReason(counts.reasons, NO_REASON, counts.skipped - told);
  // Cases within a test are told of, too.
  counts.skipped = Math.max(counts.skipped, told);
  return judged({ text, code }, counts);
}

/** A step of build.zig: what it counts as passed are the matches of `passed`, or the step itself. */
async function zigStep(arguments_: string[], passed: RegExp | undefined): Promise<Counts> {
  const ended = await output([zigPath(), "build", ...arguments_]);
  const matches = passed === undefined ? 1 : [...ended.text.matchAll(passed)].length;
  return judged(ended, { ...noCounts(), passed: matches, failed: matches === 0 ? 1 : 0 });
}

/** A run that ends badly has failed, even one without a failed test: it crashed. */
function judged({ text, code }: Output, counts: Counts): Counts {
  const failed = code === 0 ? counts.failed : Math.max(1, counts.failed);
  return { ...counts, failed, failures: failed === 0 ? [] : failuresIn(text) };
}

/** Every backend for a share of a minute. */
async function soak(): Promise<Counts> {
  const counts = noCounts();
  for (const backend of backends) {
    const options = ["--backend", backend, "--minutes", String(1 / backends.length)];
    const { code, text } = await output([process.execPath, "scripts/soak.ts", ...options]);
    if (code === 0) counts.passed++;
    else fail(counts, failuresIn(text).join("\n"));
  }
  return counts;
}

/** Another kernel and real disks, in a virtual machine. */
function shortLab(): Promise<Counts> {
  const arch = process.arch === "arm64" ? "arm64" : "x64";
  return lab({
    ...{ arch, kernel: "distribution", only: SHORT, backends: ["io_uring", "threads"] },
    ...{ keep: false, environment: { LAB_CUTS: "3" } },
    say: (line) => console.error(line),
  });
}

/** What ships instead of the sources: every test that needs no more of them than a program does. */
function packedTests(): Promise<Counts> {
  packRuntime();
  const files = suiteFiles().filter(
    (file) => !INTERNALS.test(readFileSync(join(root, file), "utf8")),
  );
  return bunTests({ ...PLAIN, BUN_AIO_DIST: "1" }, files, extra);
}

/** Imports of sources that no program can import. */
const INTERNALS = /\/src\/(?!(testing\/)?index\.ts")/;

/** Short transfers, refused submissions, another order of completions: over the real kernel. */
function faultTests(backend: string): Promise<Counts> {
  const library = ensureLibrary({ faults: true }, (line) => console.error(line));
  const seed = Math.floor(Math.random() * 2 ** 31);
  const faults = process.env["BUN_AIO_FAULTS"] ?? `${seed},16384,4096,32768`;
  console.error(`BUN_AIO_FAULTS=${faults}`);
  const environment = {
    BUN_AIO_BACKEND: backend,
    BUN_AIO_LIBRARY: library,
    BUN_AIO_FAULTS: faults,
  };
  return bunTests(
    environment,
    suiteFiles().filter((file) => !WITHOUT_FAULTS.test(file)),
    extra,
  );
}

/** Tests to which the kernel's accidents are nothing: pure code, the fake kernel, the command. */
const WITHOUT_FAULTS =
  /\/(unit\/|cli\/|testing\/|(buffer|examples|fuzz_api|idle|library|list_devices|types)\.test\.ts$)/;

const done = new Map<string, Counts>();

function isWanted({ name, onlyByName }: Step): boolean {
  return wanted.length === 0 ? onlyByName !== true : wanted.includes(name);
}

async function runStep(step: Step): Promise<void> {
  console.error(`\n== ${step.name}`);
  const started = performance.now();
  const counts = await step.run();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.error(
    `== ${step.name}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped, ${seconds} s`,
  );
  counts.failures = counts.failures.map((failure) => `== ${step.name}\n${failure}`);
  done.set(step.name, counts);
}

async function runLine(line: Step["line"]): Promise<void> {
  for (const step of steps) if (step.line === line && isWanted(step)) await runStep(step);
}

function reportSkips(total: Counts): void {
  const table = skipTable(done);
  if (table !== "") console.error(`\n== Skipped\n\n${table}`);
  const everything = wanted.length === 0 && extra.length === 0;
  const lost = everything ? [...ranNowhere(done)] : [];
  const lines = lost.map(([name, reasons]) => `  ${name} (${[...reasons].join("; ")})\n`);
  if (lines.length > 0) console.error(`\n== Ran in no step\n\n${lines.join("")}`);
  const list = process.env["BUN_AIO_EXPECTED_SKIPS"] ?? "";
  if (list === "") return;
  judgeSkips(total, done, readExpected(readFileSync(join(root, list), "utf8")), everything);
}

const unknown = wanted.filter((name) => !steps.some((step) => step.name === name));
if (unknown.length > 0) {
  console.error(
    `no step is named ${unknown.join(", ")}; there are ${steps.map(({ name }) => name).join(", ")}`,
  );
  process.exit(2);
}
ensureLibrary({}, (line) => console.error(line));
await Promise.all([runLine("zig"), runLine("driver")]);
await runLine(undefined);
const total = noCounts();
for (const counts of done.values()) add(total, counts);
reportSkips(total);
if (total.failures.length > 0) console.error(`\n== What failed\n\n${total.failures.join("\n\n")}`);
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
