// Runs a command of the project, and finds failures in its output.

import { dirname } from "node:path";

export const root: string = dirname(dirname(import.meta.dir));

export interface Output {
  text: string;
  code: number;
}

/** Shows what it prints on stderr: as it comes, or at its end if others run beside it. */
export async function output(
  command: readonly string[],
  environment: Record<string, string> = {},
  show: "as it comes" | "at the end" = "as it comes",
): Promise<Output> {
  // By it the command takes itself for one that was started by a script of package.json.
  const { npm_lifecycle_event: _, ...inherited } = process.env;
  const child = Bun.spawn([...command], {
    cwd: root,
    env: { ...inherited, ...environment },
    stdout: "pipe",
    stderr: "pipe",
  });
  const collect = async (stream: ReadableStream<Uint8Array>): Promise<string> => {
    let text = "";
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      const part = decoder.decode(chunk, { stream: true });
      if (show === "as it comes") process.stderr.write(part);
      text += part;
    }
    return text;
  };
  const texts = await Promise.all([collect(child.stdout), collect(child.stderr)]);
  // All that `bun test` says on stdout.
  const text = texts.filter((part) => !/^(bun test v.*\s*)?$/.test(part)).join("\n");
  if (show === "at the end") process.stderr.write(text.endsWith("\n") ? text : `${text}\n`);
  return { text, code: await child.exited };
}

/** Of a run's output, each failed test with what was printed before its verdict; else the last lines. */
export function failuresIn(text: string): string[] {
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

/** Of all matches, the first group added up. */
export function sum(text: string, pattern: RegExp): number {
  return [...text.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0);
}
