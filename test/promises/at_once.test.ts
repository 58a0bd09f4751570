// Cached reads awaited one at a time are made at the call, without a flush. What callers see is the same as with
// one: these tests run on every backend, and the figures where reads are made at once.

import { expect, test } from "bun:test";
import fs from "node:fs";
import { allocBuffer, BufferPool, File, type IoData, Ring } from "../../src/index.ts";
import { trackLeaks } from "../../src/testing/index.ts";
import { runCode } from "../support/child.ts";
import {
  noFaultFree,
  noIoUring,
  noLinux,
  noNowait,
  noStrace,
  testUnless,
} from "../support/conditions.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

/** Enough single reads for the next one to be made at once. */
const SINGLE_READS = 100;
const notAtOnce = noLinux ?? noIoUring ?? noNowait ?? noFaultFree;

async function readSingly(file: File, count = SINGLE_READS): Promise<void> {
  const buffer = allocBuffer(64);
  for (let i = 0; i < count; i++) await file.readAt(buffer, 0);
}

/** A cached file of 64 KiB, of which single reads were made. */
async function warmFile(dir: TempDir, ring: Ring, write = false): Promise<File> {
  const file = await File.open(dir.file("data", pattern(65_536)), { ring, write });
  await readSingly(file);
  return file;
}

testUnless(notAtOnce, "single cached reads need no flush, and are in the statistics", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  await using file = await warmFile(dir, ring);
  const before = ring.stats();
  await readSingly(file, 50);
  const after = ring.stats();
  // One after each millisecond, so that timers have their turns.
  expect(after.flushes - before.flushes).toBeLessThan(25);
  expect(after.reads - before.reads).toBe(50);
  expect(after.completions - before.completions).toBe(50);
  expect(after.inlineCompletions - before.inlineCompletions).toBe(50);
  expect(after.bytesRead - before.bytesRead).toBe(50 * 64);
  expect(after.submitCalls - before.submitCalls).toBe(50);
  expect(after.latency.read.count - before.latency.read.count).toBe(50);
  expect(after.inFlight).toBe(0);
});

testUnless(
  notAtOnce,
  "a stream reads cached data without a flush, and is in the statistics",
  async () => {
    using dir = new TempDir();
    const contents = pattern(4 << 20);
    await using ring = Ring.open();
    await using file = await File.open(dir.file("data", contents), { ring });
    const before = ring.stats();
    const bytes = await new Response(file.readable({ end: contents.byteLength })).bytes();
    const after = ring.stats();
    expect(Buffer.compare(bytes, contents)).toBe(0);
    expect(after.reads - before.reads).toBe(16);
    expect(after.bytesRead - before.bytesRead).toBe(contents.byteLength);
    expect(after.flushes - before.flushes).toBe(0);
  },
);

testUnless(notAtOnce, "a BYOB reader's view is read into, if it has room for a chunk", async () => {
  using dir = new TempDir();
  const contents = pattern(1 << 20);
  await using ring = Ring.open();
  await using file = await File.open(dir.file("data", contents), { ring });
  const stream = file.readable({ end: contents.byteLength, chunkSize: 65_536 });
  const reader = stream.getReader({ mode: "byob" });
  const before = ring.stats();
  let view = new Uint8Array(262_144);
  for (let at = 0; at < contents.byteLength; at += view.byteLength) {
    const { value } = await reader.read(view);
    expect(value?.byteLength).toBe(262_144);
    view = value as Uint8Array<ArrayBuffer>;
    expect(Buffer.compare(view, contents.subarray(at, at + view.byteLength))).toBe(0);
  }
  expect((await reader.read(view)).done).toBe(true);
  expect(ring.stats().reads - before.reads).toBe(4);
});

test("a stream of cached data leaves timers their turns", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("data", pattern(32 << 20)));
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  try {
    // A chunk takes 50 us, and what is read is not waited for.
    for await (const chunk of file.readable()) expect(chunk.byteLength).toBe(262_144);
  } finally {
    clearInterval(timer);
  }
  expect(ticks).toBeGreaterThan(1);
});

testUnless(notAtOnce, "several calls of one turn still become one flush", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  await using file = await warmFile(dir, ring);
  const buffers = Array.from({ length: 64 }, () => allocBuffer(1024));
  const turn = async (): Promise<number[]> => {
    const before = ring.stats();
    const moved = await Promise.all(buffers.map((data, i) => file.readAt(data, i * 1024)));
    expect(moved).toEqual(buffers.map(() => 1024));
    const after = ring.stats();
    return [after.flushes - before.flushes, after.submitCalls - before.submitCalls];
  };
  // The first call could not know of the others; the turns after it do.
  expect((await turn())[0]).toBe(1);
  expect(await turn()).toEqual([1, 1]);
  expect(Buffer.compare(Buffer.concat(buffers), pattern(65_536))).toBe(0);
});

