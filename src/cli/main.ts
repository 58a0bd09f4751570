#!/usr/bin/env bun
// The `bun-aio` command: runs a subcommand, and turns what it throws into a message and an exit code. Nothing else in
// the package imports this folder.

// First, so that its handlers exist before the rest is loaded.
import "./signals.ts";
import { IoError } from "../errors/io_error.ts";
import { Arguments, meant } from "./arguments.ts";
import { Exit, Stop, usage } from "./exit.ts";
import { helpFor } from "./help.ts";
import { wordsOf } from "./hints.ts";
import { ownWords } from "./raw_words.ts";
import { complain, print, say } from "./terminal.ts";
import { version } from "./version.ts";

type Command = (argv: readonly string[]) => Promise<number>;

/** Loaded on demand. */
const COMMANDS: ReadonlyMap<string, () => Promise<Command>> = new Map([
  ["info", async () => (await import("./info.ts")).infoCommand],
  ["copy", async () => (await import("./copy.ts")).copyCommand],
  ["verify", async () => (await import("./verify.ts")).verifyCommand],
  ["scan", async () => (await import("./scan.ts")).scanCommand],
  ["watch", async () => (await import("./watch.ts")).watchCommand],
  ["bench", async () => (await import("./bench.ts")).benchCommand],
]);

async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined) {
    say(helpFor("").trimEnd());
    return Exit.usage;
  }
  const command = COMMANDS.get(name);
  if (command === undefined) return withoutCommand(name, rest);
  if (asksFor(rest, ["--help", "-h"])) return help(name);
  if (asksFor(rest, ["--version", "-V"])) return sayVersion();
  return (await command())(rest);
}

function withoutCommand(name: string, rest: readonly string[]): number {
  if (name === "help") return help(rest[0] ?? "");
  // Refuses unknown options by name.
  const args = new Arguments("", {}, name.startsWith("-") ? [name] : []);
  if (args.flag("help")) return help("");
  if (args.flag("version")) return sayVersion();
  throw unknownCommand(name);
}

function help(name: string): number {
  if (name !== "" && !COMMANDS.has(name)) throw unknownCommand(name);
  print(helpFor(name).trimEnd());
  return Exit.done;
}

function sayVersion(): number {
  print(version);
  return Exit.done;
}

function unknownCommand(name: string): Stop {
  const names = [...COMMANDS.keys()];
  const hint = meant(name, names) ?? `Commands: ${names.join(", ")}. See bun-aio --help`;
  return usage(`unknown command "${name}"`, hint);
}

/** Whether one of the words comes before a "--". */
function asksFor(argv: readonly string[], words: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return argv.slice(0, end === -1 ? undefined : end).some((word) => words.includes(word));
}

/** Prints what went wrong; returns the exit code. */
function failed(error: unknown): number {
  if (error instanceof Stop) {
    complain(error.message, error.hint);
    return error.code;
  }
  if (error instanceof IoError) {
    const { text, hint } = wordsOf(error);
    complain(text, hint);
    // A swap file that the system did not list: nothing of it can have been written.
    return error.code === "ETXTBSY" ? Exit.refused : Exit.failed;
  }
  // Wrong values that only the library detects, and a library that could not be loaded.
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (error instanceof Error && typeof code === "string") {
    complain(error.message);
    const wrong = code.startsWith("ERR_INVALID_ARG") || code === "ERR_OUT_OF_RANGE";
    return wrong ? Exit.usage : Exit.failed;
  }
  complain(`unexpected: ${error instanceof Error ? (error.stack ?? error.message) : error}`);
  return Exit.failed;
}

// A reader of stdout may have seen enough (| head): that is no failure, and the work goes on to its own exit code.
// A lost result is a failure.
process.stdout.on("error", (error: Error & { code?: string }) => {
  if (error.code === "EPIPE" || resultLost) return;
  resultLost = true;
  complain(`the result could not be written: ${error.message}`);
  if ((process.exitCode ?? Exit.done) === Exit.done) process.exitCode = Exit.failed;
});
// Nobody reads the messages any more.
process.stderr.on("error", () => {});

let resultLost = false;
const code = await main(ownWords()).catch(failed);
process.exitCode = code === Exit.done && resultLost ? Exit.failed : code;
