// Signal dispositions inherited from the parent, and the signals that ask for progress (SIGUSR1, SIGINFO). main.ts
// imports this before everything else: without a handler such a signal ends the process.

import { dlopen, ptr } from "bun:ffi";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { isatty } from "node:tty";
import { say } from "./terminal.ts";

/** Names of the C library: glibc, musl, FreeBSD, macOS. Names of other systems are not found. */
const LIBC_NAMES: readonly string[] = [
  ...(process.platform === "darwin" ? ["libSystem.B.dylib"] : []),
  ...(process.platform === "linux"
    ? ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`]
    : []),
  "libc.so.7",
  "libc.so",
];

/** SIG_IGN of signal.h, the same on all systems. */
const SIG_IGN = 1n;
/** Larger than struct sigaction on any system; the handler is its first field. */
const SIGACTION_WORDS = 32;

type SignalName = NodeJS.Signals | "SIGINFO";

/**
 * Signals that were ignored when the process began: by nohup(1), `trap '' INT`, or a shell for its background jobs.
 */
const ignoredAtStart: Set<SignalName> = readIgnored([
  "SIGINT",
  "SIGTERM",
  "SIGHUP",
  "SIGUSR1",
  "SIGINFO",
]);

function readIgnored(names: readonly SignalName[]): Set<SignalName> {
  const ignored = new Set<SignalName>();
  const handlerOf = loadSigaction();
  for (const name of names) {
    const number = numberOf(name);
    if (number !== undefined && handlerOf?.(number) === SIG_IGN) ignored.add(name);
  }
  return ignored;
}

/**
 * On a terminal, Bun catches SIGINT and SIGTERM before any script runs, to restore the terminal, and the inherited
 * disposition is lost (seen in Bun 1.4.5). A shell that ignores a signal starts its commands with it ignored, so
 * the shell is asked if it is the parent (proc_pid_status(5)). A shell with job control ignores SIGTERM only for
 * itself, and SIGTSTP with it.
 */
function ignoredByShell(): ("SIGINT" | "SIGTERM")[] {
  if (process.platform !== "linux" || ![0, 1, 2].some((fd) => isatty(fd))) return [];
  let status: string;
  try {
    status = readFileSync(`/proc/${process.ppid}/status`, "utf8");
  } catch {
    return [];
  }
  if (!/^Name:\t(ba|da|a|z|k|mk|ok)?sh$/m.test(status)) return [];
  const mask = BigInt(`0x${/^SigIgn:\t([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"}`);
  const ignores = (name: SignalName): boolean =>
    ((mask >> BigInt((numberOf(name) ?? 1) - 1)) & 1n) === 1n;
  const names = ignores("SIGTSTP") ? (["SIGINT"] as const) : (["SIGINT", "SIGTERM"] as const);
  return names.filter(ignores);
}

/** Reads the handler of a signal, by sigaction(2) without a new action; undefined if that cannot be called. */
function loadSigaction(): ((signal: number) => bigint | undefined) | undefined {
  const types = { args: ["i32", "ptr", "ptr"], returns: "i32" } as const;
  for (const name of LIBC_NAMES) {
    try {
      const { symbols } = dlopen(name, { sigaction: types });
      const old = new BigUint64Array(SIGACTION_WORDS);
      return (signal) => {
        return symbols.sigaction(signal, null, ptr(old)) === 0 ? old[0] : undefined;
      };
    } catch {
      // Try the next name.
    }
  }
  return undefined;
}

function numberOf(name: SignalName): number | undefined {
  const numbers: Readonly<Record<string, number | undefined>> = constants.signals;
  return numbers[name];
}

/**
 * Calls `handler` on the signal, unless it was ignored when the process began or does not exist here. Call the
 * result to undo that.
 */
export function listen(name: SignalName, handler: () => void): () => void {
  if (ignoredAtStart.has(name) || numberOf(name) === undefined) return () => {};
  process.on(name, handler);
  return () => {
    process.off(name, handler);
  };
}

for (const name of ignoredByShell()) {
  ignoredAtStart.add(name);
  // Replaces Bun's handler.
  process.on(name, () => {});
}

let tell = (): string => "no progress yet";

export function tellProgressWith(words: () => string): void {
  tell = words;
}

// dd(1) answers SIGUSR1 on Linux, and SIGINFO (Ctrl-T) on FreeBSD and macOS.
listen("SIGUSR1", () => say(tell()));
listen("SIGINFO", () => say(tell()));
