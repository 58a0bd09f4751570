// The words that start this command again (`bunx bun-aio`, `bun run flash`, a path), for commands printed to be
// pasted.

import { existsSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";

export interface Started {
  /** The words before the arguments of the command. */
  readonly words: readonly string[];
  /** Whether relative paths mean the same to the user: scripts change folders. */
  readonly here: boolean;
}

export interface Process {
  readonly words: readonly string[];
  readonly parent: number;
}

/** Runners: programs that start others with the arguments they got, as the user typed them. */
const RUNNERS = /^(bunx?|npx|npm|pnpm|yarn|node|sudo|doas|run0)(\.exe)?$/;
/** Limit for runners started by runners. */
const PARENTS_MAX = 8;

export function startedAs(): Started {
  const argv = process.argv.slice(2);
  const own = ownWords(argv);
  const typed = typedWords(argv, process.ppid);
  if (typed !== undefined) return { words: typed, here: true };
  // A package script with arguments of its own runs in the folder of the package, with a PATH of its own.
  const inScript = process.env["npm_lifecycle_event"] !== undefined;
  if (!inScript) return { words: shortened(own), here: true };
  return { words: isCompiled() ? [process.execPath] : [bun("bun"), scriptPath()], here: false };
}

/** The words of the outermost runner whose arguments end with ours. */
function typedWords(argv: readonly string[], parent: number): string[] | undefined {
  let typed: string[] | undefined;
  let pid = parent;
  for (let count = 0; count < PARENTS_MAX && pid > 1; count++) {
    const runner = processOf(pid);
    const words = runner === undefined ? undefined : before(runner.words, argv);
    const [program] = words ?? [];
    if (runner === undefined || words === undefined || program === undefined) break;
    const found = RUNNERS.test(basename(program)) ? runnable(program) : undefined;
    if (found === undefined) break;
    typed = [found, ...words.slice(1)];
    pid = runner.parent;
  }
  return typed;
}

/** `words` without `last` at their end; undefined if they do not end with it, or are nothing else. */
function before(words: readonly string[], last: readonly string[]): string[] | undefined {
  const count = words.length - last.length;
  if (count < 1 || last.length === 0) return undefined;
  const same = last.every((word, index) => word === words[count + index]);
  return same ? words.slice(0, count) : undefined;
}

function ownWords(argv: readonly string[]): string[] {
  const words = before(ownProcess()?.words ?? [], argv);
  const [program, ...rest] = words ?? [process.argv0, ...process.execArgv, scriptPath()];
  if (isCompiled()) return [runnable(program, process.execPath) ?? process.execPath];
  return [bun(program), ...rest];
}

function ownProcess(): Process | undefined {
  // ps(1) does not show where a word ends.
  return process.platform === "linux" ? processOf(process.pid) : undefined;
}

/** `bun-aio` if a shell finds it by that name. */
function shortened(words: readonly string[]): readonly string[] {
  const [program, script] = words;
  if (program !== "bun" || script === undefined || words.length !== 2) return words;
  const name = basename(script);
  const found = Bun.which(name);
  return found === script && !isTransient(found) ? [name] : words;
}

function isCompiled(): boolean {
  return Bun.main.startsWith("/$bunfs/");
}

function scriptPath(): string {
  return process.argv[1] ?? Bun.main;
}

/** The word that Bun was started by, if it is this Bun. */
function bun(program: string | undefined): string {
  const found = program === undefined ? undefined : runnable(program, process.execPath);
  if (found !== undefined) return found;
  // Under the name bunx it looks for packages.
  if (!basename(process.execPath).startsWith("bunx")) return process.execPath;
  const sibling = join(
    dirname(process.execPath),
    basename(process.execPath).replace("bunx", "bun"),
  );
  return existsSync(sibling) ? sibling : (Bun.which("bun") ?? "bun");
}

/** The word if it starts a program, which must be `expected`; its path if it is found only here. */
function runnable(word: string | undefined, expected?: string): string | undefined {
  if (word === undefined) return undefined;
  const found = word.includes("/") ? word : Bun.which(word);
  if (found === null || !existsSync(found)) return undefined;
  if (expected !== undefined && realpathSync(found) !== realpathSync(expected)) return undefined;
  return isTransient(found) ? found : word;
}

/** Folders that runners add to PATH. */
function isTransient(path: string): boolean {
  return /\/node_modules\/\.bin\/|\/bun-node-/.test(path);
}

// Processes -----------------------------------------------------------------------------------------------

function processOf(pid: number): Process | undefined {
  return process.platform === "linux" ? processByProc(pid) : processByPs(pid);
}

/** proc_pid_cmdline(5), proc_pid_stat(5) */
export function processByProc(pid: number): Process | undefined {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name, in parentheses, may contain anything.
    const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    return { words, parent };
  } catch {
    return undefined;
  }
}

/** A word with blanks comes out as several; then nothing ends with our arguments. */
export function processByPs(pid: number): Process | undefined {
  const { stdout } = process
    .getBuiltinModule("node:child_process")
    .spawnSync("ps", ["-ww", "-o", "ppid=", "-o", "args=", "-p", String(pid)], {
      encoding: "utf8",
    });
  const [parent, ...words] = (stdout ?? "").trim().split(/ +/);
  return words.length === 0 ? undefined : { words, parent: Number(parent) };
}
