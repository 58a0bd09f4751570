// Buffers of another realm (node:vm) work like any other. No error shows the contents of a buffer.

import { expect, test } from "bun:test";
import { createContext, runInContext } from "node:vm";
import { copy, File, type IoData, type Operation } from "../../src/index.ts";
import { simulatedDevice } from "../../src/testing/index.ts";
import { rejection, wrong } from "../support/expect.ts";
import { TempDir } from "../support/temp.ts";

const realm = createContext({});

/** The value of `code` in another realm. */
function foreign<T>(code: string): T {
  return runInContext(code, realm) as T;
}

const BUFFERS = [
  "new ArrayBuffer(16)",
  "new SharedArrayBuffer(16)",
  "new Uint8Array(16)",
  "new DataView(new ArrayBuffer(24), 4, 16)",
  "new Float64Array(2)",
  "new Uint8Array(new SharedArrayBuffer(32), 8, 16)",
];

function bytesIn(data: IoData): Uint8Array {
  if (!ArrayBuffer.isView(data)) return new Uint8Array(data);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

const TEXT = "abcdefghijklmnop";

for (const code of BUFFERS) {
  test(`${code} of another realm is read into and written from`, async () => {
    using dir = new TempDir();
    await using file = await File.open(dir.file("x", TEXT), { write: true });
    const data = foreign<IoData>(code);
    const held = (): string => Buffer.from(bytesIn(data)).toString();
    expect(await file.readAt(data, 0)).toBe(16);
    expect(held()).toBe(TEXT);
    expect(await file.writeAt(data, 16)).toBe(16);
    expect(await file.readvAt([new Uint8Array(3), data, new Uint8Array(1)], 1)).toBe(20);
    expect(held()).toBe("efghijklmnopabcd");
    expect(await file.writevAt([new Uint8Array(1).fill(33), data], 0)).toBe(17);
    await file.readExactAt(data, 1);
    expect(held()).toBe("efghijklmnopabcd");
    const operations: Operation[] = [
      { kind: "write", file, data, offset: 40 },
      { kind: "write", file, data: [data], offset: 60 },
    ];
    expect(await file.ring.batch(operations)).toEqual([
      { status: "fulfilled", value: 16 },
      { status: "fulfilled", value: 16 },
    ]);
    expect(await file.readAt(data, 60)).toBe(16);
    expect(held()).toBe("efghijklmnopabcd");
  });

  test(`streams and copy take ${code} of another realm`, async () => {
    using dir = new TempDir();
    await using file = await File.open(dir.file("x"), { write: true, create: true });
    const data = foreign<IoData>(code);
    bytesIn(data).set(Buffer.from(TEXT));
    const writer = file.writable().getWriter();
    await writer.write(data);
    await writer.close();
    const source = new ReadableStream({
      start(controller): void {
        controller.enqueue(data);
        controller.close();
      },
    });
    await copy(source, file, { targetOffset: 16 });
    const all = new Uint8Array(64);
    expect(await file.readAt(all, 0)).toBe(32);
    expect(Buffer.from(all.subarray(0, 32)).toString()).toBe(TEXT + TEXT);
  });
}

test("arrays and options of another realm", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("x", TEXT), foreign("({ write: true })"));
  const views = foreign<Uint8Array[]>("[new Uint8Array(3), new Uint8Array(2)]");
  expect(await file.readvAt(views, 0)).toBe(5);
  expect(Buffer.concat(views).toString()).toBe("abcde");
});

