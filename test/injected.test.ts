// Real errors from the kernel's side, injected into real system calls by strace(1), each in a process of
// its own. (A missing strace is said in the names of the skipped tests.) And the limits of a process.

import { expect } from "bun:test";
import fs from "node:fs";
import { type ChildResult, indexPath, runCode } from "./support/child.ts";
import {
  noFaultFree,
  noIoUring,
  noLinux,
  noNowait,
  noRoot,
  noStrace,
  noThreads,
  testUnless,
} from "./support/conditions.ts";
import { TempDir } from "./support/temp.ts";

/**
 * Runs `code` with `args[0]` a path in `dir`, under strace with these injections. `only`: in calls on
 * that file only (the loader of programs reads libraries with pread64). strace counts calls by thread.
 */
async function injected(
  dir: TempDir,
  code: string,
  injections: readonly string[],
  env: Record<string, string | undefined> = {},
  only: "everywhere" | "only the file" = "everywhere",
): Promise<ChildResult & { hits: number }> {
  const trace = dir.file("trace");
  const calls = injections.map((injection) => injection.split(":")[0]).join(",");
  const under = ["strace", "-f", "-qq", "-o", trace, "-e", `trace=${calls}`, "-e", "signal=none"];
  if (only === "only the file") under.push("-P", dir.file("data", ""));
  for (const injection of injections) under.push("-e", `inject=${injection}`);
  const child = await runCode(code, { args: [dir.file("data")], under, env });
  const hits = fs.readFileSync(trace, "latin1").split("INJECTED").length - 1;
  return { ...child, hits };
}

const WHICH = `
const show = (open) => {
  try { const ring = open(); console.log(ring.backend + " | " + ring.backendReason); return ring; }
  catch (error) { console.log(error.name, error.code, error.errno, error.syscall, error.message); }
};
const auto = show(() => Ring.open({ backend: "auto" }));
show(() => Ring.open({ backend: "io_uring" }));
const file = await File.open(args[0], { write: true, create: true, ring: auto });
await file.writeAt(new Uint8Array([1, 2, 3]), 0);
await file.syncAll();
console.log(await file.size());
`;

const REFUSALS: readonly (readonly [string, number, string])[] = [
  ["ENOSYS", -38, "the kernel is too old or hides the call"],
  ["EPERM", -1, "perhaps a sandbox's seccomp filter"],
  ["EACCES", -13, "perhaps a sandbox's seccomp filter"],
  ["ENOMEM", -12, "perhaps the limit of locked memory"],
];
for (const [code, errno, why] of REFUSALS) {
  testUnless(noStrace, `io_uring_setup says ${code}: auto falls back and says why`, async () => {
    using dir = new TempDir();
    const child = await injected(dir, WHICH, [`io_uring_setup:error=${code}`], {
      BUN_AIO_BACKEND: undefined,
    });
    expect(child.stderr).toBe("");
    const lines = child.stdout.trim().split("\n");
    expect(lines[0]).toStartWith(`threads | io_uring refused at setup: ${code} (`);
    expect(lines[0]).toContain(why);
    expect(lines[0]).toEndWith("; using threads");
    expect(lines[1]).toStartWith(
      `IoError ${code} ${errno} ring_open ${code}: io_uring refused at setup`,
    );
    expect(lines[1]).toContain('"auto"');
    expect(lines[2]).toBe("3");
    expect(child.end).toBe(0);
  });
}

testUnless(noStrace, "the eventfd or the opcodes refused: auto falls back as well", async () => {
  using dir = new TempDir();
  const child = await injected(dir, WHICH, ["io_uring_register:error=EPERM"], {
    BUN_AIO_BACKEND: undefined,
  });
  expect(child.stdout).toStartWith("threads | io_uring refused at ");
  expect(child.stdout.trim().split("\n").at(-1)).toBe("3");
});

