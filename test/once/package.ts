// The packed tarball as a user meets it: added to an empty folder, run, bundled, compiled into one
// executable, in a worker; with wrong libraries; in another runtime. Runs once, not for each backend:
// `npm test -- package`.

import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import { dirname, join } from "node:path";
import { ABI_HASH } from "../../src/native/abi.gen.ts";
import { libraryFile } from "../../src/native/library.ts";
import { type ChildOptions, type ChildResult, run, runCode } from "../support/child.ts";
import { noRoot, noStrace, testUnless, unless, without } from "../support/conditions.ts";
import { brokenLinks } from "../support/links.ts";
import { TempDir } from "../support/temp.ts";

const root = dirname(dirname(import.meta.dir));
const bin = join(root, "node_modules", ".bin");
const BYTES_MAX = 1 << 20;
const SETUP_MS = 300_000;

const dir = new TempDir();
const app = join(dir.path, "app");
const installed = join(app, "node_modules", "bun-aio");
const platform = `${process.platform}-${process.arch}`;
const library = join(installed, "native", platform, libraryFile());
let tarball: string;

const USE = `
import { allocBuffer, BlockDevice, File } from "bun-aio";
import { simulatedDevice } from "bun-aio/testing";
const path = process.argv.at(-1) + ".data";
await using file = await File.open(path, { write: true, create: true });
const data = allocBuffer(8192).fill(7);
await file.writeAt(data, 4096);
await file.syncData();
const back = new Uint8Array(8192);
await file.readExactAt(back, 4096);
await using device = await BlockDevice.open(path, { direct: false, sectorSize: 512 });
if (device.geometry.size !== 12288) throw new Error("size " + device.geometry.size);
await using fake = await simulatedDevice({ size: 1 << 20, sectorSize: 512, seed: 1 });
fake.faults.add({ operation: "read", offset: 4096, length: 512, error: "EIO" });
const refused = await fake.readAt(new Uint8Array(512), 4096).catch((error) => error.code);
console.log(back.every((byte) => byte === 7), await file.size(), refused);
`;
const SUCCESS = "true 12288 EIO\n";

function must({ end, stdout, stderr }: ChildResult): string {
  expect(`${end} ${end === 0 ? "" : stderr}`).toBe("0 ");
  return stdout;
}

/** Runs in the folder of the application, with nothing of ours in the environment. */
function inApp(command: readonly string[], options: ChildOptions = {}): Promise<ChildResult> {
  const none = { BUN_AIO_LIBRARY: undefined, BUN_AIO_FAULTS: undefined };
  const environment = { ...none, BUN_INSTALL_CACHE_DIR: dir.file("cache"), ...options.env };
  return run(command, { cwd: app, timeoutMs: 120_000, ...options, env: environment });
}

/** Packs, unless BUN_AIO_TARBALL names what is to be released (scripts/release.ts). */
async function pack(): Promise<string> {
  const given = process.env["BUN_AIO_TARBALL"];
  if (given !== undefined && given !== "") return given;
  const command =
    Bun.which("npm") === null
      ? [process.execPath, "pm", "pack", "--destination", dir.path]
      : ["npm", "pack", "--pack-destination", dir.path];
  // The dev dependency's Bun first: prepack runs `bun`.
  const PATH = `${bin}:${process.env["PATH"] ?? ""}`;
  const said = await run(command, { cwd: root, env: { PATH }, timeoutMs: SETUP_MS });
  must(said);
  expect(`${said.stdout}${said.stderr}`).toContain("native library 6 of 6: ");
  const [name] = fs.readdirSync(dir.path).filter((file) => file.endsWith(".tgz"));
  if (name === undefined) throw new Error("no tarball");
  return join(dir.path, name);
}

beforeAll(async () => {
  tarball = await pack();
  fs.mkdirSync(app);
  fs.writeFileSync(join(app, "package.json"), '{ "private": true, "type": "module" }');
  must(await inApp([process.execPath, "add", tarball]));
  fs.writeFileSync(join(app, "use.ts"), USE);
}, SETUP_MS);