test("a detached buffer of another realm is refused as detached", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("x", TEXT));
  for (const code of [
    "{ const b = new ArrayBuffer(16); b.transfer(); b }",
    "{ const v = new Uint8Array(16); v.buffer.transfer(); v }",
    "{ const v = new DataView(new ArrayBuffer(16)); v.buffer.transfer(); v }",
  ]) {
    const error = await rejection(file.readAt(foreign(code), 0));
    expect(error.code).toBe("ERR_INVALID_ARG_VALUE");
    expect(error.message).toContain('"data" is detached');
  }
  const outside = "{ const b = new ArrayBuffer(16, { maxByteLength: 16 });";
  const view = `${outside} const v = new Uint8Array(b, 8, 8); b.resize(4); v }`;
  const error = await rejection(file.readAt(foreign(view), 0));
  expect(error.message).toContain('"data" lies outside of its buffer');
});

test("an image of another realm", async () => {
  const image = foreign<Uint8Array>("new Uint8Array(512).fill(7)");
  await using device = await simulatedDevice({ image });
  const read = new Uint8Array(512);
  await device.readExactAt(read, 0);
  expect(read.every((byte) => byte === 7)).toBe(true);
});

// The letters of "SECRET", as numbers, in hexadecimal and as text.
const SECRET = Buffer.from("SECRET");
const LEAK = /SECRET|83|53 45|0x53/;

test("no error shows what a buffer holds", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("x", TEXT), { write: true });
  const bytes = (): Uint8Array<ArrayBuffer> => new Uint8Array(SECRET);
  const values: [unknown, string][] = [
    [SECRET, "Uint8Array(6)"],
    [bytes(), "Uint8Array(6)"],
    [bytes().buffer, "ArrayBuffer(6)"],
    [new DataView(bytes().buffer), "DataView(6)"],
    [Uint16Array.from(SECRET), "Uint16Array(6)"],
    [Array.from(SECRET), "Array(6)"],
    [{ held: SECRET, more: [SECRET] }, "held: Uint8Array(6)"],
    [new Map([["held", SECRET]]), "Map"],
    [new Set([SECRET]), "Set"],
    [Object.assign(new Error("x"), { held: SECRET }), "Error"],
    [new Blob([SECRET]), "Blob"],
    [foreign(`new Uint8Array([${[...SECRET]}]).buffer`), "ArrayBuffer(6)"],
  ];
  for (const [value, shown] of values) {
    const calls = [
      file.readAt(new Uint8Array(1), wrong(value)),
      file.readAt(new Uint8Array(1), 0, { timeout: wrong(value) }),
      File.open(wrong(value === SECRET || ArrayBuffer.isView(value) ? [value] : value)),
      File.fromFd(wrong(value)),
      file.truncate(wrong(value)),
    ];
    for (const [index, call] of calls.entries()) {
      const { message } = await rejection(call);
      expect(message).not.toMatch(LEAK);
      if (index === 0) expect(message).toContain(shown);
    }
  }
  const gone = bytes();
  gone.buffer.transfer();
  expect((await rejection(file.writeAt(gone, 0))).message).toContain("got Uint8Array(0)");
  expect(
    (await rejection(file.writeAt(wrong("SECRET".repeat(50)), 0))).message.length,
  ).toBeLessThan(200);
  expect((await rejection(file.writeAt(wrong(bytes().toString()), 0))).code).toBe(
    "ERR_INVALID_ARG_TYPE",
  );
});

test("showing a wrong value runs none of its code", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("x", TEXT));
  let ran = 0;
  const run = (): string => {
    ran++;
    return "ran";
  };
  const custom = {
    [Symbol.for("nodejs.util.inspect.custom")]: run,
    toString: run,
    toJSON: run,
    get held(): string {
      return run();
    },
    get [Symbol.toStringTag](): string {
      return run();
    },
  };
  const proxy = new Proxy(
    {},
    {
      get: run,
      ownKeys(): string[] {
        return [run()];
      },
      getPrototypeOf(): null {
        run();
        return null;
      },
    },
  );
  for (const value of [custom, proxy]) {
    const error = await rejection(file.readAt(new Uint8Array(1), wrong(value)));
    expect(error.code).toBe("ERR_INVALID_ARG_TYPE");
  }
  expect(ran).toBe(0);
});
