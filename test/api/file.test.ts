// `File`: the tests of tokio-file for reading, writing and metadata, and the defects of its code that must not come
// back.

import { expect, test } from "bun:test";
import fs from "node:fs";
import { pathToFileURL } from "node:url";
import { allocBuffer, File, type IoData, Ring } from "../../src/index.ts";
import { runCode } from "../support/child.ts";
import { ioError, rejection, wrong } from "../support/expect.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const text = new TextDecoder();
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
const letters = "abcdefghijklmnopqrstuvwxyz";

/** The same bytes in every kind of memory that a caller may hold. */
function everyKind(length: number): { name: string; data: IoData }[] {
  const native = allocBuffer(length);
  const shared = new SharedArrayBuffer(length);
  return [
    { name: "allocBuffer", data: native },
    { name: "allocBuffer().buffer", data: native.buffer },
    { name: "Uint8Array", data: new Uint8Array(length) },
    {
      name: "small part of a large ArrayBuffer",
      data: new Uint8Array(new ArrayBuffer(length + 99), 33, length),
    },
    { name: "ArrayBuffer", data: new ArrayBuffer(length) },
    { name: "SharedArrayBuffer", data: shared },
    { name: "view of a SharedArrayBuffer", data: new Uint8Array(new SharedArrayBuffer(length)) },
    { name: "DataView", data: new DataView(new ArrayBuffer(length)) },
    { name: "Buffer", data: Buffer.alloc(length) },
    { name: "Uint16Array", data: new Uint16Array(length / 2) },
    { name: "BigUint64Array", data: new BigUint64Array(length / 8) },
    { name: "Float64Array", data: new Float64Array(length / 8) },
    { name: "resizable ArrayBuffer", data: new ArrayBuffer(length, { maxByteLength: 4 * length }) },
    {
      name: "growable SharedArrayBuffer",
      data: new SharedArrayBuffer(length, { maxByteLength: 4 * length }),
    },
    {
      name: "WebAssembly.Memory",
      data: new Uint8Array(new WebAssembly.Memory({ initial: 1 }).buffer, 16, length),
    },
  ];
}

function asBytes(data: IoData): Uint8Array {
  return ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
}

test("size and stat are those of node:fs", async () => {
  using dir = new TempDir();
  const path = dir.file("letters", letters);
  await using file = await File.open(path);
  expect(await file.size()).toBe(26);
  const stat = await file.stat();
  const reference = fs.statSync(path);
  expect(stat).toBeInstanceOf(fs.Stats);
  expect(stat.isFile()).toBe(true);
  expect(stat.isDirectory()).toBe(false);
  for (const name of Object.keys(reference) as (keyof fs.Stats)[]) {
    expect(`${name} ${stat[name]}`).toBe(`${name} ${reference[name]}`);
  }
  expect(stat.mtime).toEqual(reference.mtime);
  expect(file.kind).toBe("regular");
  expect(file.path).toBe(path);
  expect(file.alignment).toEqual({ memory: 1, offset: 1, length: 1 });
  expect(file.ring).toBe(Ring.default());
});

test("readAt reads from the position asked for", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("letters", "abcdef"));
  const buffer = new Uint8Array(4);
  expect(await file.readAt(buffer, 2)).toBe(4);
  expect(text.decode(buffer)).toBe("cdef");
});

test("readAt gives fewer bytes only at the end of the file", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("letters", "abcdef"));
  const buffer = new Uint8Array(4).fill(46);
  expect(await file.readAt(buffer, 4)).toBe(2);
  expect(text.decode(buffer)).toBe("ef..");
  expect(await file.readAt(buffer, 6)).toBe(0);
  expect(await file.readAt(buffer, 7)).toBe(0);
  expect(await file.readAt(buffer, 2n ** 40n)).toBe(0);
});

test("readExactAt rejects at the end of the file and says how far it came", async () => {
  using dir = new TempDir();
  const path = dir.file("letters", "abcdef");
  await using file = await File.open(path);
  const buffer = new Uint8Array(4);
  expect(await file.readExactAt(buffer, 2)).toBeUndefined();
  expect(text.decode(buffer)).toBe("cdef");
  const error = await ioError(file.readExactAt(buffer, 3), "ERR_END_OF_FILE");
  expect(error).toMatchObject({ syscall: "read", path, offset: 3, length: 4, transferred: 3 });
  expect(error.message).toContain("the file ends after 3 of 4 bytes");
  expect(text.decode(buffer)).toBe("deff");
  const large = await ioError(file.readExactAt(new Uint8Array(3 << 20), 0), "ERR_END_OF_FILE");
  expect(large.transferred).toBe(6);
});

