// Every example of docs/testing-your-tool.md, and README's section on testing, runs as it stands.

import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "./support/temp.ts";

const root = join(import.meta.dir, "..");

test("docs/testing-your-tool.md can be copied and run", async () => {
  using directory = new TempDir();
  const readme = readFileSync(join(root, "README.md"), "utf8");
  const section = /^## Testing your tool$.*?^## /ms.exec(readme)?.[0] ?? "";
  const text = readFileSync(join(root, "docs", "testing-your-tool.md"), "utf8") + section;
  const blocks = [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1] ?? "");
  expect(blocks.length).toBeGreaterThan(5);
  mkdirSync(directory.file("node_modules"));
  symlinkSync(root, directory.file("node_modules/bun-aio"));
  blocks.forEach((block, index) => {
    writeFileSync(directory.file(`block${index}.test.ts`), block);
  });
  const child = Bun.spawn([process.execPath, "test"], {
    cwd: directory.path,
    stdout: "pipe",
    stderr: "pipe",
  });
  const output = await new Response(child.stderr).text();
  expect(output).toContain(" 0 fail");
  expect(await child.exited).toBe(0);
});
