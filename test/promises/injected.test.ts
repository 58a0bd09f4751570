// Real errors from the kernel, injected into real system calls by strace(1), and limits of a process. Each case in
// a process of its own.

import { expect } from "bun:test";
import fs from "node:fs";
import { type ChildResult, runCode } from "../support/child.ts";
import {
  noCachestat,
  noFaultFree,
  noIoUring,
  noLinux,
  noNowait,
  noRoot,
  noStrace,
  noThreads,
  testUnless,
  unless,
  without,
} from "../support/conditions.ts";
import { FORBID } from "../support/sandbox.ts";
import { TempDir } from "../support/temp.ts";
import { indexPath } from "../support/under_test.ts";

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

testUnless(
  noCachestat ?? noFaultFree,
  "what is in memory of a tmpfs is read at once; its holes, and without cachestat, in another way",
  async () => {
    using dir = new TempDir("/dev/shm");
    // On threads that `auto` fell back to, each read on a thread is one system call, and one at once two.
    const read = async (name: string, calls: readonly number[]): Promise<number[][]> => {
      const code = `
        ${FORBID}
        forbid([425, ...${JSON.stringify(calls)}]);
        const bytes = Uint8Array.from({ length: 40_000 }, (_, i) => i % 251);
        fs.writeFileSync(args[0], bytes);
        fs.truncateSync(args[0], 400_000);
        await using file = await File.open(args[0]);
        const read = async (offset, length) => {
          const before = file.ring.stats();
          const buffer = allocBuffer(length).fill(255);
          const moved = await file.readAt(buffer, offset);
          const wrong = buffer.findIndex((byte, i) => byte !== (i >= moved ? 255 : (bytes[offset + i] ?? 0)));
          const after = file.ring.stats();
          return [moved, wrong, after.systemCalls - before.systemCalls, after.inlineCompletions - before.inlineCompletions];
        };
        // Learns what is to be had of the file.
        await read(0, 10);
        await read(0, 10);
        const told = [];
        for (let i = 0; i < 100; i++) told.push(await read(i * 350, 5000));
        // A hole, and what is half of it one; the end.
        for (const [offset, length] of [[100_000, 4096], [36_000, 8192], [399_000, 2000]]) told.push(await read(offset, length));
        console.log(JSON.stringify(told));
      `;
      const { stdout, stderr } = await runCode(code, {
        args: [dir.file(name)],
        env: { BUN_AIO_BACKEND: undefined },
      });
      expect(stderr).toBe("");
      return JSON.parse(stdout) as number[][];
    };
    const rest = [4096, 8192, 1000].map((bytes) => [bytes, -1]);
    const seen = await read("data", []);
    expect(seen.slice(0, 100)).toEqual(Array.from({ length: 100 }, () => [5000, -1, 2, 1]));
    expect(seen.slice(100).map((one) => one.slice(0, 2))).toEqual(rest);
    const forbidden = await read("other", [451]);
    expect(forbidden.map(([bytes, wrong, calls]) => [bytes, wrong, calls])).toEqual([
      ...Array.from({ length: 100 }, () => [5000, -1, 1]),
      // The end of a file is asked for twice.
      ...rest.map((one, index) => [...one, index === 2 ? 2 : 1]),
    ]);
  },
);

testUnless(
  noStrace ?? noNowait ?? noFaultFree,
  "where a file system other than tmpfs refuses to read at once, nobody looks for its pages either",
  async () => {
    using dir = new TempDir();
    const code = `${FORBID}; forbid();
      fs.writeFileSync(args[0], new Uint8Array(4096));
      await using file = await File.open(args[0]);
      const calls = [];
      for (let i = 0; i < 5; i++) {
        const { systemCalls } = file.ring.stats();
        await file.readExactAt(allocBuffer(4096), 0);
        calls.push(file.ring.stats().systemCalls - systemCalls);
      }
      console.log(file.ring.backend, calls.slice(1).join());
    `;
    const env = { BUN_AIO_BACKEND: undefined };
    const child = await injected(dir, code, ["preadv2:error=EOPNOTSUPP"], env, "only the file");
    expect(child.stdout).toBe("threads 1,1,1,1\n");
    expect(child.hits).toBe(1);
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
      "The medium or its connection reports an error; the data in this range is not reliable";
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
    // With no descriptor free the loop must still hear of completions, after it has stopped watching for a while.
    await new Promise((resolve) => setTimeout(resolve, 20));
    const buffers = Array.from({ length: 200 }, () => new Uint8Array(500));
    const counts = await Promise.all(buffers.map((buffer, i) => files[i % files.length].readAt(buffer, i)));
    console.log(counts.every((count) => count === 500));
    await first.syncAll();
    // What Bun and the idle ring have let go of since.
    const spare = [];
    try { while (true) spare.push(fs.openSync("/dev/null")); } catch {}
    try { Ring.open(); console.log("opened"); }
    catch (error) { console.log(error.code); }
    for (const fd of spare) fs.closeSync(fd);
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

/** Starts a program without the ignored signals of this one. */
const DEFAULT_SIGNAL = ["env", "--default-signal=XFSZ"];
const noDefaultSignal =
  noLinux ??
  without("prlimit") ??
  unless(
    Bun.spawnSync([...DEFAULT_SIGNAL, "true"]).exitCode === 0,
    "env has no --default-signal: it is not that of GNU coreutils 8.31 or later",
  );

testUnless(
  noDefaultSignal,
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
        under: [...DEFAULT_SIGNAL, "prlimit", "--fsize=8192"],
      },
    );
    expect(child.stdout.trim().split("\n")).toEqual([
      "1000",
      "EFBIG write 7192 The offset exceeds the maximum file size of this file system, or RLIMIT_FSIZE",
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
    // As long as no thread can be made nothing may happen.
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
