// Runs the `bun-aio` command: in pipes, and in a pseudo-terminal that can be typed at.

import { join } from "node:path";
import { type ChildOptions, type ChildResult, run } from "./child.ts";

const main = join(import.meta.dir, "..", "..", "src", "cli", "main.ts");

/** With no input, and pipes for both outputs. */
export function bunAio(args: readonly string[], options?: ChildOptions): Promise<ChildResult> {
  return run([process.execPath, main, ...args], options);
}

/** A line of the shell, with `bun-aio` defined. */
export function shell(line: string, options?: ChildOptions): Promise<ChildResult> {
  const prelude = `bun-aio() { '${process.execPath}' '${main}' "$@"; }; `;
  return run(["bash", "-c", prelude + line], options);
}

const PATIENCE_MS = 30_000;

/** The command in a terminal of 100 columns. */
export class Session implements AsyncDisposable {
  /** Everything that was drawn, escape sequences included. */
  screen = "";
  readonly #child: Bun.Subprocess;
  #waiting: { pattern: RegExp; found: () => void } | undefined;

  constructor(args: readonly string[], env: Record<string, string | undefined> = {}) {
    const decoder = new TextDecoder();
    this.#child = Bun.spawn([process.execPath, main, ...args], {
      env: { ...process.env, TERM: "xterm-256color", NO_COLOR: undefined, ...env },
      terminal: {
        cols: 100,
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
