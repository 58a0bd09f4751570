// The code blocks of README.md, CONTRIBUTING.md and the like, and of docs/*.md, and the examples in comments of src/; read
// by test/once/docs.ts and docs_shell.ts.

import fs from "node:fs";
import { dirname, join } from "node:path";

export const root: string = dirname(dirname(import.meta.dir));

export interface Block {
  readonly page: string;
  /** Of the fence, from 1. */
  readonly line: number;
  /** The first word after the fence; empty for output, which nothing runs. */
  readonly language: string;
  /** The words after that. */
  readonly words: readonly string[];
  readonly code: string;
}

/** Paths from the root. */
export function pages(): string[] {
  const docs = fs.readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
  const top = fs.readdirSync(root).filter((name) => name.endsWith(".md"));
  return [...top, ...docs.map((name) => join("docs", name))];
}

export function blocksOf(page: string): Block[] {
  return blocksIn(page, fs.readFileSync(join(root, page), "utf8").split("\n"));
}

/** The blocks after `@example`, of all files in src/. */
export function examples(): Block[] {
  const files = fs.readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" });
  return files
    .filter((name) => name.endsWith(".ts"))
    .flatMap((name) => {
      const lines = fs.readFileSync(join(root, "src", name), "utf8").split("\n");
      const blocks = blocksIn(
        join("src", name),
        lines.map((line) => line.replace(/^ *\* ?/, "")),
      );
      return blocks.filter(({ line }) => lines[line - 2]?.endsWith("* @example"));
    });
}

function blocksIn(page: string, lines: readonly string[]): Block[] {
  const blocks: Block[] = [];
  let open: { line: number; info: string; lines: string[] } | undefined;
  lines.forEach((line, index) => {
    const fence = /^\s*```(.*)$/.exec(line);
    if (fence === null) open?.lines.push(line);
    else if (open === undefined) open = { line: index + 1, info: fence[1] ?? "", lines: [] };
    else {
      const [language = "", ...words] = open.info.trim().split(/\s+/);
      blocks.push({ page, line: open.line, language, words, code: open.lines.join("\n") });
      open = undefined;
    }
  });
  return blocks;
}