/** Writes, syncs and reads back much, all in flight together; says "whole" if every byte is right. */
const WORK = `
const file = await File.open(args[0], { write: true, create: true });
const blocks = Array.from({ length: 300 }, (_, i) => (i % 2 ? new Uint8Array(4096) : allocBuffer(4096)).fill(i));
for (let round = 0; round < 3; round++) {
  await Promise.all(blocks.map((block, i) => file.writeAt(block, i * 4096)));
  await file.syncData();
  const back = allocBuffer(300 * 4096);
  await Promise.all(blocks.map((_, i) => file.readExactAt(back.subarray(i * 4096, (i + 1) * 4096), i * 4096)));
  const views = [new Uint8Array(5000), new Uint8Array(3000)];
  await file.readvAt(views, 100);
  for (let i = 0; i < back.length; i++) if (back[i] !== ((i >> 12) & 255)) throw new Error("byte " + i);
}
await file.close();
const { resubmissions, failures, inFlight } = file.ring.stats();
console.log(JSON.stringify({ whole: true, resubmitted: resubmissions > 0, failures, inFlight }));
`;
const WHOLE = { whole: true, resubmitted: true, failures: 0, inFlight: 0 };

for (const code of ["EAGAIN", "EBUSY", "EINTR", "ENOMEM"]) {
  for (const when of ["1", "2+3", "1..20"]) {
    testUnless(
      noStrace ?? noIoUring,
      `io_uring_enter says ${code} (calls ${when}): nobody hears of it`,
      async () => {
        using dir = new TempDir();
        const child = await injected(dir, WORK, [`io_uring_enter:error=${code}:when=${when}`]);
        expect(child).toMatchObject({ end: 0, stderr: "" });
        expect(JSON.parse(child.stdout)).toEqual(WHOLE);
        expect(child.hits).toBeGreaterThan(0);
      },
    );
  }
}

/** A filter of seccomp(2): from now on io_uring_enter and io_uring_register give EPERM. */
const FORBID = `
const { dlopen, ptr } = await import("bun:ffi");
const { symbols } = dlopen("libc.so.6", {
  prctl: { args: ["i32", "u64", "ptr", "u64", "u64"], returns: "i32" },
});
const step = (code, yes, no, value) => [code | (yes << 16) | (no << 24), value];
// Load the number; 426 or 427: EPERM (SECCOMP_RET_ERRNO | 1), else allow (linux/seccomp.h, linux/filter.h).
const steps = new Uint32Array([
  ...step(0x20, 0, 0, 0), ...step(0x15, 1, 0, 426), ...step(0x15, 0, 1, 427),
  ...step(0x06, 0, 0, 0x00050001), ...step(0x06, 0, 0, 0x7fff0000),
]);
const program = new BigUint64Array([5n, BigInt(ptr(steps))]);
const forbid = () => {
  if (symbols.prctl(38, 1, null, 0, 0) !== 0) throw new Error("PR_SET_NO_NEW_PRIVS");
  if (symbols.prctl(22, 2, program, 0, 0) !== 0) throw new Error("PR_SET_SECCOMP");
};
`;

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

