// `npm test`: the Zig unit tests, then the whole TypeScript suite once for each backend of this system,
// then once over a library that injects faults. Closes with one line of totals.
//
// Arguments: names of steps to run only these (`npm test -- io_uring`); `--` passes the rest to bun test.

import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { ensureLibrary, zigPath } from "./build.ts";

const root = dirname(import.meta.dir);

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
  /** What the failed tests printed, for the end of the run. */
  failures?: string[];
}

interface Step {
  name: string;
  run(): Promise<Counts>;
  /** Compiles most of the time, or minds no company: runs beside the other one of these lines. */
  line?: "proactor" | "driver";
}

const cut = process.argv.indexOf("--");
const wanted = process.argv.slice(2, cut === -1 ? undefined : cut);
const extra = cut === -1 ? [] : process.argv.slice(cut + 1);

/** Backends that this system can run. */
const backends = process.platform === "linux" ? ["io_uring", "threads", "posix_aio"] : ["threads"];

const steps: Step[] = [
  { name: "zig", line: "proactor", run: zigTests },
  // The engine over each lane over the simulated kernel; then proof that the fuzzer can fail.
  {
    name: "fuzz",
    line: "proactor",
    run: () => zigStep(["fuzz", "--", "--seeds", "2000"], /^(\d+) seeds hold$/gm),
  },
  { name: "plants", line: "proactor", run: () => zigStep(["plants"], /^ok /gm) },
  { name: "targets", line: "proactor", run: () => zigStep(["check-targets"], undefined) },
  { name: "soak", line: "proactor", run: soak },
  { name: "sanitize", line: "driver", run: () => bunTests({}, ["./test/once/native.ts"]) },
  { name: "package", run: () => bunTests({}, ["./test/once/package.ts"]) },
  { name: "docs", run: () => bunTests({}, ["./test/once/docs.ts", "./test/once/docs_shell.ts"]) },
  ...backends.map((backend) => ({
    name: backend,
    run: () => bunTests({ BUN_AIO_BACKEND: backend }),
  })),
  ...backends.map((backend) => ({ name: `${backend}-faults`, run: () => faultTests(backend) })),
];

async function output(
  command: string[],
  environment: Record<string, string>,
): Promise<{ text: string; code: number }> {
  const child = Bun.spawn(command, {
    cwd: root,
    env: { ...process.env, ...environment },
    stdout: "pipe",
    stderr: "pipe",
  });
  const show = async (stream: ReadableStream<Uint8Array>): Promise<string> => {
    let text = "";
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      const part = decoder.decode(chunk, { stream: true });
      process.stderr.write(part);
      text += part;
    }
    return text;
  };
  const texts = await Promise.all([show(child.stdout), show(child.stderr)]);
  return { text: texts.join("\n"), code: await child.exited };
}

/** Of a run's output, each failed test with what was printed before its verdict; else the last lines. */
function failuresIn(text: string): string[] {
  const found: string[] = [];
  let lines: string[] = [];
  // Bun repeats the failed tests after its own heading.
  for (const line of text.split(/^\d+ tests? failed:$/m)[0]?.split("\n") ?? []) {
    lines.push(line);
    if (!/^\((pass|fail|skip|todo)\)/.test(line)) continue;
    if (line.startsWith("(fail)")) found.push(lines.slice(-50).join("\n"));
    lines = [];
  }
  return found.length > 0 ? found : [text.trimEnd().split("\n").slice(-50).join("\n")];
}

function sum(text: string, pattern: RegExp): number {
  return [...text.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0);
}

/** A run that ends badly has failed, even one without a failed test: it crashed. */
function judged(code: number, text: string, counts: Counts): Counts {
  const failed = code === 0 ? counts.failed : Math.max(1, counts.failed);
  return { ...counts, failed, failures: failed === 0 ? [] : failuresIn(text) };
}

async function zigTests(): Promise<Counts> {
  const { text, code } = await output([zigPath(), "build", "test", "--summary", "all"], {});
  const passed = sum(text, /Build Summary:.*?; (\d+)(?:\/\d+)? tests passed/g);
  const failed = sum(text, /Build Summary:.*?(\d+) failed/g);
  // Each says why; cases within a test are told of, too.
  const told = [...text.matchAll(/\[skipped: [^\]]*\]/g)].length;
  const skipped = Math.max(told, sum(text, /Build Summary:.*?(\d+) skipped/g));
  return judged(code, text, { passed, failed, skipped });
}

/** A step of build.zig: what it counts as passed are the matches of `passed`, or the step itself. */
async function zigStep(arguments_: string[], passed: RegExp | undefined): Promise<Counts> {
  const { text, code } = await output([zigPath(), "build", ...arguments_], {});
  const matches = passed === undefined ? 1 : [...text.matchAll(passed)].length;
  return judged(code, text, { passed: matches, failed: matches === 0 ? 1 : 0, skipped: 0 });
}

/** Runs the whole suite, or only `files`. */
async function bunTests(
  environment: Record<string, string>,
  files: readonly string[] = [],
): Promise<Counts> {
  const command = [process.execPath, "test", "--timeout", "60000", ...files, ...extra];
  const { text, code } = await output(command, environment);
  return judged(code, text, {
    passed: sum(text, /^\s*(\d+) pass$/gm),
    failed: sum(text, /^\s*(\d+) fail$/gm),
    skipped: sum(text, /^\s*(\d+) skip$/gm),
  });
}

/** Every backend for a share of a minute. */
async function soak(): Promise<Counts> {
  const counts: Required<Counts> = { passed: 0, failed: 0, skipped: 0, failures: [] };
  for (const backend of backends) {
    const options = ["--backend", backend, "--minutes", String(1 / backends.length)];
    const { code, text } = await output([process.execPath, "scripts/soak.ts", ...options], {});
    if (code === 0) {
      counts.passed++;
    } else {
      counts.failed++;
      counts.failures.push(...failuresIn(text));
    }
  }
  return counts;
}

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
  return bunTests(environment, faultFiles());
}

/** Tests to which the kernel's accidents are nothing: pure code, the simulated kernel, the command. */
const WITHOUT_FAULTS =
  /^(bounce|buffer|cli|examples|fuzz_api|idle|library|list_devices|range_lock|slots|testing_|types)/;

function faultFiles(): string[] {
  return readdirSync(join(root, "test"))
    .filter((name) => name.endsWith(".test.ts") && !WITHOUT_FAULTS.test(name))
    .map((name) => `./test/${name}`);
}

const total: Counts = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];

async function runStep(step: Step): Promise<void> {
  if (wanted.length > 0 && !wanted.includes(step.name)) return;
  console.error(`\n== ${step.name}`);
  const started = performance.now();
  const counts = await step.run();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.error(
    `== ${step.name}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped, ${seconds} s`,
  );
  for (const failure of counts.failures ?? []) failures.push(`== ${step.name}\n${failure}`);
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.skipped += counts.skipped;
}

async function runLine(line: Step["line"]): Promise<void> {
  for (const step of steps) if (step.line === line) await runStep(step);
}

ensureLibrary({}, (line) => console.error(line));
await Promise.all([runLine("proactor"), runLine("driver")]);
await runLine(undefined);
if (failures.length > 0) console.error(`\n== What failed\n\n${failures.join("\n\n")}`);
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
