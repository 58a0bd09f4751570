// `IoError`: as JSON, the list of its codes, and the stack of the call that failed.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { BlockDevice, BufferPool, copy, File, IoError } from "../../src/index.ts";
import { type SimulatedDevice, simulatedDevice, trackLeaks } from "../../src/testing/index.ts";
import { runCode } from "../support/child.ts";
import { noLinux, testUnless } from "../support/conditions.ts";
import { rejection } from "../support/control.ts";
import { TempDir } from "../support/temp.ts";
import { indexPath } from "../support/under_test.ts";

const root = join(import.meta.dir, "..", "..");

async function brokenDevice(): Promise<SimulatedDevice> {
  return simulatedDevice({ size: 2 ** 20, faults: [{ operation: "any", error: "EIO" }] });
}

describe("as JSON", () => {
  test("it has its message and all of its fields", async () => {
    await using device = await brokenDevice();
    const error = await rejection(device.readAt(new Uint8Array(512), 1024));
    const { message, hint, path } = error;
    expect(message).toContain("EIO");
    expect(JSON.parse(JSON.stringify({ error }))).toEqual({
      error: {
        ...{ name: "IoError", message, code: "EIO", errno: -5, syscall: "read", path },
        ...{ offset: 1024, length: 512, transferred: 0, hint },
      },
    });
  });

  test("offsets above 2^53, causes and results are in it", async () => {
    using dir = new TempDir();
    await using file = await File.open(dir.file("data", "x"), { write: true });
    await using full = await simulatedDevice({ size: 4096 });
    const far = await rejection(file.readExactAt(new Uint8Array(1), 2n ** 62n));
    expect(JSON.parse(JSON.stringify(far)).offset).toBe(String(2n ** 62n));
    const signal = AbortSignal.abort(new TypeError("enough"));
    const aborted = await rejection(file.readAt(new Uint8Array(1), 0, { signal }));
    expect(JSON.parse(JSON.stringify(aborted))).toMatchObject({
      ...{ name: "AbortError", code: "ABORT_ERR", path: file.path },
      cause: { name: "TypeError", message: "enough" },
    });
    const stream = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(3000)),
    });
    const cut = await rejection(copy(stream, full));
    expect(JSON.parse(JSON.stringify(cut))).toMatchObject({
      ...{ code: cut.code, message: cut.message },
      result: JSON.parse(JSON.stringify(cut.result)),
    });
  });

  test("no cause makes it fail", async () => {
    await using device = await simulatedDevice();
    const circle: { self?: unknown; big: bigint } = { big: 1n };
    circle.self = circle;
    const inner = new IoError("EIO");
    inner.cause = new Error("outer", { cause: inner });
    const hidden = Object.defineProperty({}, "toJSON", {
      get: () => {
        throw new Error("read");
      },
    });
    for (const reason of [circle, inner, hidden, 1n, Symbol("s"), null, () => 1, "words"]) {
      const signal = AbortSignal.abort(reason);
      const error = await rejection(device.readAt(new Uint8Array(1), 0, { signal }));
      expect(error.cause).toBe(reason);
      expect(JSON.parse(JSON.stringify(error)).message).toBe(error.message);
    }
    expect(JSON.parse(JSON.stringify(inner)).cause.message).toBe("outer");
  });
});

test("every code that the library makes is in the list and in the documentation", () => {
  const made = new Set<string>();
  for (const name of readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".ts")) continue;
    const text = readFileSync(join(root, "src", name), "utf8");
    for (const [, code = ""] of text.matchAll(/new IoError\(\s*"(\w+)"/g)) made.add(code);
  }
  expect(made.size).toBeGreaterThan(10);
  const list = readFileSync(join(root, "src", "errors", "codes.ts"), "utf8");
  const docs = readFileSync(join(root, "docs", "errors.md"), "utf8");
  for (const code of made) {
    expect(list).toContain(`"${code}"`);
    if (code.startsWith("ERR_")) expect(docs).toContain(`\`${code}\``);
  }
});

/** The function whose name is in the stack of what its call rejects with. */
type Call = (device: SimulatedDevice) => Promise<unknown>;

