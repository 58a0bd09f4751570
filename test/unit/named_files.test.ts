// Every source file that a comment or a page names exists: such names rot when files are moved.

import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");
const FOLDERS = ["src", "zig", "test", "bench", "scripts", "examples", "docs"];
/** CHANGELOG.md tells of the past; docs/benchmark.md and src/native/abi.gen.ts are generated. */
const NOT_READ = new Set(["CHANGELOG.md", "docs/benchmark.md", "src/native/abi.gen.ts"]);
const NAME = /[\w./-]*\w\.(?:ts|zig|md|cjs)\b/g;
const COMMENT = /^\s*(?:\/\/|\/?\*)|(?<!:)\/\/[/!]? /;

function projectFiles(): string[] {
  const top = readdirSync(root, { withFileTypes: true });
  const found = top.filter((entry) => entry.isFile()).map(({ name }) => name);
  for (const folder of FOLDERS) {
    const inside = readdirSync(join(root, folder), { recursive: true, encoding: "utf8" });
    found.push(...inside.map((name) => join(folder, name)));
  }
  return found.filter((name) => !name.includes("node_modules"));
}

/** Of a program its comments, of a page everything but code blocks; numbered lines. */
function prose(path: string): [number, string][] {
  const lines = readFileSync(join(root, path), "utf8").split("\n");
  const isPage = path.endsWith(".md");
  const kept: [number, string][] = [];
  let isBlock = false;
  for (const [index, line] of lines.entries()) {
    if (isPage && line.trimStart().startsWith("```")) isBlock = !isBlock;
    else if (isPage && !isBlock) kept.push([index + 1, line]);
    const start = isPage ? -1 : line.search(COMMENT);
    if (start !== -1) kept.push([index + 1, line.slice(start)]);
  }
  return kept;
}

/** Pages outside of the package are linked by their address. */
const ADDRESS = /https:\/\/github\.com\/[\w.-]+\/[\w.-]+\/(?:blob|tree)\/main\//g;

function namesIn(text: string): string[] {
  const names = text.replace(ADDRESS, "").match(NAME) ?? [];
  return names.filter((name) => !name.endsWith(".d.ts")).map((name) => name.replace(/^[./]+/, ""));
}

/** A file is named by its path or by the end of it. */
function missing(existing: readonly string[], names: readonly string[]): string[] {
  return names.filter((name) => !existing.some((path) => `/${path}`.endsWith(`/${name}`)));
}

test("files that comments and pages name exist", () => {
  const existing = projectFiles();
  const wrong: string[] = [];
  let seen = 0;
  for (const path of existing.filter((name) => /\.(?:ts|zig|c|md)$/.test(name))) {
    if (NOT_READ.has(path)) continue;
    for (const [line, text] of prose(path)) {
      const names = namesIn(text);
      seen += names.length;
      wrong.push(...missing(existing, names).map((name) => `${path}:${line}: ${name}`));
    }
  }
  expect(wrong).toEqual([]);
  expect(seen).toBeGreaterThan(200);
});

test("no comment lists who uses a file: imports say it", () => {
  const listing = /\b(?:used|called) by `?[\w/]+\.(?:ts|zig)\b/i;
  const programs = projectFiles().filter((name) => /\.(?:ts|zig|c)$/.test(name));
  const wrong = programs.filter((path) => prose(path).some(([, text]) => listing.test(text)));
  expect(wrong).toEqual([]);
  expect("Used by file.ts").toMatch(listing);
});

test("a name that no file ends with is found", () => {
  const existing = ["src/ring/ring.ts", "docs/backends.md"];
  const names = namesIn("see ring.ts, gone.ts, `ring/ring.ts`, ../docs/backends.md and index.d.ts");
  expect(names).toEqual(["ring.ts", "gone.ts", "ring/ring.ts", "docs/backends.md"]);
  expect(missing(existing, names)).toEqual(["gone.ts"]);
  expect(missing(existing, ["ing.ts"])).toEqual(["ing.ts"]);
});