afterAll(() => dir[Symbol.dispose]());

test("the tarball is small and holds a library for every platform", async () => {
  expect(fs.statSync(tarball).size).toBeLessThan(BYTES_MAX);
  const native = fs.readdirSync(join(installed, "native"), { recursive: true, encoding: "utf8" });
  expect(native.filter((name) => name.includes("libbun-aio")).sort()).toEqual([
    "darwin-arm64/libbun-aio.dylib",
    "darwin-x64/libbun-aio.dylib",
    "freebsd-arm64/libbun-aio.so",
    "freebsd-x64/libbun-aio.so",
    "linux-arm64/libbun-aio.so",
    "linux-x64/libbun-aio.so",
  ]);
  expect(native.length).toBe(12);
  const manifest = JSON.parse(fs.readFileSync(join(installed, "package.json"), "utf8"));
  const hooks = ["preinstall", "install", "postinstall", "prepare"];
  expect(hooks.filter((name) => name in manifest.scripts)).toEqual([]);
  // The command's progress bar; the library itself imports nothing.
  expect(Object.keys(manifest.dependencies ?? {})).toEqual(["cli-progress"]);
});

/** Paths from the installed package. */
function files(extension: string): string[] {
  return fs
    .readdirSync(installed, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(extension) && !name.startsWith("node_modules"));
}

test("every link of every page leads somewhere in the tarball", () => {
  const pages = files(".md");
  for (const page of ["README.md", "CONTRIBUTING.md", "docs/command.md"])
    expect(pages).toContain(page);
  expect(brokenLinks(installed, pages)).toEqual([]);
});

test("a link that leads nowhere would be seen", () => {
  using folder = new TempDir();
  const links = "[a](b.md) [b](c.md) [c](#a-page) [d](#no) [e](b.md#no) ![f](f.svg) [g](../up.md)";
  folder.file(
    "a.md",
    `# A \`page\`!\n\n${links}\n\n[h]: h.md\n<img src="i.svg"> [j](https://j/)\n`,
  );
  folder.file("b.md", "# B\n");
  const seen = ["c.md", "#no", "b.md#no", "f.svg", "../up.md", "h.md", "i.svg"];
  expect(brokenLinks(folder.path, ["a.md"])).toEqual(seen.map((link) => `a.md: ${link}`));
});

test("the registry's page has an address for relative links, and for the reader", () => {
  const manifest = JSON.parse(fs.readFileSync(join(installed, "package.json"), "utf8"));
  const address = /^git\+(https:\/\/github\.com\/.+)\.git$/.exec(manifest.repository.url)?.[1];
  expect(manifest.homepage).toBe(`${address}#readme`);
  expect(manifest.bugs.url).toBe(`${address}/issues`);
});

test("declarations are of the entry points alone, and explain what they declare", () => {
  expect(files(".d.ts").sort()).toEqual([
    "dist/index.d.ts",
    "dist/shared.d.ts",
    "dist/testing/index.d.ts",
  ]);
  const text = files(".d.ts").map((name) => fs.readFileSync(join(installed, name), "utf8"));
  for (const page of ["system/device_info", "copy/copy_to_all", "testing/simulated_device"]) {
    const source = fs.readFileSync(join(root, "src", `${page}.ts`), "utf8");
    const comments = source.matchAll(/^ {2}\/\*\* .*\*\/$(?=\n {2}\w+\??:)/gm);
    for (const [comment] of comments) expect(text.join("")).toContain(comment);
  }
});

test("a script uses it", async () => {
  expect(must(await inApp([process.execPath, "use.ts", dir.file("plain")]))).toBe(SUCCESS);
});