testUnless(
  noLinux ?? noIoUring,
  "a sandbox forbids io_uring while it works: every call settles, and no memory of theirs is used again",
  async () => {
    using dir = new TempDir();
    // Writes through to the medium: still in the kernel when their submission returns.
    const child = await runCode(
      `${FORBID}
      const options = { write: true, create: true, dsync: true };
      const files = await Promise.all([0, 1, 2].map((i) => File.open(args[0] + i, options)));
      const [first, second, third] = files;
      await first.writeAt(new Uint8Array(64).fill(7), 0);
      const pool = new BufferPool({ size: 1 << 16, count: 3 });
      const lent = await pool.acquire();
      const lentToo = await pool.acquire();
      const foreign = Array.from({ length: 60 }, (_, i) => second.writeAt(new Uint8Array(1 << 16), i << 16));
      const calls = [
        ...foreign,
        first.writeAt(lent, 1 << 20),
        first.writevAt([lentToo, allocBuffer(4096)], 2 << 20),
        first.writeAt(allocBuffer(1 << 16), 0),
        third.writeAt(new Uint8Array((1 << 20) + 1), 0),
      ];
      const syncs = [first.syncAll(), second.syncData()];
      for (let i = 0; i < 2; i++) await undefined;
      forbid();
      const told = (promise) => promise.then(() => "ok", (error) => error.code);
      const begun = performance.now();
      const outcomes = await Promise.all(calls.map(told));
      const ms = performance.now() - begun;
      const synced = await Promise.all(syncs.map(told));
      lent[Symbol.dispose]();
      lentToo[Symbol.dispose]();
      const readable = await third.readAt(allocBuffer(10), 0) <= 10;
      const foreignAfter = await Promise.all(
        Array.from({ length: 40 }, () => told(first.readAt(new Uint8Array(200_000), 0))));
      await Promise.all(files.map((file) => file.close()));
      const { inFlight } = Ring.default().stats();
      const { available } = pool;
      console.log(JSON.stringify({ outcomes, ms, synced, readable, foreignAfter, available, inFlight }));
      `,
      { args: [dir.file("data")], timeoutMs: 30_000 },
    );
    expect(child).toMatchObject({ end: 0, stderr: "" });
    const seen = JSON.parse(child.stdout);
    const { outcomes, foreignAfter } = seen;
    const unknown = (from: number, to: number): number =>
      outcomes.slice(from, to).filter((outcome: string) => outcome === "ERR_OUTCOME_UNKNOWN")
        .length;
    expect(unknown(0, 64)).toBeGreaterThan(0);
    for (const outcome of [...outcomes, ...foreignAfter]) {
      expect(["ok", "ERR_OUTCOME_UNKNOWN", "ENOMEM"]).toContain(outcome);
    }
    expect(seen.ms).toBeWithin(900, 10_000);
    // Nobody knows whether these are on the medium.
    if (unknown(60, 63) > 0) expect(seen.synced[0]).toBe("ERR_OUTCOME_UNKNOWN");
    if (unknown(0, 60) > 0) expect(seen.synced[1]).toBe("ERR_OUTCOME_UNKNOWN");
    // What the kernel may still read is not lent again.
    expect(seen.available).toBe(3 - unknown(60, 62));
    expect(seen).toMatchObject({ readable: true, inFlight: 0 });
  },
  60_000,
);

/** Reads one at a time, each with the page cache's answer known; says what it got. */
const SINGLY = `
const ring = args[1] === "auto" ? Ring.default() : Ring.open({ backend: args[1] });
fs.writeFileSync(args[0], Uint8Array.from({ length: 10_000 }, (_, i) => i));
const file = await File.open(args[0], { ring });
const seen = [];
const note = async (data, call) => {
  const parts = Array.isArray(data) ? data : [data];
  const outcome = await call(data).then(String, (error) => error.code + " " + error.syscall + " " + error.transferred);
  seen.push(outcome + " " + parts.map((part) => part.slice(0, 2).join()).join(" "));
};
await note(allocBuffer(100), (data) => file.readAt(data, 5));
await note(new Uint8Array(100), (data) => file.readAt(data, 6));
await note([new Uint8Array(3), allocBuffer(5)], (data) => file.readvAt(data, 7));
await note(allocBuffer(100), (data) => file.readAt(data, 9990));
await note(allocBuffer(100), (data) => file.readAt(data, 10_000));
console.log(seen.join(" | "));
console.log(ring.backend, ring.stats().inlineCompletions > 2);
`;
const RIGHT = "100 5,6 | 100 6,7 | 8 7,8 10,11 | 10 6,7 | 0 0,0";

