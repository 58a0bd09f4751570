// A process that sandboxes itself: io_uring is forbidden after rings were opened, or while they work.

import { describe, expect } from "bun:test";
import { runCode } from "../support/child.ts";
import { noDeferred, noFaultFree, noIoUring, noLinux, testUnless } from "../support/conditions.ts";
import { FORBID } from "../support/sandbox.ts";
import { TempDir } from "../support/temp.ts";
import { indexPath } from "../support/under_test.ts";

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
      // Handed over by then: at the end of this turn, or first of all in the next.
      await new Promise((resolve) => setImmediate(resolve));
      forbid();
      for (let tick = 0; tick < 10; tick++) await Bun.sleep(10);
      const other = await File.open(args[0] + 0);
      console.log(await other.readAt(new Uint8Array(10), 0) <= 10, files.length);
      process.exit(0);
      `,
      // On a busy machine the ring is lost by then, and the next default one is of threads.
      { args: [dir.file("data")], timeoutMs: 30_000, env: { BUN_AIO_BACKEND: undefined } },
    );
    expect(child).toEqual({ end: 0, stdout: "true 8\n", stderr: "" });
  },
);

/** Runs in which everything was over when the sandbox closed, for want of a processor. */
const RUNS_IN_VAIN_MAX = 10;

/**
 * What `code` prints of calls that were in the kernel when the sandbox closed. Runs until `wereThere` says
 * that they were: on a busy machine they may be over before.
 */
async function runForbidden<Seen>(code: string, wereThere: (seen: Seen) => boolean): Promise<Seen> {
  for (let run = 0; run < RUNS_IN_VAIN_MAX; run++) {
    const seen = await runOnce<Seen>(code);
    if (wereThere(seen)) return seen;
  }
  throw new Error(`${RUNS_IN_VAIN_MAX} runs, and what should be lost was not in the kernel`);
}

async function runOnce<Seen>(code: string): Promise<Seen> {
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
      // The calls are handed over by then: at the end of this turn, or first of all in the next.
      await new Promise((resolve) => setImmediate(resolve));
      forbid();
    };
    ${code}
    `,
    // A backend that is forced may not be refused: the next default ring is of threads.
    { args: [dir.file("data")], timeoutMs: 30_000, env: { BUN_AIO_BACKEND: undefined } },
  );
  expect(child).toMatchObject({ end: 0, stderr: "" });
  return JSON.parse(child.stdout) as Seen;
}

const UNKNOWN = "ERR_OUTCOME_UNKNOWN";
/** Each run waits for a second. */
function testSilence(name: string, run: () => Promise<void>): void {
  testUnless(noDeferred ?? noFaultFree, name, run, RUNS_IN_VAIN_MAX * 6000);
}

type Counts = Readonly<Record<string, number>>;

