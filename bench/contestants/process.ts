// Starts a child, waits for it with a limit, and hands over what it said. Every child of the
// harness that may run for long goes through here, so that an interrupt reaches it.

import { tmpdir } from "node:os";
import { dirname } from "node:path";

import type { Subprocess } from "bun";

/** On top of the time that a child was told to take. */
const GRACE_SECONDS = 20;

const running = new Set<Subprocess>();

export interface Finished {
  readonly stdout: string;
  readonly cpuSeconds: number;
  /** Peak of the resident memory while it ran; 0 where it was too short-lived to be looked at. */
  readonly rssBytes: number;
}

export interface RunOptions {
  /** How long the child works when all goes well. */
  readonly seconds: number;
  /** Watch the child's memory from outside, for one that does not report it. */
  readonly watchMemory?: boolean | undefined;
}

export async function run(command: string[], options: RunOptions): Promise<Finished> {
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  running.add(child);
  let late = false;
  let rssBytes = 0;
  const limit = setTimeout(
    () => {
      late = true;
      child.kill("SIGKILL");
    },
    (options.seconds + GRACE_SECONDS) * 1000,
  );
  const watch = options.watchMemory
    ? setInterval(async () => {
        rssBytes = Math.max(rssBytes, await peakMemory(child.pid));
      }, 200)
    : undefined;
  try {
    const [stdout, stderr] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    const status = await child.exited;
    if (late) {
      const said = stdout === "" ? "" : ", although its result was there";
      throw new Error(`killed: it did not end within ${GRACE_SECONDS} s of its time${said}`);
    }
    if (status !== 0) throw new Error(reason(stderr) ?? ending(child));
    // Microseconds as BigInt; Number holds 285 years of them.
    const cpuSeconds = Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1e6;
    return { stdout, cpuSeconds, rssBytes };
  } finally {
    clearTimeout(limit);
    clearInterval(watch);
    running.delete(child);
  }
}

/** Ends what is running; `run` then rejects. */
export function killRunning(): void {
  for (const child of running) child.kill("SIGKILL");
}

async function peakMemory(pid: number): Promise<number> {
  try {
    const status = await Bun.file(`/proc/${pid}/status`).text();
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
  } catch {
    // It has just ended.
    return 0;
  }
}

/** The line of an error output that names the failure: one line, for the table. */
function reason(stderr: string): string | undefined {
  const lines = withoutPaths(stderr)
    .split("\n")
    .map((line) => line.trim());
  return lines.find((line) => /error/i.test(line)) ?? lines.findLast((line) => line !== "");
}

/** The report is published: where this clone lies is nobody's business. */
function withoutPaths(text: string): string {
  const repository = dirname(dirname(import.meta.dirname));
  return text.replaceAll(repository, ".").replaceAll(tmpdir(), "$TMPDIR");
}

function ending(child: Subprocess): string {
  return child.signalCode === null
    ? `exit status ${child.exitCode}, without a word`
    : `killed by ${child.signalCode}`;
}
