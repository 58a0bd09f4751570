// Promise 3 when a thread or process ends with operations in flight: no crash, no corruption, no hang, no leaked
// descriptor. Each case in a process of its own.

import { expect } from "bun:test";
import fs from "node:fs";
import { join } from "node:path";
import { type ChildResult, runCode } from "../support/child.ts";
import { backend, noLinux, testUnless, times } from "../support/conditions.ts";
import { blockingReadMissing, endlessPath } from "../support/endless.ts";
import { TempDir } from "../support/temp.ts";

const worker = join(import.meta.dir, "..", "support", "teardown_worker.ts");
const orderly = join(import.meta.dir, "..", "support", "orderly_worker.ts");
const MARK = 0x5a;

function files(dir: TempDir): { source: string; target: string } {
  const source = dir.file("source", new Uint8Array(2 << 20).fill(MARK));
  const target = dir.file("target", new Uint8Array(2 << 20).fill(MARK));
  return { source, target };
}

/** Terminates workers one after the other; prints descriptors of the rings and files left. */
const MAIN = `
const [source, target, endless, count] = args;
const links = () => fs.readdirSync("/proc/self/fd").map((fd) => {
  try { return fs.readlinkSync("/proc/self/fd/" + fd); } catch { return ""; }
});
const ours = () => links().filter((link) => /io_uring|bun-aio-test|endless/.test(link)).length;
const canaries = Array.from({ length: 64 }, () => [allocBuffer(65536).fill(0xc3), new Uint8Array(65536).fill(0xc3)]).flat();
let before = 0;
let events = 0;
for (let i = 0; i < Number(count); i++) {
  const worker = new Worker(args[4]);
  const order = i % 2 === 0 ? "buffers first" : "ring first";
  const closed = new Promise((resolve) => worker.addEventListener("close", resolve));
  await new Promise((resolve, reject) => {
    worker.onmessage = resolve;
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage({ source, target, endless: endless === "" ? undefined : endless, order });
  });
  worker.terminate();
  await closed;
  // Memory given back too early would be handed out again here.
  const fresh = Array.from({ length: 16 }, () => new Uint8Array(65536));
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  if (fresh.some((bytes) => bytes.some((byte) => byte !== 0))) throw new Error("memory of somebody else was written");
  if (i === 4) { before = ours(); events = links().length; }
}
if (canaries.some((bytes) => bytes.some((byte) => byte !== 0xc3))) throw new Error("a canary was overwritten");
console.log(JSON.stringify({ ours: ours(), grown: links().length - events }));
`;

/** The worker opens files and drops them: where it lives long enough, the collector finds them. */
function withoutWarnings(child: ChildResult): ChildResult {
  const warning = /^.*(\[BUN_AIO_UNCLOSED_FILE\]|--trace-warnings).*\n/gm;
  return { ...child, stderr: child.stderr.replaceAll(warning, "") };
}

testUnless(
  noLinux,
  "promise 3: a worker is terminated in flight, 50 times",
  async () => {
    using dir = new TempDir();
    const { source, target } = files(dir);
    const child = await runCode(MAIN, {
      args: [source, target, "", String(times(50)), worker],
      timeoutMs: 150_000,
    });
    expect(withoutWarnings(child)).toMatchObject({ end: 0, stderr: "" });
    const { ours, grown } = JSON.parse(child.stdout);
    expect(ours).toBe(0);
    expect(grown).toBeLessThanOrEqual(2);
    for (const path of [source, target]) {
      expect(fs.readFileSync(path).every((byte) => byte === MARK)).toBe(true);
    }
  },
  160_000,
);

testUnless(
  blockingReadMissing,
  "promise 3: a worker is terminated with reads that never complete",
  async () => {
    using dir = new TempDir();
    const { source, target } = files(dir);
    const child = await runCode(MAIN, {
      args: [source, target, endlessPath(), "4", worker],
      timeoutMs: 100_000,
    });
    expect(withoutWarnings(child)).toMatchObject({ end: 0, stderr: "" });
    // io_uring cancels; a thread inside a system call is waited for 1 s and then left behind, with the
    // descriptor that it uses: closed, its number would be another file's.
    expect(JSON.parse(child.stdout).ours).toBe(backend === "io_uring" ? 0 : 4);
  },
  120_000,
);

