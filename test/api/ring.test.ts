// `Ring`: opening, choice of backend, the default ring, closing.

import { expect, test } from "bun:test";
import { BlockDevice, File, Ring } from "../../src/index.ts";
import { runCode } from "../support/child.ts";
import { backend, noIoUring, noLinux, testUnless } from "../support/conditions.ts";
import { descriptorsBelow, links } from "../support/descriptors.ts";
import { noLoop } from "../support/devices.ts";
import { ioError } from "../support/expect.ts";
import { TempDir } from "../support/temp.ts";

test("the default ring is one, and a new one after close", async () => {
  const ring = Ring.default();
  expect(Ring.default()).toBe(ring);
  expect(ring.queueDepth).toBe(128);
  await ring.close();
  const next = Ring.default();
  expect(next).not.toBe(ring);
  await using file = await File.open("/dev/null");
  expect(file.ring).toBe(next);
});

test("a ring has the backend and the depth asked for", async () => {
  for (const queueDepth of [1, 2, 3, 100, 4096]) {
    await using ring = Ring.open({ queueDepth, backend: "threads" });
    expect(ring.queueDepth).toBe(queueDepth);
    expect(ring.backend).toBe("threads");
    await using file = await File.open("/dev/zero", { ring });
    expect(await file.readAt(new Uint8Array(10), 0)).toBe(10);
  }
});

test("the environment chooses for auto, and backendReason says so", async () => {
  const forced = process.env["BUN_AIO_BACKEND"];
  await using ring = Ring.open();
  await using auto = Ring.open({ backend: "auto" });
  expect(auto.backend).toBe(ring.backend);
  if (forced === undefined || forced === "") {
    expect(ring.backendReason).toStartWith(`${ring.backend}: `);
  } else {
    expect(ring.backendReason).toBe(`${forced}: BUN_AIO_BACKEND=${forced}`);
  }
  // A name in the options counts more.
  await using named = Ring.open({ backend: "threads" });
  expect(named.backend).toBe("threads");
  expect(named.backendReason).toBe("threads: chosen by its name");
});

test("BUN_AIO_BACKEND=auto is auto, and forces nothing", async () => {
  const code = "console.log(Ring.default().backend, '|', Ring.default().backendReason)";
  const unset = await runCode(code, { env: { BUN_AIO_BACKEND: undefined } });
  const named = await runCode(code, { env: { BUN_AIO_BACKEND: "auto" } });
  expect(named).toEqual(unset);
  expect(named.stdout).not.toContain("BUN_AIO_BACKEND");
  expect(named.end).toBe(0);
});

test("two rings of different backends work on one file", async () => {
  using dir = new TempDir();
  const path = dir.file("x", "abcdef");
  await using one = Ring.open({ backend: "threads", queueDepth: 2 });
  await using two = Ring.open({ queueDepth: 2 });
  await using a = await File.open(path, { write: true, ring: one });
  await using b = await File.open(path, { ring: two });
  await a.writeAt(new TextEncoder().encode("XYZ"), 0);
  const buffer = new Uint8Array(6);
  await b.readExactAt(buffer, 0);
  expect(new TextDecoder().decode(buffer)).toBe("XYZdef");
});

test("close waits for what runs, refuses what comes, and twice is the same promise", async () => {
  using dir = new TempDir();
  const ring = Ring.open({ queueDepth: 1 });
  const file = await File.open(dir.file("out"), { write: true, create: true, ring });
  let settled = 0;
  const calls = [
    ...Array.from({ length: 50 }, (_, i) => file.writeAt(new Uint8Array(1000), i * 1000)),
    file.writeAt(new Uint8Array(3 << 20), 0),
    file.writevAt([new Uint8Array(100), new Uint8Array(100)], 0),
    file.size(),
    file.syncAll(),
  ].map((call) => (call as Promise<unknown>).then(() => settled++));
  const closing = ring.close();
  expect(ring.close()).toBe(closing);
  expect(ring[Symbol.asyncDispose]()).toBe(closing);
  const late = [
    file.readAt(new Uint8Array(1), 0),
    file.writevAt([new Uint8Array(1)], 0),
    file.syncAll(),
    file.size(),
    file.truncate(0),
    File.open(dir.file("out"), { ring }),
    File.fromFd(0, { ring }),
  ];
  for (const call of late) {
    const error = await ioError(call, "ERR_RING_CLOSED");
    expect(error.hint).toContain("another");
  }
  await closing;
  expect(settled).toBe(calls.length);
  expect(file.fd).toBeGreaterThan(0);
  await file.close();
  expect(file.fd).toBe(-1);
});

test("an open that begins in time goes on while the ring closes", async () => {
  using dir = new TempDir();
  const opens = [
    (ring: Ring) => File.open(dir.file("x", "abc"), { ring }),
    (ring: Ring) => BlockDevice.open(dir.file("image", "a".repeat(1024)), { ring }),
    ...(noLoop === undefined ? [(ring: Ring) => BlockDevice.open("/dev/loop0", { ring })] : []),
  ];
  for (const open of opens) {
    for (const turns of [0, 1]) {
      const ring = Ring.open();
      const opening = open(ring);
      for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
      const closing = ring.close();
      const file = await opening;
      await closing;
      expect(file.fd).toBeGreaterThan(0);
      await file.close();
    }
  }
});

testUnless(noLinux, "a file can be closed after its ring", async () => {
  using dir = new TempDir();
  const ring = Ring.open();
  const file = await File.open(dir.file("x", "abc"), { ring });
  await ring.close();
  expect(descriptorsBelow(dir.path)).toBe(1);
  await file.close();
  expect(descriptorsBelow(dir.path)).toBe(0);
});

testUnless(noLinux, "an idle ring costs no descriptor once it is closed", async () => {
  const count = (): number => links().filter((link) => link.startsWith("anon_inode:")).length;
  await Ring.open().close();
  const before = count();
  for (let i = 0; i < 100; i++) await Ring.open().close();
  expect(count()).toBeLessThanOrEqual(before);
});

testUnless(noIoUring, "many rings may be open at once", async () => {
  const rings = Array.from({ length: 30 }, () => Ring.open({ queueDepth: 8 }));
  const files = await Promise.all(rings.map((ring) => File.open("/dev/zero", { ring })));
  const reads = files.map((file) => file.readAt(new Uint8Array(100), 0));
  expect(await Promise.all(reads)).toEqual(Array(30).fill(100));
  await Promise.all(files.map((file) => file.close()));
  await Promise.all(rings.map((ring) => ring.close()));
});

test("the backend under test is the one that was asked for", () => {
  const asked = process.env["BUN_AIO_BACKEND"] || "auto";
  expect<string>(asked === "auto" ? "auto" : backend).toBe(asked);
});