test("the command comes with it", async () => {
  const command = join(app, "node_modules", ".bin", "bun-aio");
  const data = dir.file("copied-from", "x".repeat(5000));
  const copied = dir.file("copied");
  // As a shell starts it: by its first line, which asks for `bun`.
  const PATH = `${bin}:${process.env["PATH"] ?? ""}`;
  const start = (...args: string[]): Promise<ChildResult> =>
    inApp([command, ...args], { env: { PATH } });
  const about = JSON.parse(must(await start("info", "--json")));
  const { version } = JSON.parse(fs.readFileSync(join(installed, "package.json"), "utf8"));
  expect(JSON.stringify(about)).toContain(version);
  must(await start("copy", data, copied, "--verify", "--quiet"));
  expect(fs.readFileSync(copied, "utf8")).toBe("x".repeat(5000));
  expect((await start("verify", data, join(app, "package.json"), "--quiet")).end).toBe(4);
});

test("with --target=bun the library lies beside the bundle", async () => {
  must(await inApp([process.execPath, "build", "--target=bun", "use.ts", "--outdir", "out"]));
  const elsewhere = dir.file("moved");
  fs.renameSync(join(app, "out"), elsewhere);
  const bundle = [process.execPath, join(elsewhere, "use.js"), dir.file("bundled")];
  expect(must(await inApp(bundle, { cwd: "/" }))).toBe(SUCCESS);
});

test("--compile makes one executable that holds the library", async () => {
  const executable = dir.file("executable");
  const options = ["--compile", "--minify", "--outfile", executable];
  must(await inApp([process.execPath, "build", "use.ts", ...options]));
  const hidden = dir.file("hidden");
  fs.renameSync(installed, hidden);
  try {
    const outcome = await inApp([executable, dir.file("compiled")], { cwd: "/" });
    expect(must(outcome)).toBe(SUCCESS);
  } finally {
    fs.renameSync(hidden, installed);
  }
});

/** Why no folder can be mounted for one process alone. */
const noMounts =
  noRoot ?? unless(Bun.spawnSync(["unshare", "-m", "true"]).exitCode === 0, "unshare -m fails");

/** The executable of the test before, where temporary files go to `folder`, mounted with these options. */
function compiledIn(folder: string, options: string, under = ""): Promise<ChildResult> {
  const mount = `mount -t tmpfs -o size=8m none '${folder}' && mount -o 'remount,${options}' '${folder}'`;
  const use = `${under} '${dir.file("executable")}' '${dir.file("compiled")}'`;
  const env = { TMPDIR: folder, BUN_TMPDIR: undefined };
  return inApp(["unshare", "-m", "sh", "-c", `${mount} && ${use}`], { cwd: "/", env });
}

for (const options of ["noexec", "ro"]) {
  testUnless(
    noMounts,
    `an executable needs no file: the folder for temporary ones may be ${options}`,
    async () => {
      using folder = new TempDir();
      expect(must(await compiledIn(folder.path, options))).toBe(SUCCESS);
    },
  );
}

testUnless(
  noMounts ?? noStrace,
  "an executable that cannot have files in memory says what works; that works",
  async () => {
    using folder = new TempDir();
    const inject = "-e trace=memfd_create -e inject=memfd_create:error=EACCES";
    const under = `strace -f -o /dev/null ${inject}`;
    for (const options of ["noexec", "ro"]) {
      const { end, stderr } = await compiledIn(folder.path, options, under);
      expect(end).toBe(1);
      expect(stderr).toContain("ERR_BUN_AIO_LIBRARY");
      expect(stderr).toContain("Set TMPDIR to a directory that this user can write to");
    }
    expect(must(await compiledIn(folder.path, "exec", under))).toBe(SUCCESS);
  },
);