for (const [expected, reason, before, name] of [
  ["io_uring", noIoUring, "", "io_uring"],
  ["threads", undefined, `${FORBID}; forbid();`, "auto"],
] as const) {
  const how = name === "auto" ? "threads that auto fell back to" : name;
  const code = before + SINGLY.replaceAll("args[1]", JSON.stringify(name));
  testUnless(
    noStrace ?? noNowait ?? noFaultFree ?? reason,
    `${how}: what is in the page cache is read at once, and an error there is the read's`,
    async () => {
      using dir = new TempDir();
      const run = (injection: string): Promise<ChildResult & { hits: number }> =>
        injected(dir, code, [injection], { BUN_AIO_BACKEND: undefined }, "only the file");
      const failed = await run("preadv2:error=EIO:when=2");
      const [first, ...others] = RIGHT.split(" | ");
      expect(failed.stdout).toStartWith(
        `${first} | EIO read 0 0,0 | ${others.slice(1).join(" | ")}`,
      );
      expect(failed.stdout).toContain(`${expected} true`);
      // Not there now: it is read in the other way.
      for (const code of ["EAGAIN", "EINTR"]) {
        const child = await run(`preadv2:error=${code}`);
        expect(child.stdout).toStartWith(`${RIGHT}\n`);
        expect(child.hits).toBeGreaterThanOrEqual(5);
      }
      // Not on this file system, not on this kernel, not in this sandbox: nobody asks again.
      for (const code of ["EOPNOTSUPP", "ENOSYS", "EPERM", "EINVAL"]) {
        const child = await run(`preadv2:error=${code}`);
        expect(child.stdout).toStartWith(`${RIGHT}\n`);
        expect(child.hits).toBe(1);
      }
    },
    60_000,
  );
}

testUnless(
  noStrace ?? noNowait ?? noFaultFree,
  "one read that is not in the page cache is the end of reading at once for all of its turn",
  async () => {
    using dir = new TempDir();
    const code = `${FORBID}; forbid();
      fs.writeFileSync(args[0], new Uint8Array(64 * 4096).fill(7));
      const file = await File.open(args[0]);
      const buffers = Array.from({ length: 64 }, () => allocBuffer(4096));
      const turn = () => Promise.all(buffers.map((buffer, i) => file.readExactAt(buffer, i * 4096)));
      await turn();
      await turn();
      console.log(Ring.default().backend, buffers.every((buffer) => buffer[4095] === 7));
    `;
    const env = { BUN_AIO_BACKEND: undefined };
    const child = await injected(dir, code, ["preadv2:error=EAGAIN"], env, "only the file");
    expect(child.stdout).toBe("threads true\n");
    expect(child.hits).toBe(2);
  },
);

testUnless(noStrace, "threads that were asked for by name do every read", async () => {
  using dir = new TempDir();
  const code = SINGLY.replaceAll("args[1]", '"threads"');
  const env = { BUN_AIO_BACKEND: undefined };
  const child = await injected(dir, code, ["preadv2:error=EIO"], env, "only the file");
  expect(child.stdout).toStartWith(`${RIGHT}\n`);
  expect(child.hits).toBe(0);
});

testUnless(
  noStrace ?? noThreads,
  "pread64 and pwrite64 say EINTR and EAGAIN: nobody hears of it",
  async () => {
    using dir = new TempDir();
    for (const code of ["EINTR", "EAGAIN"]) {
      const child = await injected(
        dir,
        WORK,
        [
          `pwrite64:error=${code}:when=3+5`,
          `pread64:error=${code}:when=1+4`,
          "fdatasync:error=EINTR:when=1",
        ],
        {},
        "only the file",
      );
      expect(child).toMatchObject({ end: 0, stderr: "" });
      expect(JSON.parse(child.stdout)).toEqual(WHOLE);
      expect(child.hits).toBeGreaterThan(10);
    }
  },
);

