// Promise 8: a sync covers every write called before it on the same file, awaited or not.

import { expect, test } from "bun:test";
import fs from "node:fs";
import { allocBuffer, File, type IoError, Ring } from "../../src/index.ts";
import { simulatedDevice } from "../../src/testing/index.ts";
import { runCode } from "../support/child.ts";
import { noFaultFree, noLinux, noStrace, noThreads, testUnless } from "../support/conditions.ts";
import { ioError } from "../support/expect.ts";
import { TempDir } from "../support/temp.ts";

/** Names of the calls in the order in which they settled. */
function recorder(): {
  order: string[];
  watch: <T>(name: string, promise: Promise<T>) => Promise<T>;
} {
  const order: string[] = [];
  const watch = <T>(name: string, promise: Promise<T>): Promise<T> => {
    const note = (): void => {
      order.push(name);
    };
    promise.then(note, note);
    return promise;
  };
  return { order, watch };
}

for (const kind of ["syncAll", "syncData"] as const) {
  test(`promise 8: ${kind} settles behind the writes called before it`, async () => {
    using dir = new TempDir();
    await using ring = Ring.open({ queueDepth: 2 });
    await using file = await File.open(dir.file("out"), { write: true, create: true, ring });
    const { order, watch } = recorder();
    const calls: Promise<unknown>[] = [];
    for (let i = 0; i < 20; i++)
      calls.push(watch("write", file.writeAt(new Uint8Array(4096), i * 4096)));
    calls.push(watch("long", file.writeAt(new Uint8Array(3 << 20), 1 << 20)));
    calls.push(watch("vector", file.writevAt([allocBuffer(10), allocBuffer(10)], 0)));
    calls.push(watch("truncate", file.truncate(8 << 20)));
    calls.push(watch("allocate", file.allocate(8 << 20, 4096)));
    calls.push(watch("sync", file[kind]()));
    await Promise.all(calls);
    expect(order.at(-1)).toBe("sync");
    expect(order.length).toBe(25);
  });
}

test("promise 8: a sync does not wait for later writes, other files or reads", async () => {
  using dir = new TempDir();
  await using ring = Ring.open({ queueDepth: 1 });
  await using file = await File.open(dir.file("out"), { write: true, create: true, ring });
  let settled = false;
  const sync = file.syncAll().then(() => {
    settled = true;
  });
  // Each is followed by the next: a sync that waited for them would wait for ever.
  const later = async (): Promise<void> => {
    while (!settled) await file.writeAt(new Uint8Array(4096), 0);
  };
  await Promise.all([sync, ...Array.from({ length: 100 }, later)]);
  expect(settled).toBe(true);
});

test("promise 8: a sync does not wait for writes called after it in the same turn", async () => {
  const faults = [{ operation: "write", latency: 100 }] as const;
  await using device = await simulatedDevice({ size: 65_536, faults });
  const { order, watch } = recorder();
  const sync = watch("sync", device.syncAll());
  const writes = Array.from({ length: 10 }, (_, at) =>
    watch("later", device.writeAt(allocBuffer(4096), at * 4096)),
  );
  await Promise.all([sync, ...writes]);
  expect(order.indexOf("sync")).toBe(0);
});

test("promise 8: each of many syncs among many writes settles behind its own", async () => {
  using dir = new TempDir();
  await using ring = Ring.open({ queueDepth: 4 });
  await using file = await File.open(dir.file("out"), { write: true, create: true, ring });
  let issued = 0;
  let settled = 0;
  const calls: Promise<unknown>[] = [];
  for (let i = 0; i < 20; i++) {
    for (let j = 0; j < 10; j++) {
      issued++;
      calls.push(
        file.writeAt(new Uint8Array(100), issued * 100).then(() => {
          settled++;
        }),
      );
    }
    const covered = issued;
    calls.push(
      file.syncData().then(() => {
        expect(settled).toBeGreaterThanOrEqual(covered);
      }),
    );
  }
  await Promise.all(calls);
  expect(settled).toBe(200);
});

testUnless(
  noLinux,
  "promise 8: a covered write that fails rejects the sync with that error as cause, for good",
  async () => {
    await using file = await File.open("/dev/full", { write: true });
    const writing = file.writeAt(new Uint8Array(10), 5);
    writing.catch(() => {});
    const error = await ioError(file.syncData(), "ENOSPC");
    expect(error.syscall).toBe("fdatasync");
    expect(error.message).toContain("an earlier write or sync failed");
    expect(error.hint).toContain("Reopen the file");
    const cause = error.cause as IoError;
    expect(cause).toBe((await writing.catch((reason) => reason)) as IoError);
    expect(cause).toMatchObject({ code: "ENOSPC", syscall: "write", offset: 5, transferred: 0 });
    // Sticky.
    for (const sync of [file.syncAll(), file.syncData()]) {
      expect((await ioError(sync, "ENOSPC")).cause).toBe(cause);
    }
    await using again = await File.open("/dev/full", { write: true });
    // The device itself has no fsync (EINVAL), but nothing sticks to a file opened anew.
    await ioError(again.syncAll(), "EINVAL");
  },
);

