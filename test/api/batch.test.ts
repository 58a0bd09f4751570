// `ring.batch`: one call, one flush, one result for each entry.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { allocBuffer, File, IoError, type Operation, Ring } from "../../src/index.ts";
import { faulty } from "../support/conditions.ts";
import { Folder, pattern } from "../support/control.ts";

test("reads, writes, vectors and syncs over several files, in one flush", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  const path = folder.file("b", "0123456789");
  await using a = await File.open(folder.file("a", "abcdefghij"), { ring });
  await using b = await File.open(path, { write: true, ring });
  const one = allocBuffer(4);
  const two = new Uint8Array(3);
  const pieces = [allocBuffer(2), new Uint8Array(2)];
  const before = ring.stats();
  const results = await ring.batch([
    { kind: "read", file: a, data: one, offset: 2 },
    { kind: "read", file: a, data: two, offset: 8n },
    { kind: "read", file: a, data: pieces, offset: 0 },
    { kind: "write", file: b, data: Buffer.from("XY"), offset: 1 },
    { kind: "syncAll", file: b },
    { kind: "syncData", file: b },
  ]);
  const after = ring.stats();
  expect(results).toEqual([4, 2, 4, 2, 0, 0].map((value) => ({ status: "fulfilled", value })));
  expect(Buffer.from(one).toString()).toBe("cdef");
  expect(Buffer.from(two).toString()).toBe("ij\0");
  expect(Buffer.concat(pieces).toString()).toBe("abcd");
  expect(readFileSync(path, "utf8")).toBe("0XY3456789");
  expect(after.flushes - before.flushes).toBeLessThanOrEqual(1);
  if (ring.backend === "io_uring" && !faulty) {
    // The syncs are held behind the write, and a short read is asked again: they go natively.
    expect(after.submitCalls - before.submitCalls).toBeLessThanOrEqual(3);
  }
});

test("64 reads are one submission", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using file = await File.open(folder.file("a", pattern(65536)), { ring });
  const operations: Operation[] = Array.from({ length: 64 }, (_, index) => ({
    kind: "read",
    file,
    data: allocBuffer(1024),
    offset: index * 1024,
  }));
  const before = ring.stats();
  const results = await ring.batch(operations);
  const after = ring.stats();
  expect(results.every((result) => result.status === "fulfilled" && result.value === 1024)).toBe(
    true,
  );
  expect(after.flushes - before.flushes).toBe(1);
  if (ring.backend === "io_uring" && !faulty)
    expect(after.submitCalls - before.submitCalls).toBe(1);
  expect(after.reads - before.reads).toBe(64);
});

test("an empty batch is nothing", async () => {
  await using ring = Ring.open();
  expect(await ring.batch([])).toEqual([]);
  expect(ring.stats().flushes).toBe(0);
});

test("a wrong entry never harms its neighbours", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using other = Ring.open();
  const path = folder.file("a", "abcdefghij");
  await using file = await File.open(path, { ring });
  await using stranger = await File.open(path, { ring: other });
  const closed = await File.open(path, { ring });
  await closed.close();
  const data = new Uint8Array(4);
  const good: Operation = { kind: "read", file, data, offset: 0 };
  const bad: [unknown, string, string][] = [
    [undefined, "ERR_INVALID_ARG_TYPE", "operations[1]"],
    [{ kind: "read", data, offset: 0 }, "ERR_INVALID_ARG_TYPE", "operations[3].file"],
    [{ ...good, file: stranger }, "ERR_INVALID_ARG_VALUE", "operations[5].file"],
    [{ ...good, kind: "trim" }, "ERR_INVALID_ARG_VALUE", "operations[7].kind"],
    [{ ...good, offset: -1 }, "ERR_OUT_OF_RANGE", "offset"],
    [{ ...good, data: "text" }, "ERR_INVALID_ARG_TYPE", "data"],
    [{ ...good, data: [data, 5] }, "ERR_INVALID_ARG_TYPE", "data[1]"],
    [{ ...good, file: closed }, "EBADF", "closed"],
    [{ ...good, kind: "write" }, "EBADF", "write"],
  ];
  const operations = bad.flatMap(([operation]) => [good, operation as Operation]);
  const results = await ring.batch(operations);
  expect(results.length).toBe(operations.length);
  results.forEach((result, index) => {
    if (index % 2 === 0) {
      expect(result).toEqual({ status: "fulfilled", value: 4 });
      return;
    }
    const [, code, named] = bad[(index - 1) / 2] ?? [];
    expect(result.status).toBe("rejected");
    const { reason } = result as PromiseRejectedResult;
    expect(reason.code).toBe(code);
    expect(reason.message).toContain(named);
  });
});