testUnless(
  noStrace ?? noThreads ?? noFaultFree,
  "pread64 and pwrite64 say EIO: each call says what was tried",
  async () => {
    using dir = new TempDir();
    const child = await injected(
      dir,
      `
      const file = await File.open(args[0], { write: true, create: true });
      const show = (error) => console.log(error.code, error.errno, error.syscall, error.path === args[0],
        error.offset, error.length, error.transferred, error.hint);
      await file.writeAt(new Uint8Array(10), 5).catch(show);
      await file.readAt(new Uint8Array(10), 6).catch(show);
      // The first call of each thread fails.
      const patiently = async (call) => {
        for (let i = 0; i < 50; i++) {
          try { return await call(); } catch (error) { if (error.code !== "EIO") throw error; }
        }
      };
      await patiently(() => file.writeAt(new Uint8Array(10), 0));
      console.log(await patiently(() => file.readAt(new Uint8Array(20), 0)));
      await file.syncAll().catch((error) => console.log(error.code, error.cause.syscall));
      `,
      ["pwrite64:error=EIO:when=1", "pread64:error=EIO:when=1"],
      {},
      "only the file",
    );
    expect(child.end).toBe(0);
    const hint =
      "The medium or its connection reports an error; the data at this range is not reliable";
    expect(child.stdout.trim().split("\n")).toEqual([
      `EIO -5 write true 5 10 0 ${hint}`,
      `EIO -5 read true 6 10 0 ${hint}`,
      "10",
      "EIO write",
    ]);
  },
);

testUnless(noStrace ?? noFaultFree, "statx fails: open and stat say so", async () => {
  using dir = new TempDir();
  const child = await injected(
    dir,
    `
    const file = await File.open("/dev/null");
    console.log(await file.stat().then(() => "fine", (error) => error.code + " " + error.syscall));
    console.log(await File.open("/dev/zero").then(() => "fine", (error) => error.code + " " + error.path));
    `,
    ["statx:error=EIO:when=2+1"],
  );
  // Bun itself may call statx first: what matters is that nothing hangs and errors have names.
  for (const line of child.stdout.trim().split("\n")) expect(line).toMatch(/^(fine|EIO .*)$/);
  expect(child.end).toBe(0);
});

testUnless(
  noLinux,
  "no descriptor is left (RLIMIT_NOFILE): EMFILE with a hint, and the ring goes on",
  async () => {
    using dir = new TempDir();
    const path = dir.file("data", new Uint8Array(100_000).fill(7));
    const child = await runCode(
      `
    const first = await File.open(args[0]);
    const files = [];
    let refused;
    while (refused === undefined) {
      await File.open(args[0]).then((file) => files.push(file), (error) => { refused = error; });
    }
    console.log(refused.code, refused.errno, refused.syscall, refused.path === args[0], refused.hint);
    // With no descriptor free the loop must still hear of completions.
    await new Promise((resolve) => setTimeout(resolve, 20));
    const buffers = Array.from({ length: 200 }, () => new Uint8Array(500));
    const counts = await Promise.all(buffers.map((buffer, i) => files[i % files.length].readAt(buffer, i)));
    console.log(counts.every((count) => count === 500));
    await first.syncAll();
    try { Ring.open(); console.log("opened"); }
    catch (error) { console.log(error.code); }
    await Promise.all(files.map((file) => file.close()));
    const again = await File.open(args[0]);
    console.log(await again.readAt(new Uint8Array(10), 0));
    process.exit(0);
    `,
      { args: [path], under: ["prlimit", "--nofile=60"], timeoutMs: 30_000 },
    );
    expect(child.stdout.trim().split("\n")).toEqual([
      "EMFILE -24 open true Too many open files: close some, or raise the limit (ulimit -n)",
      "true",
      "EMFILE",
      "10",
    ]);
    expect(child.end).toBe(0);
  },
);

