// Paths: the file that is current at the call, whatever its bytes.

import { expect, test } from "bun:test";
import fs from "node:fs";
import { pathToFileURL } from "node:url";
import { BlockDevice, File } from "../../src/index.ts";
import { overlayDevice } from "../../src/testing/index.ts";
import { runCode } from "../support/child.ts";
import { noLinux, testUnless } from "../support/conditions.ts";
import { descriptorsBelow } from "../support/descriptors.ts";
import { ioError, rejection, wrong } from "../support/expect.ts";
import { LIBC, PATH_BYTES_MAX } from "../support/libc.ts";
import { TempDir } from "../support/temp.ts";
import { indexPath } from "../support/under_test.ts";

/** "caf\xe9", in Latin-1: no UTF-8. */
const LATIN = Buffer.from("caf\u00e9", "latin1");
/** macOS refuses such names. */
const noBytes = process.platform === "darwin" ? "names are UTF-8 on macOS" : undefined;

function below(dir: TempDir, name: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${dir.path}/`), name]);
}

testUnless(noBytes, "bytes name a file that is not UTF-8", async () => {
  using dir = new TempDir();
  const path = below(dir, LATIN);
  {
    await using file = await File.open(path, { write: true, createNew: true });
    await file.writeAt(new Uint8Array(512).fill(7), 0);
    expect(file.path).toBe(`${dir.path}/caf\\xe9`);
  }
  expect(fs.readdirSync(dir.path, { encoding: "buffer" })).toEqual([LATIN]);
  await using same = await File.open(new Uint8Array(path));
  expect(await same.size()).toBe(512);
  await using device = await BlockDevice.open(path, { write: true });
  expect(device.geometry.size).toBe(512);
  await using overlay = await overlayDevice(path);
  expect(overlay.geometry.size).toBe(512);
  const error = await ioError(File.open(path, { write: true, createNew: true }), "EEXIST");
  expect(error.path).toBe(`${dir.path}/caf\\xe9`);
  expect(error.message).toContain("caf\\xe9");
});

testUnless(noBytes, "a URL is decoded byte by byte", async () => {
  using dir = new TempDir();
  fs.writeFileSync(below(dir, LATIN), "latin");
  const base = pathToFileURL(dir.path).href;
  const read = async (url: string): Promise<string> => {
    await using file = await File.open(new URL(url));
    const bytes = Buffer.alloc(99);
    return bytes.toString("latin1", 0, await file.readAt(bytes, 0));
  };
  expect(await read(`${base}/caf%E9`)).toBe("latin");
  dir.file("100%", "percent");
  dir.file("%zz \u00e9?#", "odd");
  expect(await read(`${base}/100%`)).toBe("percent");
  expect(await read(pathToFileURL(dir.file("%zz \u00e9?#")).href)).toBe("odd");
  const error = await ioError(File.open(new URL(`${base}/%E9%41`)), "ENOENT");
  expect(error.path).toBe(`${dir.path}/\\xe9A`);
});

test("URLs that name no file of this machine are refused", async () => {
  for (const [url, code] of [
    ["https://example.com/a", "ERR_INVALID_URL_SCHEME"],
    ["file://elsewhere/a", "ERR_INVALID_FILE_URL_HOST"],
    ["file:///a%2Fb", "ERR_INVALID_FILE_URL_PATH"],
    ["file:///a%00b", "ERR_INVALID_ARG_VALUE"],
  ] as const) {
    for (const open of [File.open, BlockDevice.open]) {
      const error = await rejection(open(new URL(url)));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.code).toBe(code);
      expect(error.message).toContain('"path" must ');
    }
  }
});

test("bytes are copied at the call, and what is no path is refused", async () => {
  using dir = new TempDir();
  const bytes = Buffer.from(dir.file("first", "first"));
  dir.file("other", "other!");
  const opening = File.open(bytes);
  bytes.set(Buffer.from("other"), bytes.byteLength - 5);
  await using file = await opening;
  expect(file.path).toBe(dir.file("first"));
  expect(await file.size()).toBe(5);
  const nul = await rejection(File.open(Buffer.from("a\0b")));
  expect(nul.code).toBe("ERR_INVALID_ARG_VALUE");
  expect(nul.message).toContain('"path" must not contain NUL characters');
  const gone = new Uint8Array(4);
  gone.buffer.transfer();
  expect((await rejection(File.open(gone))).message).toContain('"path" is detached');
  const longest = new Uint8Array(PATH_BYTES_MAX).fill(0x61);
  const long = await ioError(File.open(longest), "ENAMETOOLONG");
  expect(long.message).toContain(`${PATH_BYTES_MAX} bytes, more than ${PATH_BYTES_MAX - 1}`);
  const half = await rejection(File.open("a\ud800"));
  expect(half.message).toContain("a lone surrogate");
  for (const path of [new DataView(new ArrayBuffer(1)), new Uint16Array(2)]) {
    expect((await rejection(File.open(wrong(path)))).code).toBe("ERR_INVALID_ARG_TYPE");
  }
});

test("an empty path names nothing, and nothing is advised", async () => {
  for (const path of ["", new Uint8Array(0)]) {
    for (const open of [File.open, BlockDevice.open]) {
      const error = await ioError(open(path, { write: true, create: true }), "ENOENT");
      expect(error.message).toBe("ENOENT: the path is empty, open ''");
    }
  }
});

// The directory of the call -----------------------------------------------------------------------------

test("a relative path begins at the directory of the call", async () => {
  using dir = new TempDir();
  const { end, stdout, stderr } = await runCode(
    `
    const { BlockDevice } = await import(${JSON.stringify(indexPath)});
    for (const name of ["a", "b"]) fs.mkdirSync(name);
    const options = { write: true, create: true };
    const calls = [];
    process.chdir("a");
    calls.push(File.open("x", options), BlockDevice.open("y", options), File.open("./z/../w", options));
    process.chdir("../b");
    calls.push(File.open("x", { ...options, createNew: true }), File.open("../top", options));
    process.chdir("..");
    const settled = await Promise.allSettled(calls);
    const files = settled.map(({ value, reason }) => value?.path ?? reason.code);
    for (const { value } of settled) await value?.close();
    console.log(JSON.stringify(files));
    const made = fs.readdirSync(".", { recursive: true }).sort();
    console.log(JSON.stringify(made));
    `,
    { cwd: dir.path },
  );
  expect(stderr).toBe("");
  expect(end).toBe(0);
  const [files, made] = stdout.trim().split("\n");
  expect(JSON.parse(files ?? "")).toEqual(["x", "y", "ENOENT", "x", "../top"]);
  expect(JSON.parse(made ?? "")).toEqual(["a", "a/x", "a/y", "b", "b/x", "top"]);
});

testUnless(noLinux, "whatever becomes of its name: renamed, removed, not UTF-8", async () => {
  using dir = new TempDir();
  fs.mkdirSync(below(dir, LATIN));
  const { end, stdout, stderr } = await runCode(
    `
    const told = (promise) => promise.then(async (file) => {
      await file.close();
      return "ok";
    }, (error) => error.code + " " + error.hint);
    const options = { write: true, create: true };
    const top = process.cwd();
    fs.mkdirSync("old");
    process.chdir("old");
    const renamed = File.open("x", options);
    fs.renameSync(top + "/old", top + "/new");
    console.log(await told(renamed), fs.existsSync(top + "/new/x"));
    fs.mkdirSync(top + "/gone");
    process.chdir(top + "/gone");
    fs.rmdirSync(top + "/gone");
    console.log(await told(File.open("x", options)), await told(File.open("../top", options)));
    process.chdir(top);
    // Bun cannot enter such a folder by its name.
    const { dlopen } = await import("bun:ffi");
    const { symbols } = dlopen("${LIBC}", { chdir: { args: ["ptr"], returns: "i32" } });
    symbols.chdir(Buffer.concat([Buffer.from(top + "/caf"), Buffer.from([0xe9, 0])]));
    const latin = File.open("x", options);
    process.chdir(top);
    console.log(await told(latin), fs.readdirSync(Buffer.concat([Buffer.from("caf"), Buffer.from([0xe9])])).join());
    `,
    { cwd: dir.path },
  );
  expect(stderr).toBe("");
  expect(end).toBe(0);
  expect(stdout.trim().split("\n")).toEqual(["ok true", "ENOENT undefined ok", "ok x"]);
});

testUnless(
  noLinux,
  "relative paths leave no descriptor behind, and take one at a time",
  async () => {
    using dir = new TempDir();
    const path = dir.file("x", "abc");
    const { end, stdout, stderr } = await runCode(
      `
    const before = countFds();
    const opening = Array.from({ length: 200 }, (_, i) => File.open(i % 2 === 0 ? "x" : "missing"));
    const during = countFds();
    const settled = await Promise.allSettled(opening);
    for (const { value } of settled) await value?.close();
    await File.open("x", { write: 1 }).catch(() => {});
    await File.open("x", { signal: AbortSignal.abort() }).catch(() => {});
    const ring = Ring.open();
    await ring.close();
    await File.open("x", { ring }).catch(() => {});
    const links = fs.readdirSync("/proc/self/fd").map((fd) => {
      try {
        return fs.readlinkSync("/proc/self/fd/" + fd);
      } catch {
        return "";
      }
    });
    console.log(during - before < 20, links.filter((link) => link.startsWith(process.cwd())).length);
    `,
      { cwd: dir.path },
    );
    expect(stderr).toBe("");
    expect(end).toBe(0);
    expect(stdout.trim()).toBe("true 0");
    expect(descriptorsBelow(path)).toBe(0);
  },
);

testUnless(
  noLinux,
  "without a descriptor left, the error is of the path, and says what to do",
  async () => {
    const { stdout, stderr } = await runCode(`
    const isEventfd = (fd) => {
      try { return fs.readlinkSync("/proc/self/fd/" + fd).includes("eventfd"); } catch { return false; }
    };
    const eventfds = () => fs.readdirSync("/proc/self/fd").filter(isEventfd).length;
    const before = eventfds();
    await File.open("/dev/null").then((file) => file.close());
    // The ring soon gives back the one that the event loop watches.
    while (eventfds() > before + 1) await new Promise(setImmediate);
    try { for (;;) fs.openSync("/dev/null", "r"); } catch {}
    for (const path of ["relative", "/dev/null"]) {
      await File.open(path).catch(({ code, path, hint }) => console.log(code, path, hint));
    }
  `);
    expect([stderr, stdout]).toEqual([
      "",
      ["relative", "/dev/null"]
        .map(
          (path) =>
            `EMFILE ${path} Too many open files: close some, or raise the limit (ulimit -n)\n`,
        )
        .join(""),
    ]);
  },
);

testUnless(noLinux, "a worker that is terminated leaves no directory open", async () => {
  using dir = new TempDir();
  const worker = dir.file(
    "worker.ts",
    `
    import { File } from ${JSON.stringify(indexPath)};
    const round = () => Promise.allSettled(Array.from({ length: 50 }, () => File.open("missing")));
    postMessage("opening");
    while (true) await round();
    `,
  );
  const { end, stdout, stderr } = await runCode(
    `
    const held = () => fs.readdirSync("/proc/self/fd").filter((fd) => {
      try {
        return fs.readlinkSync("/proc/self/fd/" + fd) === process.cwd();
      } catch {
        return false;
      }
    }).length;
    let busy = 0;
    for (let i = 0; i < 10; i++) {
      const worker = new Worker(args[0]);
      await new Promise((resolve) => (worker.onmessage = resolve));
      for (let turns = 0; held() === 0 && turns < 1e4; turns++) await new Promise(setImmediate);
      busy += held();
      const closed = new Promise((resolve) => worker.addEventListener("close", resolve));
      worker.terminate();
      await closed;
    }
    // Array buffers of a worker that has ended are finalised a little later.
    for (const until = Date.now() + 10_000; held() > 0 && Date.now() < until; ) await Bun.sleep(1);
    console.log(busy > 0, held());
    `,
    { cwd: dir.path, args: [worker] },
  );
  expect(stderr).toBe("");
  expect(end).toBe(0);
  expect(stdout.trim()).toBe("true 0");
});
