// Every TypeScript block of README.md and docs/*.md, and every example of a function in src/, is type-checked and run, each in a folder of its own
// (test/once/docs_shell.ts runs the others), with a `disk.img` in it. After the fence: `ts no-run` for what cannot run
// here (it is only type-checked), `ts root` for what needs root and loop devices (the environment variables STICK and
// STICKS name one and two, IMAGE a URL of the packed image; that and one stick are its arguments, too), `image=64` for another size of `disk.img` than 1 MiB,
// `resumes` for what is stopped while it copies `disk.img` to `copy.img`, and goes on. Runs once: `npm test -- docs`.

import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import { basename, dirname, join } from "node:path";
import * as api from "../../src/index.ts";
import * as testing from "../../src/testing/index.ts";
import { run } from "../support/child.ts";
import { testUnless } from "../support/conditions.ts";
import { LoopDevice } from "../support/control.ts";
import { type Block, blocksOf, examples, pages, root } from "../support/doc_blocks.ts";
import { brokenLinks } from "../support/links.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

const inComments = examples();
const every = [...pages().flatMap(blocksOf), ...inComments];
const blocks = every.filter(({ language }) => language === "ts");
fs.mkdirSync(join(dir.path, "node_modules"));
for (const name of ["bun-types", "@types"]) {
  const there = join(root, "node_modules", name);
  if (fs.existsSync(there)) fs.symlinkSync(there, join(dir.path, "node_modules", name));
}
fs.symlinkSync(root, join(dir.path, "node_modules", "bun-aio"));

/** Blocks that are test suites are run by `bun test`. */
function isSuite({ code }: Block): boolean {
  return code.includes('"bun:test"');
}

function fileOf(block: Block): string {
  const folder = join(dir.path, `${basename(block.page).split(".")[0]}-${block.line}`);
  fs.mkdirSync(folder, { recursive: true });
  return join(folder, isSuite(block) ? "block.test.ts" : "block.ts");
}

for (const block of blocks) fs.writeFileSync(fileOf(block), `${block.code}\nexport {};\n`);

/** Bytes of its `disk.img`. */
function imageBytes({ words }: Block): number {
  const given = words.find((word) => word.startsWith("image="));
  return (given === undefined ? 1 : Number(given.slice("image=".length))) << 20;
}

/** What docs_shell.ts runs, a drawing, and output. */
const OTHERS = ["sh", "mermaid", ""];

test("no block is of a kind that nothing runs", () => {
  const unknown = every.filter(({ language }) => language !== "ts" && !OTHERS.includes(language));
  expect(unknown.map(({ page, line, language }) => `${page}:${line}: ${language}`)).toEqual([]);
});

test("there are blocks, and links between pages lead somewhere", () => {
  expect(blocks.length).toBeGreaterThan(5);
  expect(brokenLinks(root, pages())).toEqual([]);
});

test("every function that is exported has an example", () => {
  const functions = Object.entries({ ...api, ...testing })
    .filter(([, value]) => typeof value === "function" && !/^class\b/.test(String(value)))
    .map(([name]) => name);
  expect(functions.length).toBeGreaterThan(10);
  const without = functions.filter(
    (name) => !inComments.some(({ code }) => new RegExp(`\\b${name}\\(`).test(code)),
  );
  expect(without).toEqual([]);
});

test("all blocks type-check", async () => {
  const options = JSON.parse(fs.readFileSync(join(root, "tsconfig.json"), "utf8"));
  const paths = {
    "bun-aio": [join(root, "src", "index.ts")],
    "bun-aio/testing": [join(root, "src", "testing", "index.ts")],
  };
  const compilerOptions = { ...options.compilerOptions, noEmit: true, paths };
  for (const name of ["isolatedDeclarations", "declaration", "emitDeclarationOnly", "outDir"])
    delete compilerOptions[name];
  const config = { compilerOptions, include: ["*/block*.ts"] };
  fs.writeFileSync(join(dir.path, "tsconfig.json"), JSON.stringify(config));
  const tsc = join(root, "node_modules", ".bin", "tsc");
  const { end, stdout } = await run([tsc, "-p", "."], { cwd: dir.path });
  expect(`${end} ${stdout}`).toBe("0 ");
}, 60_000);

/** Two loop devices, and a server of the packed image. */
class Sticks implements Disposable {
  readonly #loops: readonly LoopDevice[];
  readonly #server: Bun.Server<undefined>;
  readonly env: Record<string, string>;
  /** The same as arguments: the image, a stick. */
  readonly args: readonly string[];

  constructor(folder: string) {
    this.#loops = ["one.img", "two.img"].map((name) => {
      fs.writeFileSync(join(folder, name), new Uint8Array(8 << 20));
      return new LoopDevice(join(folder, name));
    });
    const image = Bun.gzipSync(fs.readFileSync(join(folder, "disk.img")));
    this.#server = Bun.serve({ port: 0, fetch: () => new Response(image) });
    const [stick = ""] = this.#loops.map(({ path }) => path);
    const sticks = this.#loops.map(({ path }) => path).join(" ");
    const url = `${this.#server.url}disk.img.gz`;
    this.env = { STICK: stick, STICKS: sticks, IMAGE: url };
    this.args = [url, stick];
  }

  [Symbol.dispose](): void {
    for (const loop of this.#loops) loop[Symbol.dispose]();
    void this.#server.stop(true);
  }
}

function digestOf(path: string): number | bigint {
  return Bun.hash(fs.readFileSync(path));
}

test("a copy that is stopped and goes on is among them", () => {
  expect(blocks.filter(({ words }) => words.includes("resumes")).length).toBe(1);
});

for (const block of blocks) {
  const { page, line, words } = block;
  const reason = words.includes("no-run")
    ? "type-checked only"
    : words.includes("root")
      ? testing.imageDevice.unavailable()
      : undefined;
  testUnless(reason, `${page}:${line}`, async () => {
    const file = fileOf(block);
    const cwd = dirname(file);
    fs.writeFileSync(join(cwd, "disk.img"), pattern(imageBytes(block)));
    if (isSuite(block)) {
      const { end, stderr } = await run([process.execPath, "test"], { cwd, timeoutMs: 20_000 });
      expect(`${end} ${/^ *0 fail$/m.exec(stderr)?.[0] ?? stderr}`).toBe("0  0 fail");
      return;
    }
    using sticks = words.includes("root") ? new Sticks(cwd) : undefined;
    const options = { cwd, env: sticks?.env ?? {}, timeoutMs: 20_000 };
    const { end, stdout, stderr } = await run(
      [process.execPath, file, ...(sticks?.args ?? [])],
      options,
    );
    expect(`${end} ${stderr}`).toBe("0 ");
    if (!words.includes("resumes")) return;
    expect(stdout).toMatch(/^ABORT_ERR \d+$/m);
    const [source, target] = ["disk.img", "copy.img"].map((name) => digestOf(join(cwd, name)));
    expect(target).toBe(source);
  });
}
