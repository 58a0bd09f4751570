// A process that sandboxes itself: io_uring is forbidden after rings have been opened, or while they work.

import { describe, expect } from "bun:test";
import { indexPath, runCode } from "./support/child.ts";
import { noDeferred, noIoUring, noLinux, testUnless } from "./support/conditions.ts";
import { FORBID } from "./support/sandbox.ts";
import { TempDir } from "./support/temp.ts";

testUnless(
  noLinux ?? noIoUring,
  "a sandbox forbids io_uring after the start: the threads do the work",
  async () => {
    using dir = new TempDir();
    const child = await runCode(
      `${FORBID}
      const file = await File.open(args[0], { write: true, create: true });
      await file.writeAt(new Uint8Array(300 * 4096), 0);
      const { fallbacks } = file.ring.stats();
      forbid();
      const blocks = Array.from({ length: 300 }, (_, i) => (i % 2 ? new Uint8Array(4096) : allocBuffer(4096)).fill(i));
      await Promise.all(blocks.map((block, i) => file.writeAt(block, i * 4096)));
      await file.syncData();
      const back = new Uint8Array(300 * 4096);
      await file.readExactAt(back, 0);
      for (let i = 0; i < back.length; i++) if (back[i] !== ((i >> 12) & 255)) throw new Error("byte " + i);
      await file.close();
      const stats = file.ring.stats();
      console.log(stats.fallbacks > fallbacks, stats.failures, stats.inFlight);
      `,
      { args: [dir.file("data")], timeoutMs: 30_000 },
    );
    expect(child).toEqual({ end: 0, stdout: "true 0 0\n", stderr: "" });
  },
);

testUnless(
  noLinux ?? noIoUring,
  "a sandbox forbids io_uring while it works: the event loop goes on",
  async () => {
    using dir = new TempDir();
    // As much as stays in the kernel for a while; what its end needs is forbidden then.
    const child = await runCode(
      `${FORBID}
      const files = await Promise.all(Array.from({ length: 8 }, (_, i) =>
        File.open(args[0] + i, { write: true, create: true, dsync: true })));
      const parts = [0, 1, 2].map(() => allocBuffer(1 << 20));
      for (const file of files) for (const [i, part] of parts.entries()) file.writeAt(part, i << 20).catch(() => {});
      for (let i = 0; i < 5; i++) await undefined;
      forbid();
      let ticks = 0;
      await new Promise((resolve) => setInterval(() => { if (++ticks === 10) resolve(); }, 10));
      const other = await File.open(args[0] + 0);
      console.log(ticks, await other.readAt(new Uint8Array(10), 0) <= 10);
      process.exit(0);
      `,
      { args: [dir.file("data")], timeoutMs: 30_000 },
    );
    expect(child).toEqual({ end: 0, stdout: "10 true\n", stderr: "" });
  },
);

/** What is told of calls that were in the kernel when the sandbox closed. */
async function runForbidden(code: string): Promise<Record<string, unknown>> {
  using dir = new TempDir();
  // Writes through to the medium: still in the kernel when their submission returns.
  const child = await runCode(
    `${FORBID}
    const ring = (queueDepth) => Ring.open({ backend: "io_uring", queueDepth });
    const open = (name, options) => File.open(args[0] + name, { write: true, create: true, dsync: true, ...options });
    const told = (promise) => promise.then(() => "ok", (error) => error.code);
    const count = (outcomes) => Object.fromEntries(
      [...new Set(outcomes)].sort().map((outcome) => [outcome, outcomes.filter((other) => other === outcome).length]));
    const closeSandbox = async () => {
      for (let i = 0; i < 2; i++) await undefined;
      forbid();
    };
    ${code}
    `,
    { args: [dir.file("data")], timeoutMs: 30_000 },
  );
  expect(child).toMatchObject({ end: 0, stderr: "" });
  return JSON.parse(child.stdout) as Record<string, unknown>;
}