testUnless(
  noLinux,
  "the largest file (RLIMIT_FSIZE): EFBIG with a hint, and no death by SIGXFSZ",
  async () => {
    using dir = new TempDir();
    const path = dir.file("data", "");
    const child = await runCode(
      `
    const file = await File.open(args[0], { write: true });
    const content = allocBuffer(100_000).fill(1);
    console.log(await file.writeAt(content.subarray(0, 1000), 0));
    const error = await file.writeAt(content, 1000).catch((error) => error);
    console.log(error.code, error.syscall, error.transferred, error.hint);
    console.log(await file.size());
    console.log(await file.truncate(100_000).catch((error) => error.code));
    console.log(await file.writevAt([content.subarray(0, 10), content], 8192).catch((error) => error.code));
    `,
      {
        args: [path],
        // The default action of SIGXFSZ is to kill; Bun ignores it, whatever it was started with.
        under: ["env", "--default-signal=XFSZ", "prlimit", "--fsize=8192"],
      },
    );
    expect(child.stdout.trim().split("\n")).toEqual([
      "1000",
      "EFBIG write 7192 The offset is beyond the largest file of this file system or of RLIMIT_FSIZE",
      "8192",
      "EFBIG",
      "EFBIG",
    ]);
    expect(child.end).toBe(0);
  },
);

testUnless(noRoot, "no thread can be had: operations wait until one can", async () => {
  using dir = new TempDir();
  fs.chmodSync(dir.path, 0o777);
  const path = dir.file("data", "abcdef");
  fs.chmodSync(path, 0o666);
  const child = await runCode(
    `
    const { dlopen } = await import("bun:ffi");
    const { symbols } = dlopen("libc.so.6", {
      setrlimit: { args: ["i32", "ptr"], returns: "i32" }, getrlimit: { args: ["i32", "ptr"], returns: "i32" },
    });
    // RLIMIT_NPROC, for a user whose processes are counted: root's are not.
    const limits = new BigUint64Array(2);
    symbols.getrlimit(6, limits);
    const limit = (soft) => {
      if (symbols.setrlimit(6, new BigUint64Array([soft, limits[1]])) !== 0) throw new Error("setrlimit");
    };
    allocBuffer(1);
    Ring.default();
    process.setgid(12345);
    process.setuid(12345);
    limit(0n);
    const opening = File.open(args[0], { ring: Ring.open({ backend: "threads" }) });
    let settled = false;
    opening.then(() => { settled = true; }, (error) => console.log(error.code));
    await new Promise((resolve) => setTimeout(resolve, 50));
    console.log(settled);
    limit(limits[1]);
    const file = await opening;
    console.log(await file.readAt(new Uint8Array(10), 0));
    process.exit(0);
    `,
    { args: [path], timeoutMs: 30_000 },
  );
  expect(child.stderr).toBe("");
  expect(child.stdout).toBe("false\n6\n");
});

// vfat, exfat and NFS have no holes: there the copy writes its zeroes.
const WITHOUT_HOLES = `
const { copy } = await import(${JSON.stringify(indexPath)});
for (const direct of [false, true]) {
  for (const [before, size] of [[300_000, 300_100], [500_001, 300_100], [70_001, 200_001]]) {
    const data = new Uint8Array(size).fill(5, 140_000, 140_100);
    fs.writeFileSync(args[0], data);
    fs.writeFileSync(args[0] + "2", new Uint8Array(before).fill(0xff));
    const source = await File.open(args[0]);
    const target = await File.open(args[0] + "2", { write: true, direct });
    await copy(source, target, { sparse: true, verify: true });
    await Promise.all([source.close(), target.close()]);
    const expected = new Uint8Array(Math.max(before, size)).fill(0xff);
    expected.set(data);
    console.log(Buffer.compare(fs.readFileSync(args[0] + "2"), expected));
  }
}
`;

testUnless(noStrace, "a sparse copy where no holes can be made, of any length", async () => {
  using dir = new TempDir();
  const { end, stdout, stderr, hits } = await injected(dir, WITHOUT_HOLES, [
    "fallocate:error=EOPNOTSUPP",
  ]);
  expect([end, stdout, stderr]).toEqual([0, "0\n".repeat(6), ""]);
  expect(hits).toBeGreaterThan(0);
});