describe("a sandbox forbids io_uring while it works", () => {
  testSilence("every call settles, and syncs know of it", async () => {
    interface Seen {
      readonly outcomes: Counts;
      readonly synced: string[];
      readonly error: { readonly message: string };
      readonly ms: number;
    }
    const seen = await runForbidden<Seen>(
      `
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
      const error = await calls[59].catch((error) => error);
      const { inFlight } = first.ring.stats();
      const { message, errno, syscall, offset, length } = error;
      console.log(JSON.stringify({
        outcomes: count(outcomes), ms, synced, inFlight, error: { message, errno, syscall, offset, length } }));
      `,
      ({ outcomes }) => outcomes[UNKNOWN] === 62,
    );
    expect(seen).toMatchObject({
      ...{ synced: [UNKNOWN, UNKNOWN], inFlight: 0 },
      error: { errno: -1, syscall: "write", offset: 59 << 16, length: 1 << 16 },
    });
    expect(seen.error.message).toMatch(
      /no longer reports how the operation ended \(io_uring_enter: EPERM.*may still be carried out/,
    );
    // The kernel has a second to say it.
    expect(seen.ms).toBeGreaterThanOrEqual(900);
  });

  testSilence("what waits for room behind it was not done, and says so", async () => {
    const seen = await runForbidden<{
      readonly ends: Counts;
      readonly opened: string;
      readonly closed: string;
      readonly isClosed: boolean;
      readonly inFlight: number;
    }>(
      `
      await using small = ring(4);
      const { existsSync } = await import("node:fs");
      const [file, idle] = await Promise.all([open(0, { ring: small }), open(1, { ring: small })]);
      // More than the native side holds.
      const data = allocBuffer(1 << 20);
      const calls = Array.from({ length: 300 }, (_, i) => file.writeAt(data, i << 20));
      const { fd } = idle;
      const [opening, closing] = [open(2, { ring: small }), idle.close()];
      await closeSandbox();
      const ends = (await Promise.allSettled(calls)).map(({ reason }) => reason?.code !== "${UNKNOWN}" ? "another" :
        reason.message.includes("before the operation reached the kernel") ? reason.transferred : reason.transferred + " unknown");
      const [opened, closed] = await Promise.all([opening, closing].map(told));
      const isClosed = !existsSync("/proc/self/fd/" + fd);
      await file.close();
      console.log(JSON.stringify({ ends: count(ends), opened, closed, isClosed, inFlight: small.stats().inFlight }));
      `,
      ({ ends }) => ends["0 unknown"] === 4 && ends["another"] === undefined,
    );
    expect(seen).toEqual({
      ends: { "0 unknown": 4, 0: 296 },
      ...{ opened: UNKNOWN, closed: "ok", isClosed: true, inFlight: 0 },
    });
  });

  testSilence("a pool lends nothing that the kernel may still use", async () => {
    const { available } = await runForbidden<{ outcomes: Counts; available: number }>(
      `
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
      await file.close();
      `,
      ({ outcomes }) => outcomes[UNKNOWN] === 3,
    );
    expect(available).toBe(2);
  });

  testSilence("who waits for a buffer of which none comes back is told", async () => {
    const { outcomes, later, available } = await runForbidden<{
      lost: number;
      outcomes: Counts;
      later: string;
      available: number;
    }>(
      `
      const file = await open(0);
      const pool = new BufferPool({ size: 4096, count: 3 });
      let lost = 0;
      const job = async (i) => {
        using buffer = await pool.acquire();
        await file.writeAt(buffer, i * 4096).catch((error) => {
          lost++;
          throw error;
        });
      };
      const jobs = [0, 1, 2, 3, 4, 5].map(job);
      await closeSandbox();
      const outcomes = count(await Promise.all(jobs.map(told)));
      // With one buffer left there is no end to wait for.
      const later = lost === 3 ? await told(pool.acquire()) : "";
      console.log(JSON.stringify({ lost, outcomes, later, available: pool.available }));
      await file.close();
      `,
      ({ lost }) => lost === 3,
    );
    expect(outcomes).toEqual({ [UNKNOWN]: 6 });
    expect(later).toBe(UNKNOWN);
    expect(available).toBe(0);
  });

  testSilence("a copy ends, with what happened", async () => {
    const { end } = await runForbidden<{ end: string }>(
      `
      const { copy } = await import(${JSON.stringify(indexPath)});
      const [source, target] = await Promise.all([open(0, { dsync: false }), open(1)]);
      for (let i = 0; i < 16; i++) await source.writeAt(allocBuffer(1 << 20).fill(i), i << 20);
      const copying = copy(source, target, { sparse: false, sync: false });
      const ended = copying.then(() => "ok", (error) => error.code + " " + error.syscall);
      const { writes } = target.ring.stats();
      while (target.ring.stats().writes < writes + 2) await new Promise(setImmediate);
      forbid();
      const end = await ended;
      await Promise.all([source.close(), target.close()]);
      console.log(JSON.stringify({ end }));
      `,
      ({ end }) => end !== "ok",
    );
    expect([`${UNKNOWN} write`, `${UNKNOWN} read`]).toContain(end);
  });

  testSilence("a stream ends, with what happened", async () => {
    const { end } = await runForbidden<{ end: string }>(
      `
      const file = await open(0);
      const writer = file.writable({ concurrency: 2 }).getWriter();
      const write = async () => {
        for (let i = 0; i < 20; i++) await writer.write(new Uint8Array(1 << 20).fill(i));
        await writer.close();
      };
      const ended = write().then(() => "ok", (error) => error.code + " " + error.syscall);
      while (file.ring.stats().writes < 2) await new Promise(setImmediate);
      forbid();
      const end = await ended;
      await file.close();
      console.log(JSON.stringify({ end }));
      `,
      ({ end }) => end !== "ok",
    );
    expect(end).toBe(`${UNKNOWN} write`);
  });

  testSilence("nobody writes over sectors that may still be written", async () => {
    const { others } = await runForbidden<{ outcome: string; others: string[] }>(
      `
      const options = { direct: true, unalignedWrites: "rmw" };
      const file = await open(0, options);
      await file.writeAt(allocBuffer(1 << 16), 0);
      const { reads } = file.ring.stats();
      const writing = told(file.writeAt(new Uint8Array(10), 8200));
      while (file.ring.stats().reads === reads) await new Promise(setImmediate);
      await new Promise(setImmediate);
      forbid();
      const outcome = await writing;
      const again = await open(0, options);
      const neighbour = await File.open(args[0] + 0, { write: true, direct: true });
      const others = await Promise.all([
        told(file.writeAt(new Uint8Array(10), 8300)),
        told(again.writeAt(new Uint8Array(10), 8400)),
        told(neighbour.writeAt(allocBuffer(4096), 8192)),
        told(neighbour.writeAt(allocBuffer(4096), 16_384)),
        told(neighbour.readAt(allocBuffer(4096), 8192)),
      ]);
      await Promise.all([file, again, neighbour].map((one) => one.close()));
      const later = await open(0, options);
      others.push(await told(later.writeAt(new Uint8Array(10), 8500)));
      await later.close();
      console.log(JSON.stringify({ outcome, others }));
      `,
      ({ outcome }) => outcome === UNKNOWN,
    );
    expect(others).toEqual(["ERR_RING_CLOSED", UNKNOWN, UNKNOWN, "ok", "ok", UNKNOWN]);
  });

  testSilence("files of a lost ring can only be closed, and are opened anew", async () => {
    const seen = await runForbidden<{
      readonly outcomes: Counts;
      readonly later: string[];
      readonly message: string;
      readonly same: boolean;
      readonly left: string[];
      readonly text: string;
    }>(
      `
      const { readdirSync, readlinkSync } = await import("node:fs");
      const lost = ring(128);
      const file = await open(0, { ring: lost });
      const idle = await File.open(args[0] + 0, { ring: lost });
      const writer = idle.readable().getReader();
      const calls = Array.from({ length: 20 }, (_, i) => file.writeAt(new Uint8Array(1 << 16), i << 16));
      await closeSandbox();
      const outcomes = count(await Promise.all(calls.map(told)));
      const error = await idle.readAt(new Uint8Array(10), 0).catch((error) => error);
      const batch = await lost.batch([{ kind: "read", file: idle, data: new Uint8Array(10), offset: 0 }]);
      const later = [
        error.code, batch[0].reason?.code,
        ...await Promise.all([
          writer.read(), idle.stat(), idle.syncAll(), File.open(args[0] + 0, { ring: lost }),
        ].map(told)),
        await told(lost.close()), await told(idle.close()), await told(file.close()), await told(file.close()),
      ];
      // Those of others are the event loop's and the kernel's.
      const left = readdirSync("/proc/self/fd").flatMap((fd) => {
        try {
          return readlinkSync("/proc/self/fd/" + fd);
        } catch {
          return [];
        }
      }).filter((path) => path.startsWith(args[0]));
      await using again = await open(0);
      await again.writeAt(new TextEncoder().encode("again"), 0);
      const bytes = new Uint8Array(5);
      await again.readExactAt(bytes, 0);
      console.log(JSON.stringify({
        outcomes, later, message: error.message, left, same: again.ring === lost, text: new TextDecoder().decode(bytes),
      }));
      `,
      ({ outcomes }) => outcomes[UNKNOWN] === 20,
    );
    const closed = Array.from({ length: 6 }, () => "ERR_RING_CLOSED");
    expect(seen).toMatchObject({
      later: [...closed, "ok", "ok", "ok", "ok"],
      ...{ left: [], same: false, text: "again" },
    });
    expect(seen.message).toMatch(/the ring is lost.*io_uring_enter: EPERM.*Open the file again/);
  });

  testSilence("a thread that ends with a lost ring takes nothing along", async () => {
    const seen = await runForbidden<{ readonly outcomes: Counts }>(
      `
      const { writeFileSync } = await import("node:fs");
      writeFileSync(args[0] + ".ts", "const DATA = " + JSON.stringify(args[0]) + ";" + ${JSON.stringify(`
        import { allocBuffer, BufferPool, File } from ${JSON.stringify(indexPath)};
        ${FORBID}
        const file = await File.open(DATA, { write: true, create: true, dsync: true });
        const pool = new BufferPool({ size: 1 << 16, count: 20 });
        const leases = await Promise.all(Array.from({ length: 20 }, () => pool.acquire()));
        const calls = leases.map((lease, i) => file.writeAt(lease, i << 16));
        for (let i = 0; i < 2; i++) await undefined;
        forbid();
        const codes = await Promise.all(calls.map((call) => call.then(() => "ok", ({ code }) => code)));
        postMessage(codes);
      `)});
      const worker = new Worker(args[0] + ".ts");
      const codes = await new Promise((resolve, reject) => {
        worker.addEventListener("message", ({ data }) => resolve(data));
        worker.addEventListener("error", reject);
      });
      const ended = new Promise((resolve) => worker.addEventListener("close", resolve));
      worker.terminate();
      await ended;
      Bun.gc(true);
      const other = await File.open(args[0]);
      await other.readAt(new Uint8Array(1 << 20), 0);
      await other.close();
      console.log(JSON.stringify({ outcomes: count(codes)}));
      `,
      ({ outcomes }) => outcomes[UNKNOWN] === 20,
    );
    expect(seen.outcomes).toEqual({ [UNKNOWN]: 20 });
  });

  testSilence("Ring.default() is another one", async () => {
    const seen = await runForbidden<{ readonly outcomes: Counts; readonly read: number }>(
      `
      const lost = Ring.default();
      const file = await open(0);
      const calls = Array.from({ length: 20 }, (_, i) => file.writeAt(allocBuffer(1 << 16), i << 16));
      await closeSandbox();
      const outcomes = count(await Promise.all(calls.map(told)));
      if (Ring.default() === lost) throw new Error("the lost ring is still the default one");
      await file.close();
      for (let i = 0; i < 5; i++) Bun.gc(true);
      await using again = await File.open(args[0] + 0);
      console.log(JSON.stringify({ outcomes, read: await again.readAt(new Uint8Array(10), 0) }));
      `,
      ({ outcomes }) => outcomes[UNKNOWN] === 20,
    );
    expect(seen.read).toBeGreaterThanOrEqual(0);
  });
});