testUnless(
  noLinux,
  "promise 8: awaited failures, long ones and vectors count as well",
  async () => {
    const failures: ((file: File) => Promise<unknown>)[] = [
      (file) => file.writeAt(new Uint8Array(3 << 20), 0),
      (file) => file.writevAt([new Uint8Array(1), new Uint8Array(1)], 0),
      (file) => file.writevAt([allocBuffer(1), allocBuffer(1)], 0),
      (file) => file.writeAt(allocBuffer(1), 0),
    ];
    for (const failing of failures) {
      for (const awaited of [true, false]) {
        await using file = await File.open("/dev/full", { write: true });
        const writing = failing(file);
        if (awaited) await ioError(writing, "ENOSPC");
        else writing.catch(() => {});
        const error = await ioError(file.syncAll(), "ENOSPC");
        expect((error.cause as IoError).code).toBe("ENOSPC");
      }
    }
  },
);

test("promise 8: a write that was never one does not fail the sync", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("out"), { write: true, create: true });
  const refused = [
    file.writeAt(new Uint8Array(1), -1),
    file.writeAt("no memory" as never, 0),
    file.writeAt(new Uint8Array(1), 0, { timeout: -1 }),
    file.writeAt(new Uint8Array(1), 0, { signal: AbortSignal.abort() }),
  ];
  const sync = file.syncAll();
  for (const { status } of await Promise.allSettled(refused)) expect(status).toBe("rejected");
  await sync;
  await file.syncAll();
});

test("promise 8: an aborted write is reported by one sync, then no more", async () => {
  for (const awaited of [true, false]) {
    using dir = new TempDir();
    await using ring = Ring.open({ queueDepth: 1 });
    await using file = await File.open(dir.file("out"), { write: true, create: true, ring });
    const controller = new AbortController();
    const before = Array.from({ length: 200 }, () => file.writeAt(new Uint8Array(4096), 0));
    const writing = file.writeAt(new Uint8Array(4096), 0, { signal: controller.signal });
    let first: Promise<unknown> | undefined;
    if (!awaited) {
      first = file.syncAll();
      first.catch(() => {});
    }
    controller.abort();
    const outcome = await writing.then(
      () => "written",
      (error: IoError) => error.code,
    );
    expect(outcome).toBe("ABORT_ERR");
    first ??= file.syncAll();
    const error = await ioError(first, "ERR_WRITE_ABORTED");
    expect((error.cause as IoError).code).toBe("ABORT_ERR");
    await file.syncAll();
    await file.syncData();
    await Promise.all(before);
  }
});

test("promise 8: an aborted sync is not sticky", async () => {
  using dir = new TempDir();
  await using ring = Ring.open({ queueDepth: 1 });
  await using file = await File.open(dir.file("out"), { write: true, create: true, ring });
  const controller = new AbortController();
  const writes = Array.from({ length: 100 }, () => file.writeAt(new Uint8Array(4096), 0));
  const sync = file.syncAll({ signal: controller.signal });
  controller.abort(new Error("enough"));
  const error = await ioError(sync, "ABORT_ERR");
  expect(error.cause).toEqual(new Error("enough"));
  expect(error.syscall).toBe("fsync");
  await Promise.all(writes);
  await file.syncAll();
});

testUnless(
  noStrace ?? noThreads ?? noFaultFree,
  "promise 8: a sync that fails with EIO sticks to the file, not to the ring",
  async () => {
    using dir = new TempDir();
    const child = await runCode(
      `
      const file = await File.open(args[0], { write: true, create: true });
      const other = await File.open(args[0] + "2", { write: true, create: true });
      await file.writeAt(new Uint8Array(1), 0);
      const codes = [];
      codes.push(await file.syncAll().catch((e) => [e.code, e.errno, e.syscall, e.path === args[0]].join()));
      codes.push(await file.syncAll().catch((e) => e.code + " because of " + e.cause.code));
      codes.push(await file.syncData().catch((e) => e.code));
      codes.push(await other.syncAll().then(() => "fine"));
      await file.close();
      // The first call of each thread fails.
      for (let i = 0; i < 50 && codes.at(-1) !== "fine again"; i++) {
        const again = await File.open(args[0], { write: true });
        await again.syncAll().then(() => codes.push("fine again"), () => {});
      }
      console.log(codes.join("\\n"));
      `,
      {
        args: [dir.file("x")],
        under: [
          "strace",
          "-f",
          "-qq",
          "-o",
          dir.file("trace"),
          "-e",
          "inject=fsync:error=EIO:when=1",
          "-e",
          "trace=fsync",
          "-P",
          dir.file("x", ""),
        ],
      },
    );
    expect(child).toMatchObject({ end: 0 });
    expect(child.stdout.trim().split("\n")).toEqual([
      "EIO,-5,fsync,true",
      "EIO because of EIO",
      "EIO",
      "fine",
      "fine again",
    ]);
    expect(fs.readFileSync(dir.file("trace"), "latin1")).toContain("INJECTED");
  },
);