const calls: Record<string, Call> = {
  callReadAt: async function callReadAt(device) {
    await device.readAt(new Uint8Array(512), 0);
  },
  callUnaligned: async function callUnaligned(device) {
    await device.readExactAt(new Uint8Array(100), 1);
  },
  callWriteAt: async function callWriteAt(device) {
    await device.writeAt(new Uint8Array(512), 0);
  },
  callWritev: async function callWritev(device) {
    await device.writevAt([new Uint8Array(512), new Uint8Array(512)], 0);
  },
  callSyncAll: async function callSyncAll(device) {
    await device.syncAll();
  },
  callDiscard: async function callDiscard(device) {
    await device.discard(0, 512);
  },
  callWriteZeroes: async function callWriteZeroes(device) {
    await device.writeZeroes(0, 512);
  },
  callReread: async function callReread() {
    using dir = new TempDir();
    await using image = await BlockDevice.open(dir.file("image", "x"));
    await image.rereadPartitions();
  },
  callBatch: async function callBatch(device) {
    const data = new Uint8Array(512);
    const operation = { kind: "read" as const, file: device, data, offset: 0 };
    const [result] = await device.ring.batch([operation]);
    if (result?.status === "rejected") throw result.reason;
  },
  callReadable: async function callReadable(device) {
    const stream = device.readable();
    await stream.getReader().read();
  },
  callWritable: async function callWritable(device) {
    const writer = device.writable().getWriter();
    writer.closed.catch(() => {});
    await writer.write(new Uint8Array(512));
    await writer.close();
  },
  callCopy: async function callCopy(device) {
    await copy(device, device, { targetOffset: 65536, length: 4096 });
  },
  callAcquire: async function callAcquire() {
    const pool = new BufferPool({ size: 512, count: 1 });
    using _ = await pool.acquire();
    const waiting = pool.acquire();
    pool[Symbol.dispose]();
    await waiting;
  },
  callOpen: async function callOpen() {
    await File.open("/missing/file");
  },
  callOpenDevice: async function callOpenDevice() {
    await BlockDevice.open("/missing/device");
  },
};

describe("the stack", () => {
  test("while leaks are tracked, it begins with the call that failed", async () => {
    await using device = await brokenDevice();
    for (const [name, call] of Object.entries(calls)) {
      const { stack, message } = await (async () => {
        await using _ = trackLeaks();
        return await rejection(call(device));
      })();
      const [first = "", second] = stack?.slice(stack.indexOf("\n    at ") + 1).split("\n") ?? [];
      expect(stack).toStartWith(`IoError: ${message}\n`);
      // A function called last in another (`return f()`) has no frame in JavaScriptCore.
      expect([first, second].join()).toContain(name);
      expect(first).toContain(import.meta.file);
    }
  });

  test("otherwise it is not recorded", async () => {
    await using device = await brokenDevice();
    const { stack } = await rejection(calls["callReadAt"]?.(device) ?? Promise.resolve());
    expect(stack).not.toContain("callReadAt");
  });

  testUnless(noLinux, "BUN_AIO_TRACE=1 records it", async () => {
    const code = `
      import { File } from ${JSON.stringify(indexPath)};
      await using file = await File.open("/dev/full", { write: true });
      async function writesToFull() { await file.writeAt(new Uint8Array(1), 0); }
      const error = await writesToFull().catch((error) => error);
      console.log(error.stack.includes("writesToFull"));`;
    for (const [value, expected] of [
      ["1", "true"],
      [undefined, "false"],
      ["0", "false"],
    ] as const) {
      const { stdout } = await runCode(code, { bare: true, env: { BUN_AIO_TRACE: value } });
      expect(stdout.trim()).toBe(expected);
    }
  });

  testUnless(noLinux, "also for each target of copyToAll", async () => {
    const code = `
      import { copyToAll, File } from ${JSON.stringify(indexPath)};
      await using source = await File.open("/dev/zero");
      await using target = await File.open("/dev/full", { write: true });
      async function copiesToFull() {
        return await copyToAll(source, [target], { length: 4096, sync: false });
      }
      const [{ reason }] = await copiesToFull();
      console.log(reason.code, reason.stack.includes("copiesToFull"));`;
    const { stdout } = await runCode(code, { bare: true, env: { BUN_AIO_TRACE: "1" } });
    expect(stdout.trim()).toBe("ENOSPC true");
  });
});