test("the workers of an executable share one copy in memory", async () => {
  const worker = `
    import { File } from "bun-aio";
    const file = await File.open("/dev/zero");
    postMessage(await file.readAt(new Uint8Array(3), 0));
  `;
  const main = `
    import fs from "node:fs";
    const ask = () => new Promise((resolve, reject) => {
      const worker = new Worker("./asked.ts");
      worker.onmessage = ({ data }) => { worker.terminate(); resolve(data); };
      worker.onerror = ({ message }) => reject(new Error(message));
    });
    console.log(await ask(), await ask(), await ask());
    const lines = process.platform === "linux" ? fs.readFileSync("/proc/self/maps", "utf8").split("\\n") : [];
    const inodes = lines.filter((line) => line.includes("memfd:bun-aio")).map((line) => line.split(/ +/)[4]);
    console.log(new Set(inodes).size);
  `;
  fs.writeFileSync(join(app, "asked.ts"), worker);
  fs.writeFileSync(join(app, "asks.ts"), main);
  const executable = dir.file("executable-workers");
  const options = ["--compile", "--outfile", executable];
  must(await inApp([process.execPath, "build", "asks.ts", "asked.ts", ...options]));
  const copies = process.platform === "linux" ? 1 : 0;
  expect(must(await inApp([executable]))).toBe(`3 3 3\n${copies}\n`);
});

test("a worker uses it", async () => {
  const code = `
    const worker = new Worker(new URL("./worker.ts", import.meta.url).href);
    worker.onmessage = (event) => { console.log(event.data); worker.terminate(); };
    worker.onerror = (event) => { console.log(event.message); process.exit(1); };
  `;
  fs.writeFileSync(join(app, "main.ts"), code);
  const worker = USE.replace("process.argv.at(-1)", JSON.stringify(dir.file("worker"))).replace(
    /console\.log\((.*)\);/,
    "postMessage([$1].join(' '));",
  );
  fs.writeFileSync(join(app, "worker.ts"), worker);
  expect(must(await inApp([process.execPath, "main.ts"]))).toBe(SUCCESS);
});

test("BUN_AIO_LIBRARY names another copy", async () => {
  const copy = dir.file("copy.so");
  fs.copyFileSync(library, copy);
  fs.renameSync(library, `${library}.hidden`);
  try {
    const env = { BUN_AIO_LIBRARY: copy };
    const outcome = await inApp([process.execPath, "use.ts", dir.file("named")], { env });
    expect(must(outcome)).toBe(SUCCESS);
  } finally {
    fs.renameSync(`${library}.hidden`, library);
  }
});

const noNode = without("node");

const TRY = `
import { Ring } from "bun-aio";
try { Ring.open(); console.log("opened"); }
catch (error) { console.log(error.code + "\\n" + error.message); }
`;

/** The error that a process with this library gets, after an asynchronous function got it too. */
async function failure(options: ChildOptions): Promise<string> {
  fs.writeFileSync(join(app, "try.ts"), TRY);
  const text = must(await inApp([process.execPath, "try.ts"], options));
  expect(text).toStartWith("ERR_BUN_AIO_LIBRARY\n");
  expect(text).toContain(`could not be loaded on ${platform}. Tried:\n  /`);
  return text;
}

const other = process.arch === "x64" ? "arm64" : "x64";

test.each([
  ["missing", () => dir.file("nothing.so"), "nothing.so: no such file"],
  ["no library", () => dir.file("text.so", "x".repeat(5000)), "text.so: is not a library"],
  ["empty", () => dir.file("empty.so", ""), "is not a library: it has 0 bytes"],
  [
    "truncated",
    () => dir.file("cut.so", fs.readFileSync(library).subarray(0, 20_000)),
    "cut.so: is truncated: 20000 of at least ",
  ],
  [
    "for another processor",
    () => join(installed, "native", `${process.platform}-${other}`, libraryFile()),
    `is for another processor: ${other}, this is ${process.arch}`,
  ],
])("a library that is %s is refused with the path and the remedy", async (_, make, says) => {
  const path = make();
  const text = await failure({ env: { BUN_AIO_LIBRARY: path } });
  expect(text).toContain(`  ${path}: `);
  expect(text).toContain(says);
  expect(text).toContain("BUN_AIO_LIBRARY is set: unset it");
});