testUnless(
  noLinux,
  "a worker that is told to closes its files and ring in flight, and ends by itself, 10 times",
  async () => {
    using dir = new TempDir();
    const { source } = files(dir);
    const child = await runCode(
      `
      const links = () => fs.readdirSync("/proc/self/fd").map((fd) => {
        try { return fs.readlinkSync("/proc/self/fd/" + fd); } catch { return ""; }
      });
      const ours = () => links().filter((link) => /io_uring|bun-aio-test/.test(link)).length;
      const done = new Set();
      for (let i = 0; i < Number(args[1]); i++) {
        const worker = new Worker(args[2]);
        const closed = new Promise((resolve) => worker.addEventListener("close", resolve));
        const answer = (request) => new Promise((resolve, reject) => {
          worker.onmessage = (event) => resolve(event.data);
          worker.onerror = (event) => reject(new Error(event.message));
          worker.postMessage(request);
        });
        await answer(args[0]);
        done.add(await answer("end"));
        await closed;
      }
      console.log(JSON.stringify({ done: [...done], ours: ours() }));
      `,
      { args: [source, String(times(10)), orderly], timeoutMs: 100_000 },
    );
    expect(child).toMatchObject({ end: 0, stderr: "" });
    expect(JSON.parse(child.stdout)).toEqual({ done: [64], ours: 0 });
  },
  120_000,
);

/** Starts operations of every kind, then ends in one of several ways. */
const IN_FLIGHT = `
const [path, how, endless] = args;
const file = await File.open(path, { write: true });
const own = allocBuffer(1 << 20);
const foreign = new Uint8Array(1 << 20);
if (endless !== "") (await File.open(endless)).readAt(own, 0).catch(() => {});
const start = () => {
  for (let i = 0; i < 50; i++) {
    file.readAt(own, 0).catch(() => {});
    file.writeAt(foreign.fill(${MARK}), 0).catch(() => {});
    file.readvAt([own.subarray(0, 10), own.subarray(20)], 5).catch(() => {});
    file.syncAll().catch(() => {});
    File.open(path).catch(() => {});
  }
};
start();
if (how === "at once") process.exit(7);
if (how === "after the flush") setImmediate(() => process.exit(7));
if (how === "in a reaction") file.readAt(own, 0).finally(() => process.exit(7));
if (how === "by an exception") setImmediate(() => { throw new Error("on purpose"); });
if (how === "by a signal") setImmediate(() => process.kill(process.pid, "SIGTERM"));
setInterval(() => {}, 1000);
`;

const ENDINGS: Record<string, number | string> = {
  "at once": 7,
  "after the flush": 7,
  "in a reaction": 7,
  "by an exception": 1,
  "by a signal": "SIGTERM",
};

testUnless(
  undefined,
  "promise 3: the process ends in flight, 50 times",
  async () => {
    using dir = new TempDir();
    const { source } = files(dir);
    for (let i = 0; i < times(50) / 5; i++) {
      for (const [how, end] of Object.entries(ENDINGS)) {
        const child = await runCode(IN_FLIGHT, { args: [source, how, ""] });
        expect(`${how}: ${child.end}`).toBe(`${how}: ${end}`);
        expect(child.stderr).not.toContain("bun-aio: internal error");
      }
    }
    expect(fs.readFileSync(source).every((byte) => byte === MARK)).toBe(true);
  },
  160_000,
);

testUnless(
  blockingReadMissing,
  "promise 3: the process ends with a read that never completes",
  async () => {
    using dir = new TempDir();
    const { source } = files(dir);
    for (const [how, end] of Object.entries(ENDINGS)) {
      const child = await runCode(IN_FLIGHT, {
        args: [source, how, endlessPath()],
      });
      expect(`${how}: ${child.end}`).toBe(`${how}: ${end}`);
    }
  },
  120_000,
);

testUnless(
  noLinux,
  "rings that are closed, dropped or dropped with files leave nothing behind",
  async () => {
    using dir = new TempDir();
    const child = await runCode(
      `
      const use = async (how) => {
        const ring = Ring.open({ queueDepth: 8 });
        const file = await File.open(args[0], { ring });
        await file.readAt(new Uint8Array(10), 0);
        if (how === "closed") { await file.close(); await ring.close(); }
        if (how === "ring closed first") { await ring.close(); await file.close(); }
        if (how === "dropped") await file.close();
      };
      const collect = async () => {
        for (let i = 0; i < 20; i++) {
          Bun.gc(true);
          // Finalisers run when the collector has time.
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      };
      process.on("warning", () => {});
      const hows = ["closed", "ring closed first", "dropped", "dropped with a file"];
      for (const how of hows) await use(how);
      await collect();
      const before = countFds();
      for (let i = 0; i < 50; i++) for (const how of hows) await use(how);
      await collect();
      console.log(countFds() - before);
      `,
      { args: [dir.file("source", "abcdef")], timeoutMs: 100_000 },
    );
    expect(child.end).toBe(0);
    // A conservative collector may keep the last few.
    expect(Number(child.stdout)).toBeLessThan(20);
  },
  120_000,
);
