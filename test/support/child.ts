// Runs code in a Bun process of its own: for what may crash, hang, exit or leak.

import { indexPath } from "./under_test.ts";

export interface ChildResult {
  /** Exit code, or the signal's name. */
  end: number | string;
  stdout: string;
  stderr: string;
}

export interface ChildOptions {
  /** Added to the environment; undefined removes. */
  env?: Record<string, string | undefined>;
  args?: readonly string[];
  /** Working directory. */
  cwd?: string;
  /** Words before the command, such as strace and its options. */
  under?: readonly string[];
  /** Then it is killed; `end` says "timeout". Default 60 s. */
  timeoutMs?: number;
}

/** What each piece of code begins with. */
const PRELUDE = `
import { File, Ring, allocBuffer, BufferPool, copy, IoError } from ${JSON.stringify(indexPath)};
import fs from "node:fs";
const args = process.argv.slice(1);
const countFds = () => fs.readdirSync("/proc/self/fd").length;
void [File, Ring, allocBuffer, BufferPool, copy, IoError];
`;

/** Runs TypeScript; the names of PRELUDE are there. Without it `bare`. */
export async function runCode(
  code: string,
  options: ChildOptions & { bare?: boolean } = {},
): Promise<ChildResult> {
  const text = options.bare === true ? code : PRELUDE + code;
  return run([process.execPath, "-e", text, ...(options.args ?? [])], options);
}

/** Runs a command and waits for its end. */
export async function run(
  command: readonly string[],
  options: ChildOptions = {},
): Promise<ChildResult> {
  const child = Bun.spawn([...(options.under ?? []), ...command], {
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill("SIGKILL");
  }, options.timeoutMs ?? 60_000);
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  await child.exited;
  clearTimeout(timer);
  const end = timedOut ? "timeout" : (child.signalCode ?? child.exitCode ?? "unknown");
  return { end, stdout, stderr };
}

/** Runs a command that has to succeed; what it printed, trimmed. */
export async function must(...command: readonly string[]): Promise<string> {
  const { end, stdout, stderr } = await run(command);
  if (end !== 0) throw new Error(`${command.join(" ")}: ${end}: ${stderr}`);
  return stdout.trim();
}
