// Runs the `bun-aio` command: in pipes, and in a pseudo-terminal that can be typed at.

import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { type ChildOptions, type ChildResult, run } from "./child.ts";
import { mainPath } from "./under_test.ts";

/** With no input, and pipes for both outputs. */
export function bunAio(args: readonly string[], options?: ChildOptions): Promise<ChildResult> {
  return run([process.execPath, mainPath, ...args], options);
}

/** A line of the shell, with `bun-aio` defined. */
export function shell(line: string, options?: ChildOptions): Promise<ChildResult> {
  const prelude = `bun-aio() { '${process.execPath}' '${mainPath}' "$@"; }; `;
  return run(["bash", "-c", prelude + line], options);
}

const PATIENCE_MS = 30_000;

/** The command in a terminal. */
export class Session implements AsyncDisposable {
  /** Everything that was drawn, escape sequences included. */
  screen = "";
  readonly #child: Bun.Subprocess;
  #waiting: { pattern: RegExp; found: () => void } | undefined;

  /** `under`: words before the command, a shell for example. */
  constructor(
    args: readonly string[],
    env: Record<string, string | undefined> = {},
    under: readonly string[] = [],
    columns = 100,
  ) {
    const decoder = new TextDecoder();
    this.#child = Bun.spawn([...under, process.execPath, mainPath, ...args], {
      env: { ...process.env, TERM: "xterm-256color", NO_COLOR: undefined, ...env },
      terminal: {
        cols: columns,
        rows: 24,
        data: (_terminal, data) => {
          this.screen += decoder.decode(data, { stream: true });
          if (this.#waiting?.pattern.test(this.screen) === true) this.#waiting.found();
        },
      },
    });
  }

  /** Waits for something to be drawn; throws with the screen if it is not. */
  async until(pattern: RegExp): Promise<void> {
    if (pattern.test(this.screen)) return;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#waiting = { pattern, found: () => resolve("found") };
    const timer = setTimeout(() => resolve("too late"), PATIENCE_MS);
    const end = this.#child.exited.then(() => "ended");
    const outcome = await Promise.race([promise, end]);
    clearTimeout(timer);
    if (outcome === "found" || pattern.test(this.screen)) return;
    throw new Error(`${outcome}; ${pattern} is not in:\n${this.screen}`);
  }

  resize(columns: number): void {
    this.#child.terminal?.resize(columns, 24);
  }

  type(keys: string): void {
    this.#child.terminal?.write(keys);
  }

  /** The exit code, once all of the screen is there. */
  async end(): Promise<number> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), PATIENCE_MS);
    const code = await this.#child.exited;
    clearTimeout(timer);
    // The last lines may still be on their way through the terminal.
    await Bun.sleep(20);
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null) this.#child.kill("SIGKILL");
    await this.#child.exited;
    this.#child.terminal?.close();
  }
}

export const CTRL_C = "\x03";

interface Matcher {
  test(text: string): boolean;
}

/** The command with pipes, which is fed by hand and can be sent signals. */
export class Fed implements AsyncDisposable {
  /** What came on stderr. */
  said = "";
  readonly #child: Bun.Subprocess<"pipe", "ignore", "pipe">;
  readonly #reading: Promise<void>;
  #heard = Promise.withResolvers<void>();

  constructor(
    args: readonly string[],
    { under = [], env = {} }: Pick<ChildOptions, "under" | "env"> = {},
  ) {
    this.#child = Bun.spawn([...under, process.execPath, mainPath, ...args], {
      env: { ...process.env, ...env },
      stdin: "pipe",
      stdout: "ignore",
      stderr: "pipe",
    });
    this.#reading = this.#read();
  }

  /** Waits for something to be said; throws with all that was said if it is not. */
  async until(matcher: Matcher): Promise<void> {
    const late = Bun.sleep(PATIENCE_MS).then(() => "too late");
    const ended = this.#reading.then(() => "ended");
    while (!matcher.test(this.said)) {
      const outcome = await Promise.race([this.#heard.promise, late, ended]);
      if (outcome === undefined || matcher.test(this.said)) continue;
      throw new Error(`${outcome}; ${matcher} is not in:\n${this.said}`);
    }
  }

  /** Waits until a handler of the signal is installed (Linux). */
  async handles(signal: NodeJS.Signals): Promise<void> {
    const bit = 1n << BigInt(constants.signals[signal] - 1);
    const end = performance.now() + PATIENCE_MS;
    while (performance.now() < end) {
      const status = readFileSync(`/proc/${this.#child.pid}/status`, "utf8");
      const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0";
      if ((BigInt(`0x${caught}`) & bit) !== 0n) return;
      await Bun.sleep(1);
    }
    throw new Error(`no handler of ${signal} was installed`);
  }

  write(bytes: Uint8Array): void {
    this.#child.stdin.write(bytes);
    this.#child.stdin.flush();
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Ends its input; the exit code. */
  async end(): Promise<number> {
    this.#child.stdin.end();
    await this.#reading;
    return this.#child.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null) this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of this.#child.stderr) {
      this.said += decoder.decode(bytes, { stream: true });
      this.#heard.resolve();
      this.#heard = Promise.withResolvers();
    }
  }
}
