// Runs the examples of the documentation, each in a process and a folder of its own.

import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pattern } from "./support/random.ts";
import { TempDir } from "./support/temp.ts";

const root = dirname(import.meta.dir);
const library = JSON.stringify(join(root, "src", "index.ts"));

/** Pages whose `ts` examples run by themselves, given a `disk.img`. */
const PAGES = ["docs/streams-and-copy.md"];

describe.each(PAGES)("%s", (page) => {
  const text = readFileSync(join(root, page), "utf8");
  const examples = [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((match) => match[1] ?? "");
  const numbered = examples.map((code, index) => [index + 1, code] as const);

  test.each(numbered)("example %i", async (_, code) => {
    using folder = new TempDir();
    const image = pattern(3 << 20);
    image.fill(0, 1 << 20, 2 << 20);
    writeFileSync(folder.file("disk.img"), image);
    const program = folder.file("example.ts", code.replaceAll('"bun-aio"', library));
    const child = Bun.spawn([process.execPath, program], {
      cwd: folder.path,
      stdout: "pipe",
      stderr: "pipe",
    });
    const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect(errors).toBe("");
    expect(await child.exited).toBe(0);
    for (const name of ["copy.img", "fetched.img"]) {
      const copy = Bun.file(folder.file(name));
      if (await copy.exists()) expect(Buffer.compare(await copy.bytes(), image)).toBe(0);
    }
    if (code.includes("console.log(")) expect(output).not.toBe("");
  });
});