test("an older library is refused by its hash", async () => {
  const [generated = ""] = files(".js")
    .map((name) => join(installed, name))
    .filter((name) => fs.readFileSync(name, "utf8").includes(ABI_HASH));
  const before = fs.readFileSync(generated, "utf8");
  fs.writeFileSync(generated, before.replaceAll(ABI_HASH, "0123456789abcdef"));
  try {
    const text = await failure({});
    expect(text).toContain(`${library}: made for another version of bun-aio (interface `);
    expect(text).toContain("this package needs 0123456789abcdef");
    expect(text).toContain("Reinstall bun-aio");
  } finally {
    fs.writeFileSync(generated, before);
  }
});

test("the working directory is never searched", async () => {
  fs.renameSync(library, `${library}.hidden`);
  fs.mkdirSync(join(app, "native", platform), { recursive: true });
  for (const place of ["", `native/${platform}/`]) {
    fs.copyFileSync(`${library}.hidden`, join(app, place, libraryFile()));
  }
  try {
    expect(await failure({})).toContain(`${library}: no such file`);
    const bare = await inApp([process.execPath, "try.ts"], {
      env: { BUN_AIO_LIBRARY: libraryFile() },
    });
    expect(must(bare)).toContain(`${libraryFile()}: not an absolute path`);
  } finally {
    fs.renameSync(`${library}.hidden`, library);
  }
});

testUnless(noNode, "other runtimes are told", async () => {
  fs.writeFileSync(
    join(app, "node.mjs"),
    'import("bun-aio").catch((e) => console.log(e.code, e.message));',
  );
  fs.writeFileSync(
    join(app, "node.cjs"),
    'try { require("bun-aio"); } catch (e) { console.log(e.code, e.message); }',
  );
  for (const name of ["node.mjs", "node.cjs"]) {
    expect(must(await inApp(["node", name]))).toStartWith(
      "ERR_BUN_AIO_RUNTIME bun-aio needs Bun 1.4.1",
    );
  }
});

test("on a system without a library the error says which there are", async () => {
  const code = `
    Object.defineProperty(process, "platform", { value: "win32" });
    const { Ring } = await import(${JSON.stringify(join(installed, "src", "index.ts"))});
    try { Ring.open(); } catch (error) { console.log(error.message); }
  `;
  const { stdout } = await runCode(code, { bare: true, env: { BUN_AIO_LIBRARY: undefined } });
  expect(stdout).toContain("bun-aio runs on Linux, macOS and FreeBSD, x64 and arm64");
});

test("publint and arethetypeswrong find nothing", async () => {
  const publint = await run([join(bin, "publint"), tarball, "--strict", "--level", "warning"], {
    cwd: root,
  });
  expect(publint.end === 0 ? "" : publint.stdout).toBe("");
  // Only Bun runs it: what `require` resolves to elsewhere has no types, it only throws.
  const options = ["--profile", "esm-only", "--ignore-rules", "false-esm"];
  const attw = await run([join(bin, "attw"), tarball, ...options], { cwd: root });
  expect(attw.end === 0 ? "" : attw.stdout).toBe("");
});

test("a strict program type-checks against the declarations", async () => {
  fs.writeFileSync(
    join(app, "typed.ts"),
    `${USE}
    // One class for both entry points.
    const same: BlockDevice = fake;
    void same;
    const size: number = await file.readAt(new Uint8Array(4), 0n, { timeout: 5 });
    // @ts-expect-error: no such option
    await File.open(path, { wriet: true });
    void size;
  `,
  );
  fs.writeFileSync(
    join(app, "tsconfig.json"),
    JSON.stringify({
      compilerOptions: {
        ...{
          target: "ESNext",
          module: "NodeNext",
          strict: true,
          skipLibCheck: false,
          noEmit: true,
        },
        ...{
          types: ["bun-types"],
          typeRoots: [join(root, "node_modules")],
          exactOptionalPropertyTypes: true,
        },
      },
      files: ["typed.ts"],
    }),
  );
  fs.symlinkSync(join(root, "node_modules", "bun-types"), join(app, "node_modules", "bun-types"));
  const outcome = await run([join(bin, "tsc"), "-p", "."], { cwd: app });
  expect(`${outcome.end} ${outcome.stdout}`).toBe("0 ");
});