test("readvAt fills one buffer after the other", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("letters", letters));
  for (const make of [
    (size: number) => new Uint8Array(size),
    (size: number) => allocBuffer(size),
  ]) {
    const parts = [make(4), make(8)] as const;
    expect(await file.readvAt(parts, 2)).toBe(12);
    expect(parts.map((part) => text.decode(part))).toEqual(["cdef", "ghijklmn"]);
  }
});

test("readvAt at the end of the file leaves what comes later alone", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("letters", letters));
  for (const make of [
    (size: number) => new Uint8Array(size),
    (size: number) => allocBuffer(size),
  ]) {
    const parts = [make(4), make(4), make(4)].map((part) => part.fill(46));
    expect(await file.readvAt(parts, 20)).toBe(6);
    expect(parts.map((part) => text.decode(part))).toEqual(["uvwx", "yz..", "...."]);
  }
});

test("writeAt writes where it is told and extends the file", async () => {
  using dir = new TempDir();
  const path = dir.file("out", "abcdef");
  await using file = await File.open(path, { write: true });
  expect(await file.writeAt(bytes("XY"), 1)).toBe(2);
  expect(await file.writeAt(bytes("Z"), 8)).toBe(1);
  expect(fs.readFileSync(path, "latin1")).toBe("aXYdef\0\0Z");
});

test("writevAt writes one buffer after the other", async () => {
  using dir = new TempDir();
  const path = dir.file("out");
  await using file = await File.open(path, { write: true, create: true });
  expect(await file.writevAt([bytes("abcdef"), bytes("ghij")], 0)).toBe(10);
  const native = [allocBuffer(3), allocBuffer(2)] as const;
  native[0].set(bytes("123"));
  native[1].set(bytes("45"));
  expect(await file.writevAt(native, 8)).toBe(5);
  expect(fs.readFileSync(path, "latin1")).toBe("abcdefgh12345");
});

test("a vector may mix kinds of memory, and name one twice", async () => {
  using dir = new TempDir();
  const path = dir.file("out");
  await using file = await File.open(path, { write: true, create: true });
  const native = allocBuffer(3);
  native.set(bytes("123"));
  const foreign = bytes("ab");
  expect(await file.writevAt([native, foreign, native, new SharedArrayBuffer(1), foreign], 0)).toBe(
    11,
  );
  expect(fs.readFileSync(path, "latin1")).toBe("123ab123\0ab");
  const back = allocBuffer(4);
  expect(await file.readvAt([back.subarray(0, 2), new Uint8Array(3), back.subarray(2)], 0)).toBe(7);
  expect(text.decode(back)).toBe("1212");
});

test("every kind of memory can be written from and read into", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("out"), { write: true, create: true });
  const length = 48;
  let offset = 1;
  for (const { name, data } of everyKind(length)) {
    const content = pattern(length, offset);
    asBytes(data).set(content);
    expect(`${name} ${await file.writeAt(data, offset)}`).toBe(`${name} ${length}`);
    asBytes(data).fill(0);
    expect(`${name} ${await file.readAt(data, offset)}`).toBe(`${name} ${length}`);
    expect(Buffer.compare(asBytes(data), content)).toBe(0);
    offset += length;
  }
});

test("views of every size around the bounce blocks arrive whole", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("out"), { write: true, create: true });
  const MiB = 1 << 20;
  for (const length of [
    1,
    999,
    1000,
    1001,
    4095,
    4096,
    4097,
    MiB - 1,
    MiB,
    MiB + 1,
    3 * MiB + 17,
  ]) {
    const content = pattern(length, 5);
    expect(await file.writeAt(content, 5)).toBe(length);
    const foreign = new Uint8Array(length);
    const native = allocBuffer(length);
    expect(await Promise.all([file.readAt(foreign, 5), file.readAt(native, 5)])).toEqual([
      length,
      length,
    ]);
    expect(Buffer.compare(foreign, content)).toBe(0);
    expect(Buffer.compare(native, content)).toBe(0);
  }
});

test("syncAll and syncData resolve with nothing", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("out"), { write: true, create: true });
  await file.writeAt(bytes("abc"), 0);
  expect(await file.syncAll()).toBeUndefined();
  expect(await file.syncData()).toBeUndefined();
});

test("truncate sets the length, both ways", async () => {
  using dir = new TempDir();
  const path = dir.file("out", "abcdef");
  await using file = await File.open(path, { write: true });
  await file.truncate(3);
  expect(fs.readFileSync(path, "latin1")).toBe("abc");
  await file.truncate(5n);
  expect(await file.size()).toBe(5);
  await file.truncate(0);
  expect(await file.size()).toBe(0);
});

