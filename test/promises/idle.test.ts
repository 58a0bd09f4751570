// Promise 7: the process stays alive while operations are in flight and exits by itself when none are. Importing
// opens nothing.

import { expect, test } from "bun:test";
import { runCode } from "../support/child.ts";
import { noLinux, testUnless } from "../support/conditions.ts";
import { TempDir } from "../support/temp.ts";
import { indexPath } from "../support/under_test.ts";

test("promise 7: operations in flight keep the process alive", async () => {
  using dir = new TempDir();
  const child = await runCode(
    `
    const file = await File.open(args[0], { write: true, create: true });
    // Nobody awaits at the top level: only the operations hold the process.
    const buffer = allocBuffer(4 << 20);
    let done = 0;
    const step = () => { if (++done < 30) go(); else console.log("done " + done); };
    const go = () => file.writeAt(buffer, done * 1000).then(() => file.syncData()).then(step);
    go();
    `,
    { args: [dir.file("out")] },
  );
  expect(child).toMatchObject({ end: 0, stdout: "done 30\n" });
});

test("promise 7: an idle process exits by itself, with files and rings open", async () => {
  using dir = new TempDir();
  // Nothing ends it but that nothing holds it: a handle that does would keep it until it is killed.
  const child = await runCode(
    `
    const file = await File.open(args[0]);
    const other = await File.open(args[0], { ring: Ring.open() });
    await Promise.all([file.readAt(new Uint8Array(4), 0), other.readAt(new Uint8Array(4), 0)]);
    await file.size();
    globalThis.kept = [file, other];
    process.on("exit", () => console.log("idle"));
    `,
    { args: [dir.file("source", "abcdef")] },
  );
  expect(child).toMatchObject({ end: 0, stdout: "idle\n", stderr: "" });
});

testUnless(noLinux, "promise 7: once idle, the process does nothing until it exits", async () => {
  using dir = new TempDir();
  const child = await runCode(
    `
    const ring = Ring.default();
    const file = globalThis.kept = await File.open(args[0]);
    await file.readAt(new Uint8Array(4), 0);
    // The event loop lives for a while because of somebody else: the library takes no part in it.
    const calls = () => { const { flushes, drains, polls } = ring.stats(); return flushes + drains + polls; };
    let last = -1;
    let same = 0;
    const timer = setInterval(() => {
      same = calls() === last ? same + 1 : 0;
      last = calls();
      if (same < 10) return;
      clearInterval(timer);
      console.log("quiet");
    }, 2);
    `,
    { args: [dir.file("source", "abcdef")] },
  );
  expect(child).toMatchObject({ end: 0, stdout: "quiet\n", stderr: "" });
});

test("promise 7: the process can be held and let go many times", async () => {
  using dir = new TempDir();
  const child = await runCode(
    `
    const file = await File.open(args[0]);
    for (let i = 0; i < 20; i++) {
      await file.readAt(new Uint8Array(4), 0);
      // Longer than the wake descriptor is watched after the last operation.
      await new Promise((resolve) => setTimeout(resolve, 8));
    }
    console.log("end");
    `,
    { args: [dir.file("source", "abcdef")] },
  );
  expect(child).toMatchObject({ end: 0, stdout: "end\n" });
});

testUnless(noLinux, "importing maps no library and opens no descriptor", async () => {
  const child = await runCode(
    `
    const fs = require("node:fs");
    const links = () => fs.readdirSync("/proc/self/fd").map((fd) => {
      try { return fs.readlinkSync("/proc/self/fd/" + fd); } catch { return ""; }
    }).filter((link) => link !== "" && !link.startsWith("/proc/"));
    const before = links();
    const tasks = fs.readdirSync("/proc/self/task").length;
    const library = await import(${JSON.stringify(indexPath)});
    const maps = () => fs.readFileSync("/proc/self/maps", "latin1").includes("bun-aio.so") ||
      fs.readFileSync("/proc/self/maps", "latin1").includes("bun-aio-faults.so");
    const after = links();
    console.log(JSON.stringify({ mapped: maps(), opened: after.filter((link) => /io_uring|eventfd.*/.test(link)).length - before.filter((link) => /io_uring|eventfd.*/.test(link)).length }));
    library.Ring.default();
    console.log(JSON.stringify({ mapped: maps() }));
    `,
    { bare: true },
  );
  expect(child.stderr).toBe("");
  expect(child.stdout.trim().split("\n")).toEqual([
    '{"mapped":false,"opened":0}',
    '{"mapped":true}',
  ]);
});

test("a wrong backend in the environment is named", async () => {
  const child = await runCode(
    `
    try { Ring.default(); } catch (error) { console.log(error.code, error.message); }
    const file = await File.open("/dev/null").catch((error) => console.log(error.code));
    console.log(Ring.open({ backend: "threads" }).backend);
    `,
    { env: { BUN_AIO_BACKEND: "uring" } },
  );
  const lines = child.stdout.trim().split("\n");
  expect(lines[0]).toContain(
    'ERR_INVALID_ARG_VALUE "BUN_AIO_BACKEND" must be one of auto, io_uring',
  );
  expect(lines[0]).toEndWith("got 'uring'");
  expect(lines.slice(1)).toEqual(["ERR_INVALID_ARG_VALUE", "threads"]);
});