test("a sync rejects when a write before it was rejected, whatever the reason", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using file = await File.open(folder.file("a", "abc"), { write: true, ring });
  await using other = await File.open(folder.file("b", "abc"), { write: true, ring });
  const data = new Uint8Array(4);
  const results = await ring.batch([
    { kind: "syncAll", file },
    { kind: "write", file, data, offset: -5 },
    { kind: "syncAll", file },
    { kind: "syncData", file: other },
    { kind: "write", file: other, data, offset: 0 },
    { kind: "write", file, data, offset: -7 },
    { kind: "syncData", file },
  ]);
  expect(results.map((result) => result.status)).toEqual([
    "fulfilled",
    "rejected",
    "rejected",
    "fulfilled",
    "fulfilled",
    "rejected",
    "rejected",
  ]);
  const refused = (results[1] as PromiseRejectedResult).reason;
  const sync = (results[2] as PromiseRejectedResult).reason;
  expect(sync).toBeInstanceOf(IoError);
  expect(sync.code).toBe("EIO");
  expect(sync.syscall).toBe("fsync");
  expect(sync.cause).toBe(refused);
  // The first of them is the one to know of.
  expect((results[6] as PromiseRejectedResult).reason.cause).toBe(refused);
});

test("one signal ends all, one timeout too", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using file = await File.open(folder.file("a", pattern(65536)), { write: true, ring });
  const operations: Operation[] = Array.from({ length: 100 }, (_, index) => ({
    kind: "read",
    file,
    data: new Uint8Array(100),
    offset: index,
  }));
  operations.push({ kind: "syncAll", file });
  const controller = new AbortController();
  const batch = ring.batch(operations, { signal: controller.signal });
  controller.abort("stop");
  for (const result of await batch) {
    expect(result).toMatchObject({
      status: "rejected",
      reason: { code: "ABORT_ERR", cause: "stop" },
    });
  }
  const before = ring.stats().completions;
  for (const result of await ring.batch(operations, { timeout: 0 })) {
    expect(result).toMatchObject({ status: "rejected", reason: { code: "ERR_TIMEOUT" } });
  }
  expect(ring.stats().completions).toBe(before);
});

test("the call itself rejects for what concerns all", async () => {
  await using ring = Ring.open();
  await expect(ring.batch({} as never)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
  await expect(ring.batch([], { signla: 1 } as never)).rejects.toMatchObject({
    code: "ERR_INVALID_ARG_VALUE",
    message: expect.stringContaining("signla"),
  });
  await expect(ring.batch([], { timeout: -1 })).rejects.toMatchObject({ code: "ERR_OUT_OF_RANGE" });
});

test("more entries than the queue holds", async () => {
  using folder = new Folder();
  await using ring = Ring.open({ queueDepth: 4 });
  const path = folder.file("a");
  await using file = await File.open(path, { write: true, create: true, ring });
  const contents = pattern(2000 * 16);
  const operations: Operation[] = Array.from({ length: 2000 }, (_, index) => ({
    kind: "write",
    file,
    data: contents.subarray(index * 16, index * 16 + 16),
    offset: index * 16,
  }));
  operations.push({ kind: "syncAll", file });
  const results = await ring.batch(operations);
  expect(results.every((result) => result.status === "fulfilled")).toBe(true);
  expect(new Uint8Array(readFileSync(path))).toEqual(contents);
});

test("a closed ring rejects each entry", async () => {
  using folder = new Folder();
  const ring = Ring.open();
  await using file = await File.open(folder.file("a", "abc"), { ring });
  await ring.close();
  const [result] = await ring.batch([{ kind: "syncAll", file }]);
  expect(result).toMatchObject({ status: "rejected", reason: { code: "ERR_RING_CLOSED" } });
});

test("the array and its entries may be changed as soon as the call returns", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("a", "abc"), { write: true });
  const operations: { kind: string; file: File; data?: Uint8Array; offset?: number }[] = [
    { kind: "write", file, data: new Uint8Array([1, 2]), offset: 0 },
    { kind: "syncAll", file },
    { kind: "read", file, data: new Uint8Array(3), offset: 0 },
  ];
  const results = file.ring.batch(operations as never);
  for (const operation of operations) operation.kind = "read";
  operations.length = 0;
  expect(await results).toEqual([
    { status: "fulfilled", value: 2 },
    { status: "fulfilled", value: 0 },
    { status: "fulfilled", value: 3 },
  ]);
});

test("a file that is refused twice in a row is refused twice", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using other = Ring.open();
  const path = folder.file("a", "abcdefghij");
  await using file = await File.open(path, { write: true, ring });
  await using stranger = await File.open(folder.file("b", "0123"), { write: true, ring: other });
  const write = (to: File, text: string): Operation => ({
    kind: "write",
    file: to,
    data: Buffer.from(text),
    offset: 0,
  });
  const results = await ring.batch([
    write(file, "XY"),
    write(stranger, "12"),
    write(stranger, "34"),
  ]);
  expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected"]);
  expect(readFileSync(path, "utf8")).toBe("XYcdefghij");
});