test("allocate reserves and extends", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("out", "abc"), { write: true });
  await file.allocate(0, 8192);
  expect(await file.size()).toBe(8192);
  expect((await file.stat()).blocks).toBeGreaterThanOrEqual(16);
  await file.allocate(10_000n, 1);
  expect(await file.size()).toBe(10_001);
  expect((await rejection(file.allocate(0, 0))).message).toContain(
    '"length" must be an integer from 1',
  );
});

test("invalidateCache keeps what was written", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("out"), { write: true, create: true });
  const content = pattern(100_000);
  await file.writeAt(content, 0);
  await file.invalidateCache();
  const back = new Uint8Array(content.length);
  await file.readExactAt(back, 0);
  expect(Buffer.compare(back, content)).toBe(0);
});

test("two files are read and written in one flush", async () => {
  using dir = new TempDir();
  await using one = await File.open(dir.file("one", "11111111"), { write: true });
  await using two = await File.open(dir.file("two", "22222222"), { write: true });
  const a = new Uint8Array(4);
  const b = new Uint8Array(4);
  expect(
    await Promise.all([
      one.readAt(a, 0),
      two.readAt(b, 0),
      one.writeAt(bytes("AA"), 6),
      two.writeAt(bytes("BB"), 6),
    ]),
  ).toEqual([4, 4, 2, 2]);
  expect(text.decode(a) + text.decode(b)).toBe("11112222");
  expect(fs.readFileSync(dir.file("one"), "latin1")).toBe("111111AA");
  expect(fs.readFileSync(dir.file("two"), "latin1")).toBe("222222BB");
});

test("a file: URL opens like its path", async () => {
  using dir = new TempDir();
  const path = dir.file("with space & ü", "abc");
  await using file = await File.open(pathToFileURL(path));
  expect(await file.size()).toBe(3);
  expect(file.path).toBe(path);
});

test("fromFd leaves the descriptor open, unless it owns it", async () => {
  using dir = new TempDir();
  const path = dir.file("letters", "abcdef");
  const fd = fs.openSync(path, "r");
  const file = await File.fromFd(fd, { path: "some name" });
  expect(file.fd).toBe(fd);
  expect(file.path).toBe("some name");
  const buffer = new Uint8Array(3);
  expect(await file.readAt(buffer, 1)).toBe(3);
  await file.close();
  expect(file.fd).toBe(-1);
  expect(fs.fstatSync(fd).size).toBe(6);
  const owner = await File.fromFd(fd, { ownsFd: true });
  await owner.close();
  expect(() => fs.fstatSync(fd)).toThrow("EBADF");
});

test("close waits for what is in flight, and twice is the same promise", async () => {
  using dir = new TempDir();
  const file = await File.open(dir.file("out"), { write: true, create: true });
  const content = pattern(3 << 20);
  let written = 0;
  const writing = file.writeAt(content, 0).then((count) => {
    written = count;
  });
  const fd = file.fd;
  const closing = file.close();
  expect(file.close()).toBe(closing);
  expect(file[Symbol.asyncDispose]()).toBe(closing);
  await closing;
  expect(written).toBe(content.length);
  await writing;
  expect(file.fd).toBe(-1);
  expect(() => fs.fstatSync(fd)).toThrow();
  expect(fs.statSync(dir.file("out")).size).toBe(content.length);
});

test("a closed file refuses every operation with EBADF", async () => {
  using dir = new TempDir();
  const file = await File.open(dir.file("out"), { write: true, create: true });
  await file.close();
  const data = new Uint8Array(1);
  const calls = [
    file.readAt(data, 0),
    file.readExactAt(data, 0),
    file.writeAt(data, 0),
    file.readvAt([data], 0),
    file.writevAt([data], 0),
    file.syncAll(),
    file.syncData(),
    file.size(),
    file.stat(),
    file.truncate(0),
    file.allocate(0, 1),
    file.invalidateCache(),
  ];
  for (const call of calls) {
    const error = await ioError(call, "EBADF");
    expect(error.errno).toBe(-9);
    expect(error.message).toContain("the file is closed");
    expect(error.hint).toBe("Open it again");
  }
});

test("File is made by open and fromFd only", () => {
  expect(() => new File(wrong(undefined))).toThrow(TypeError);
  expect(() => new File(wrong({ key: Symbol("other") }))).toThrow(
    '"File" must be made by File.open',
  );
});

// Defects of the old tokio-file ---------------------------------

test("(a) one operation fails, its siblings are reaped", async () => {
  using dir = new TempDir();
  await using good = await File.open(dir.file("good", "abcdef"), { write: true });
  await using readOnly = await File.open(dir.file("readonly", "abcdef"));
  const buffer = new Uint8Array(3);
  const outcomes = await Promise.allSettled([
    good.readAt(buffer, 0),
    readOnly.writeAt(bytes("x"), 0),
    good.writeAt(bytes("y"), 5),
    readOnly.writeAt(bytes("x"), 1),
    good.size(),
  ]);
  expect(outcomes.map((outcome) => outcome.status)).toEqual([
    "fulfilled",
    "rejected",
    "fulfilled",
    "rejected",
    "fulfilled",
  ]);
  expect(text.decode(buffer)).toBe("abc");
});

