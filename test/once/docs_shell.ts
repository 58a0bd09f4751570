// The shell blocks of README.md, CONTRIBUTING.md and docs/*.md. Those of the command are run as they stand,
// page by page in one folder, with regular files in place of the disks they name; of the others, which
// install and start test suites, every npm script and step they name has to exist. Runs once:
// `npm test -- docs`.

import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import { join } from "node:path";
import { shell } from "../support/command.ts";
import { testUnless, without } from "../support/conditions.ts";
import { blocksOf, pages, root } from "../support/doc_blocks.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const dir = new TempDir();
/** What stands at https://example.org is in the folder. */
const server = Bun.serve({
  port: 0,
  fetch: ({ url }) => new Response(Bun.file(join(dir.path, new URL(url).pathname))),
});
afterAll(async () => {
  await server.stop(true);
  dir[Symbol.dispose]();
});

const blocks = pages()
  .flatMap(blocksOf)
  .filter(({ language }) => language === "sh");
const ofCommand = blocks.filter(({ code }) => code.includes("bun-aio "));
const ofProject = blocks.filter((block) => !ofCommand.includes(block));

/** The disk that every page means. */
const DISK = /\/dev\/(sdX|nvme0n1)\b/g;

/** What the shell is given instead: no disk, no ten seconds, no question that nobody answers. */
function adapted(line: string): string {
  const here = line
    .replaceAll(DISK, "sdX.img")
    .replaceAll("https://example.org/", server.url.href)
    .replaceAll("/tmp/scratch", "scratch --size 4M")
    .replace(/--seconds \d+/, "--seconds 0.1");
  const asks = /bun-aio copy \S+ sdX\.img/.test(here) && !here.includes("--yes");
  return asks ? `${here} --yes` : here;
}

function prepare(): void {
  const image = pattern(1 << 20);
  for (const name of ["disk.img", "debian.iso", "sdX.img", "a.img", "b.img", "image.img"])
    fs.writeFileSync(join(dir.path, name), image);
  fs.writeFileSync(join(dir.path, "boot.bin"), image.subarray(0, 8192));
  fs.writeFileSync(join(dir.path, "image.img.gz"), Bun.gzipSync(image));
  fs.writeFileSync(join(dir.path, "image.img.zst"), Bun.zstdCompressSync(image));
}

for (const { page, line, code } of ofCommand) {
  const lines = code.split("\n").map(adapted);
  const needed = ["jq", "xz"].filter((name) => new RegExp(`\\b${name}\\b`).test(code));
  testUnless(without("bash", ...needed), `${page}:${line}`, async () => {
    if (!fs.existsSync(join(dir.path, "disk.img"))) prepare();
    // Nobody needs another user, or the package from a registry, to run these.
    const script = [
      ...["set -euo pipefail", 'sudo() { "$@"; }', 'bunx() { "$@"; }', 'ssh() { shift; "$@"; }'],
      "[ -e image.img.xz ] || ! command -v xz >/dev/null || xz -k image.img",
      ...lines,
    ];
    const { end, stderr } = await shell(script.join("\n"), { cwd: dir.path });
    expect(`${end} ${end === 0 ? "" : stderr}`).toBe("0 ");
  });
}

test("what the pages tell developers to run is there", () => {
  const { scripts } = JSON.parse(fs.readFileSync(join(root, "package.json"), "utf8"));
  const stepNames = fs.readFileSync(join(root, "scripts", "test.ts"), "utf8");
  const wrong: string[] = [];
  let seen = 0;
  for (const { page, line, code } of ofProject) {
    const commands = code
      .split("\n")
      .map((text) => text.replace(/(^|\s)#.*$/, "").trim())
      .flatMap((text) => text.split("&&").map((command) => command.trim()))
      .filter((command) => command !== "");
    for (const command of commands) {
      seen++;
      const where = `${page}:${line}: ${command}`;
      const script = /^(?:npm|bun) run ([\w:]+)( --( --?\w[\w-]*( \d+)?)*)?$/.exec(command);
      const steps = /^npm test(?: -- ([\w -]+))?$/.exec(command);
      const file = /^bun test (\S+)$/.exec(command);
      if (script !== null) {
        if (!((script[1] ?? "") in scripts)) wrong.push(where);
      } else if (steps !== null) {
        for (const name of (steps[1] ?? "").split(" ").filter((word) => word !== ""))
          if (!stepNames.includes(`name: "${name}"`) && !stepNames.includes(`"${name}"`))
            wrong.push(where);
      } else if (file !== null) {
        if (!fs.existsSync(join(root, file[1] ?? ""))) wrong.push(where);
      } else if (!["npm install", "bun install", "bun add bun-aio"].includes(command)) {
        wrong.push(where);
      }
    }
  }
  expect(wrong).toEqual([]);
  expect(seen).toBeGreaterThan(10);
});