test("single reads: bytes, short reads, the end of the file, exact reads", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  await using file = await warmFile(dir, ring);
  const bytes = pattern(65_536);
  for (const [offset, length, moved] of [
    [0, 4096, 4096],
    [1, 65_535, 65_535],
    [0, 65_536, 65_536],
    [65_000, 4096, 536],
    [65_536, 10, 0],
    [2 ** 40, 10, 0],
    [5, 0, 0],
  ] as const) {
    await readSingly(file);
    const data = allocBuffer(length + 1).fill(7);
    expect(await file.readAt(data.subarray(0, length), offset)).toBe(moved);
    const expected = bytes.subarray(offset, offset + moved);
    expect(Buffer.compare(data.subarray(0, moved), expected)).toBe(0);
    expect(data.subarray(moved).every((byte) => byte === 7)).toBe(true);
  }
  await readSingly(file);
  expect(await file.readExactAt(allocBuffer(10), 0)).toBeUndefined();
  await expect(file.readExactAt(allocBuffer(10), 65_530)).rejects.toMatchObject({
    code: "ERR_END_OF_FILE",
    transferred: 6,
  });
});

test("single reads: every kind of memory", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  await using file = await warmFile(dir, ring);
  using pool = new BufferPool({ size: 4096, count: 1 });
  using lease = await pool.acquire();
  const whole = new Uint8Array(300).fill(7);
  const kinds: IoData[] = [
    lease,
    allocBuffer(8192).subarray(100, 300),
    whole.subarray(100, 200),
    new DataView(new ArrayBuffer(64), 8, 32),
    new Float64Array(10),
    new BigUint64Array(3),
    new Uint8Array(new SharedArrayBuffer(100), 3, 50),
    new ArrayBuffer(77),
    new SharedArrayBuffer(77),
    new Uint8Array(new ArrayBuffer(100, { maxByteLength: 200 })),
    Buffer.alloc(20),
    new Uint8Array(new WebAssembly.Memory({ initial: 1 }).buffer, 7, 99),
    new Uint8Array(1),
  ];
  for (const data of kinds) {
    await readSingly(file);
    const view = ArrayBuffer.isView(data)
      ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      : new Uint8Array(data);
    expect(await file.readAt(data, 3)).toBe(view.byteLength);
    expect(Buffer.compare(view, pattern(65_536).subarray(3, 3 + view.byteLength))).toBe(0);
  }
  expect(whole.subarray(0, 100).every((byte) => byte === 7)).toBe(true);
  expect(whole.subarray(200).every((byte) => byte === 7)).toBe(true);
});

test("single reads: memory that was taken away, and files that are closed, are refused", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  const file = await warmFile(dir, ring);
  for (const data of [new Uint8Array(64), allocBuffer(64)]) {
    await readSingly(file);
    data.buffer.transfer();
    await expect(file.readAt(data, 0)).rejects.toThrow("detached");
  }
  await readSingly(file);
  const closed = file.close();
  await expect(file.readAt(allocBuffer(64), 0)).rejects.toMatchObject({ code: "EBADF" });
  await closed;
  await expect(file.readAt(allocBuffer(64), 0)).rejects.toMatchObject({ code: "EBADF" });
});

test("single reads see what was written before, by this file and by others", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  await using file = await warmFile(dir, ring, true);
  const data = allocBuffer(1);
  for (let i = 0; i < 200; i++) {
    if (i % 3 === 0) await file.writeAt(Uint8Array.of(i), i);
    else fs.writeFileSync(dir.file("data"), Uint8Array.of(...new Uint8Array(i), i));
    await file.readExactAt(data, i);
    expect(data[0]).toBe(i);
    if (i % 50 === 0) await file.syncData();
  }
});

test("timers and other turns come beside single reads", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  await using file = await warmFile(dir, ring);
  let turns = 0;
  const count = (): void => {
    if (turns++ < 10) setImmediate(count);
  };
  setImmediate(count);
  const data = allocBuffer(4096);
  let reads = 0;
  while (turns < 10) {
    await file.readAt(data, 0);
    if (reads++ > 1_000_000) throw new Error(`${turns} turns beside a million reads`);
  }
  expect(reads).toBeGreaterThan(0);
});

test("single reads leave nothing behind", async () => {
  using dir = new TempDir();
  await using ring = Ring.open();
  {
    await using _leaks = trackLeaks();
    await using file = await warmFile(dir, ring);
    await readSingly(file);
  }
  expect(ring.stats().inFlight).toBe(0);
});

testUnless(
  notAtOnce ?? noStrace,
  "an error of a read at once is the read's; what is not cached is read in the other way",
  async () => {
    const code = `
      fs.writeFileSync(args[0], new Uint8Array(4096).fill(7));
      const file = await File.open(args[0]);
      const data = allocBuffer(64);
      const said = [];
      for (let i = 0; i < 200; i++) {
        said.push(await file.readAt(data.fill(0), 0).then((moved) => moved * data[63], (error) => error.code + " " + error.syscall));
      }
      await file.close();
      console.log(JSON.stringify([...new Set(said)]), file.ring.stats().inFlight);
    `;
    using dir = new TempDir();
    const run = async (injection: string): Promise<string> => {
      const under = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", dir.file("data", "")];
      under.push("-e", "trace=preadv2", "-e", `inject=preadv2:${injection}`);
      const { stdout } = await runCode(code, { args: [dir.file("data")], under });
      return stdout;
    };
    // Asked for at once, and once more in the flush: the second answer is the read's.
    expect(await run("error=EIO:when=100..101")).toBe('[448,"EIO read"] 0\n');
    for (const error of ["EAGAIN", "EINTR", "EOPNOTSUPP", "ENOSYS"]) {
      expect(await run(`error=${error}:when=100+3`)).toBe("[448] 0\n");
    }
  },
);