test("(b) every operation of a flush fails", async () => {
  using dir = new TempDir();
  // In a process of its own, with lower numbers free: else this one could be another file's before the reads begin.
  const child = await runCode(
    `
    const lower = Array.from({ length: 20 }, () => fs.openSync(args[0], "r"));
    const fd = fs.openSync(args[0], "r");
    const file = await File.fromFd(fd);
    for (const one of [...lower, fd]) fs.closeSync(one);
    const reads = Array.from({ length: 50 }, () => file.readAt(new Uint8Array(1), 0));
    const seen = (await Promise.allSettled(reads)).map(({ reason }) => reason?.code + " " + reason?.hint);
    console.log(JSON.stringify([...new Set(seen)]));
    `,
    { args: [dir.file("gone", "abc")] },
  );
  expect(child).toMatchObject({ end: 0, stderr: "" });
  expect(child.stdout).toStartWith('["EBADF ');
  expect(child.stdout).toContain("closed outside of bun-aio");
  expect(JSON.parse(child.stdout).length).toBe(1);
});

test("(d) an empty vector settles with 0", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("out", "abc"), { write: true });
  expect(await file.readvAt([], 0)).toBe(0);
  expect(await file.writevAt([], 0)).toBe(0);
  expect(await file.writevAt([new Uint8Array(0), allocBuffer(1).subarray(0, 0)], 1)).toBe(0);
  expect(await file.readvAt([allocBuffer(1).subarray(0, 0)], 1)).toBe(0);
  expect(await file.size()).toBe(3);
});

for (const count of [256, 257, 1024, 1025, 5000]) {
  test(`(e) a vector of ${count} buffers`, async () => {
    using dir = new TempDir();
    await using file = await File.open(dir.file("out"), { write: true, create: true });
    const content = pattern(count * 3);
    const slab = allocBuffer(count * 3);
    slab.set(content);
    const pieces = Array.from({ length: count }, (_, i) => slab.subarray(i * 3, i * 3 + 3));
    expect(await file.writevAt(pieces, 7)).toBe(content.length);
    slab.fill(0);
    expect(await file.readvAt(pieces, 7)).toBe(content.length);
    expect(Buffer.compare(slab, content)).toBe(0);
    const foreign = Array.from({ length: count }, () => new Uint8Array(3));
    expect(await file.readvAt(foreign, 7)).toBe(content.length);
    expect(Buffer.compare(Buffer.concat(foreign), content)).toBe(0);
    expect(await file.writevAt(foreign, 0)).toBe(content.length);
    expect(await file.size()).toBe(content.length + 7);
  });
}

test("(f) a promise that nobody keeps is settled all the same", async () => {
  using dir = new TempDir();
  const path = dir.file("out");
  const file = await File.open(path, { write: true, create: true });
  for (let i = 0; i < 200; i++) void file.writeAt(bytes("x"), i);
  await file.close();
  expect(fs.readFileSync(path, "latin1")).toBe("x".repeat(200));
});

test("(g) /dev/null takes everything and gives nothing", async () => {
  await using file = await File.open("/dev/null", { write: true });
  expect(file.kind).toBe("character");
  expect(await file.writeAt(new Uint8Array(10_000), 123)).toBe(10_000);
  expect(await file.writeAt(new Uint8Array(3 << 20), 0)).toBe(3 << 20);
  expect(await file.writevAt([allocBuffer(10), allocBuffer(20)], 0)).toBe(30);
  expect(await file.readAt(new Uint8Array(10), 0)).toBe(0);
  expect(await file.size()).toBe(0);
});

test("(h) /dev/zero fills long requests", async () => {
  await using file = await File.open("/dev/zero");
  const buffer = allocBuffer(5 << 20).fill(1);
  expect(await file.readAt(buffer, 3)).toBe(buffer.length);
  expect(buffer.every((byte) => byte === 0)).toBe(true);
});

test("(k) readAt and writeAt go on until all is done", async () => {
  // More than one piece of the kernel lane, and over injected faults many short ones.
  using dir = new TempDir();
  await using file = await File.open(dir.file("out"), { write: true, create: true });
  const content = pattern((5 << 20) + 123);
  const native = allocBuffer(content.length);
  native.set(content);
  expect(await file.writeAt(native, 11)).toBe(content.length);
  native.fill(0);
  expect(await file.readAt(native, 11)).toBe(content.length);
  expect(Buffer.compare(native, content)).toBe(0);
});