describe("a sandbox forbids io_uring while it works", () => {
  testUnless(noDeferred, "every call settles, and syncs know of it", async () => {
    const seen = await runForbidden(`
      const [first, second] = await Promise.all([open(0), open(1)]);
      await first.writeAt(new Uint8Array(64).fill(7), 0);
      const calls = [
        ...Array.from({ length: 60 }, (_, i) => second.writeAt(new Uint8Array(1 << 16), i << 16)),
        first.writevAt([allocBuffer(1 << 16), allocBuffer(4096)], 1 << 20),
        first.writeAt(allocBuffer(1 << 16), 0),
      ];
      const syncs = [first.syncAll(), second.syncData()];
      await closeSandbox();
      const begun = performance.now();
      const outcomes = await Promise.all(calls.map(told));
      const ms = performance.now() - begun;
      const synced = await Promise.all(syncs.map(told));
      const after = await first.readAt(allocBuffer(10), 0);
      // On a fast medium the first ones may be over before the last ones have been handed over.
      const error = await calls[59].catch((error) => error);
      await Promise.all([first.close(), second.close()]);
      const { inFlight } = Ring.default().stats();
      const { message, errno, syscall, offset, length } = error;
      console.log(JSON.stringify({ outcomes: count(outcomes), ms, synced, after, inFlight, error: { message, errno, syscall, offset, length } }));
    `);
    expect(seen).toMatchObject({
      synced: ["ERR_OUTCOME_UNKNOWN", "ERR_OUTCOME_UNKNOWN"],
      ...{ after: 10, inFlight: 0 },
      error: { errno: -1, syscall: "write", offset: 59 << 16, length: 1 << 16 },
    });
    expect((seen["error"] as { message: string }).message).toMatch(
      /does not say what became of it \(io_uring_enter: EPERM.*may still be carried out/,
    );
    expect(Object.keys(seen["outcomes"] as object)).toContain("ERR_OUTCOME_UNKNOWN");
    for (const outcome of Object.keys(seen["outcomes"] as object)) {
      expect(["ERR_OUTCOME_UNKNOWN", "ok"]).toContain(outcome);
    }
    expect(seen["ms"]).toBeWithin(900, 10_000);
  });

  testUnless(noDeferred, "what waits for room behind it goes to threads", async () => {
    const seen = await runForbidden(`
      await using small = ring(4);
      const file = await open(0, { ring: small });
      const calls = Array.from({ length: 40 }, (_, i) => file.writeAt(allocBuffer(4096), i * 4096));
      await closeSandbox();
      const outcomes = await Promise.all(calls.map(told));
      await file.close();
      console.log(JSON.stringify({ outcomes: count(outcomes), inFlight: small.stats().inFlight }));
    `);
    const { ERR_OUTCOME_UNKNOWN: unknown = 0, ok } = seen["outcomes"] as Record<string, number>;
    expect(unknown).toBeWithin(1, 5);
    expect(ok).toBe(40 - unknown);
    expect(seen["inFlight"]).toBe(0);
  });

  testUnless(noDeferred, "a pool lends nothing that the kernel may still use", async () => {
    const seen = await runForbidden(`
      const file = await open(0);
      const pool = new BufferPool({ size: 1 << 16, count: 4 });
      const leases = await Promise.all([1, 2, 3].map(() => pool.acquire()));
      const foreign = new Uint8Array(512);
      const calls = [
        file.writeAt(leases[0], 0),
        file.writevAt([leases[1], allocBuffer(4096)], 1 << 20),
        // By way of the ring's own memory: the kernel never saw this one.
        file.writevAt([leases[2].subarray(0, 512), foreign], 1 << 21),
      ];
      await closeSandbox();
      const outcomes = await Promise.all(calls.map(told));
      for (const lease of leases) lease[Symbol.dispose]();
      console.log(JSON.stringify({ outcomes: count(outcomes), available: pool.available }));
    `);
    expect(seen).toEqual({ outcomes: { ERR_OUTCOME_UNKNOWN: 3 }, available: 2 });
  });

  testUnless(noDeferred, "who waits for a buffer of which none comes back is told", async () => {
    const seen = await runForbidden(`
      const file = await open(0);
      const pool = new BufferPool({ size: 4096, count: 3 });
      const job = async (i) => {
        using buffer = await pool.acquire();
        await file.writeAt(buffer, i * 4096);
      };
      const jobs = [0, 1, 2, 3, 4, 5].map(job);
      await closeSandbox();
      const outcomes = await Promise.all(jobs.map(told));
      console.log(JSON.stringify({ outcomes: count(outcomes), later: await told(pool.acquire()), available: pool.available }));
    `);
    expect(seen).toEqual({
      outcomes: { ERR_OUTCOME_UNKNOWN: 6 },
      later: "ERR_OUTCOME_UNKNOWN",
      available: 0,
    });
  });

  testUnless(noDeferred, "copies and streams end, with what happened", async () => {
    const seen = await runForbidden(`
      const { copy } = await import(${JSON.stringify(indexPath)});
      const [source, target, other] = await Promise.all([open(0, { dsync: false }), open(1), open(2)]);
      for (let i = 0; i < 16; i++) await source.writeAt(allocBuffer(1 << 20).fill(i), i << 20);
      const copying = copy(source, target, { sparse: false, sync: false });
      const writer = other.writable({ concurrency: 2 }).getWriter();
      const streaming = (async () => {
        for (let i = 0; i < 20; i++) await writer.write(new Uint8Array(1 << 20).fill(i));
        await writer.close();
      })();
      const both = Promise.all([copying, streaming].map((promise) =>
        promise.then(() => "ok", (error) => error.code + " " + error.syscall)));
      while (target.ring.stats().inFlight < 2) await new Promise(setImmediate);
      forbid();
      console.log(JSON.stringify({ ends: await both }));
    `);
    const ends = seen["ends"] as string[];
    for (const end of ends) {
      expect(["ok", "ERR_OUTCOME_UNKNOWN write", "ERR_OUTCOME_UNKNOWN read"]).toContain(end);
    }
    expect(ends.some((end) => end !== "ok")).toBe(true);
  });

  testUnless(
    noDeferred,
    "all memory for foreign views is lost: the ring says so, and works without",
    async () => {
      const seen = await runForbidden(`
      await using file = await open(0);
      await file.writeAt(new Uint8Array(4096).fill(9), 0);
      const calls = Array.from({ length: 128 }, (_, i) => file.writeAt(new Uint8Array(1 << 16), i << 16));
      for (let i = 0; i < 2; i++) await undefined;
      // The second half goes with the next turn.
      await new Promise(setImmediate);
      forbid();
      const outcomes = count(await Promise.all(calls.map(told)));
      const lost = outcomes.ERR_OUTCOME_UNKNOWN === 128;
      const foreign = await told(file.readAt(new Uint8Array(4096), 0));
      const large = await told(file.readAt(new Uint8Array(2 << 20), 0));
      const parts = [allocBuffer(100), allocBuffer(3996)];
      await file.readvAt(parts, 0);
      await using other = await File.open(args[0] + 0);
      const { size } = await other.stat();
      console.log(JSON.stringify({ lost, outcomes, foreign, large, size: size > 4096 }));
    `);
      expect(seen["size"]).toBe(true);
      const expected = seen["lost"] === true ? "ENOMEM" : "ok";
      expect(seen).toMatchObject({ foreign: expected });
    },
  );
});
