// Memory of pools and of allocBuffer that io_uring registers: data stays right while it comes and goes, and nothing
// stays pinned. The other backends run the same code and pin nothing.

import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { BufferPool, File } from "../../src/index.ts";
import { type ChildOptions, runCode } from "../support/child.ts";
import {
  backend,
  isSince,
  noFaultFree,
  noIoUring,
  noRoot,
  noStrace,
  testUnless,
  unless,
} from "../support/conditions.ts";
import { TempDir } from "../support/temp.ts";

const KiB = 1024;

/**
 * `pinned()`: KiB that this process has pinned; `use`: one read into the pool's next buffer. `open` is for reads that go
 * to the kernel's queue: what is in the page cache is read at once, past it.
 */
const HELPERS = `
const open = (path, options) => File.open(path, { direct: true, ...options });
const pinned = () => Number(/VmPin:\\s+(\\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1]);
const use = async (file, pool, offset = 0) => {
  const buffer = await pool.acquire();
  await file.readExactAt(buffer, offset);
  if (buffer.some((byte) => byte !== 7)) throw new Error("wrong data");
  return buffer;
};
`;

async function seen(code: string, options: ChildOptions = {}): Promise<unknown> {
  using dir = new TempDir();
  const path = dir.file("data", new Uint8Array(4 * KiB * KiB).fill(7));
  const child = await runCode(HELPERS + code, { ...options, args: [path] });
  expect(child).toMatchObject({ end: 0, stderr: "" });
  return JSON.parse(child.stdout);
}

// What the kernel has, not what the library makes of it: a library that pins nothing any more has to fail here.
const noPins = noIoUring ?? unless(isSince(6, 4), "Linux 6.4 or later only");

testUnless(noPins, "a pool is pinned as it is used, and no longer than it lives", async () => {
  const steps = await seen(`
    await using file = await open(args[0]);
    const steps = [];
    const small = new BufferPool({ size: 4096, count: 32 });
    steps.push(pinned());
    await use(file, small);
    steps.push(pinned());
    // Below 2 MiB there are no huge pages, which the kernel counts as a whole.
    const large = new BufferPool({ size: 1 << 18, count: 4 });
    await use(file, large);
    steps.push(pinned());
    await use(file, large);
    steps.push(pinned());
    large[Symbol.dispose]();
    steps.push(pinned());
    // Too large for one registration to be short.
    await use(file, new BufferPool({ size: 3 << 20, count: 1 }));
    steps.push(pinned());
    // Until here it may not be collected.
    small[Symbol.dispose]();
    await file.close();
    await Ring.default().close();
    for (let i = 0; i < 500 && pinned() > 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
    steps.push(pinned());
    console.log(JSON.stringify(steps));
  `);
  expect(steps).toEqual([0, 128, 128 + 256, 128 + 512, 128, 128, 0]);
});

testUnless(noPins, "pools that are dropped are let go of, and their memory goes back", async () => {
  const { most, left, grown } = (await seen(`
    await using file = await open(args[0]);
    let most = 0;
    const once = async () => { await use(file, new BufferPool({ size: 256 * 1024, count: 4 })); };
    const turn = () => new Promise((resolve) => setTimeout(resolve, 1));
    for (let i = 0; i < 20; i++) { await once(); Bun.gc(true); await turn(); }
    const before = process.memoryUsage.rss();
    for (let i = 0; i < 200; i++) {
      await once();
      most = Math.max(most, pinned());
      if (i % 4 === 0) { Bun.gc(true); await turn(); }
    }
    for (let i = 0; i < 100 && pinned() > 512; i++) { Bun.gc(true); await turn(); }
    const grown = process.memoryUsage.rss() - before;
    console.log(JSON.stringify({ most, left: pinned(), grown }));
  `)) as { most: number; left: number; grown: number };
  // 16 pools at a time, of each the one buffer that was used.
  expect(most).toBeLessThanOrEqual(16 * 256);
  // A conservative collector may keep the last one or two.
  expect(left).toBeLessThanOrEqual(2 * 256);
  expect(grown).toBeLessThan(64 * KiB * KiB);
});

testUnless(noPins, "memory of allocBuffer is pinned from its second direct use on", async () => {
  const steps = await seen(`
    await using file = await open(args[0]);
    await using cached = await open(args[0], { direct: false });
    const steps = [];
    const read = async (from, buffer) => {
      await from.readExactAt(buffer.fill(0), 0);
      if (buffer.some((byte) => byte !== 7)) throw new Error("wrong data");
      steps.push(pinned());
    };
    const buffer = allocBuffer(256 * 1024);
    await read(file, buffer);
    await read(file, buffer);
    await read(file, buffer.subarray(4096, 8192));
    const small = allocBuffer(32 * 1024);
    const other = allocBuffer(256 * 1024);
    for (let i = 0; i < 3; i++) {
      await file.readExactAt(small, 0);
      await cached.readExactAt(other, 0);
    }
    steps.push(pinned());
    await file.close();
    await cached.close();
    await Ring.default().close();
    for (let i = 0; i < 500 && pinned() > 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
    steps.push(pinned());
    console.log(JSON.stringify(steps));
  `);
  expect(steps).toEqual([0, 256, 256, 256, 0]);
});

testUnless(
  noPins,
  "memory that gave way to others is pinned again after 17 more uses",
  async () => {
    const steps = await seen(`
    await using file = await open(args[0]);
    const readInto = async (buffer, times) => {
      for (let i = 0; i < times; i++) await file.readExactAt(buffer, 0);
      return pinned();
    };
    const first = allocBuffer(512 * 1024);
    const others = Array.from({ length: 32 }, () => allocBuffer(1 << 20));
    const steps = [await readInto(first, 2)];
    for (const buffer of others) await readInto(buffer, 2);
    steps.push(pinned(), await readInto(first, 17), await readInto(first, 1));
    others.fill();
    console.log(JSON.stringify(steps));
  `);
    expect(steps).toEqual([512, 32 * KiB, 32 * KiB, 31 * KiB + 512]);
  },
);

testUnless(noPins, "however much of allocBuffer is used, pools find a place", async () => {
  const steps = await seen(`
    await using file = await open(args[0]);
    const buffers = Array.from({ length: 80 }, () => allocBuffer(64 * 1024));
    for (const buffer of buffers) for (let i = 0; i < 2; i++) await file.readExactAt(buffer, 0);
    const steps = [pinned()];
    const pool = new BufferPool({ size: 4096, count: 32 });
    await use(file, pool);
    steps.push(pinned());
    buffers.fill();
    console.log(JSON.stringify(steps));
  `);
  expect(steps).toEqual([40 * 64, 40 * 64 + 128]);
});

testUnless(
  noPins,
  "memory of allocBuffer: at most 32 MiB stay pinned, of the last used",
  async () => {
    const { most, last, left } = (await seen(`
    await using file = await open(args[0]);
    let most = 0;
    const readInto = async (buffer) => {
      for (let i = 0; i < 3; i++) await file.readExactAt(buffer.fill(0), 0);
      if (buffer.some((byte) => byte !== 7)) throw new Error("wrong data");
      most = Math.max(most, pinned());
    };
    const turn = () => new Promise((resolve) => setTimeout(resolve, 1));
    // Kept, and used again after others have taken their places. In a function: the frame of the program keeps what it saw.
    const keep = async () => {
      const kept = Array.from({ length: 50 }, () => allocBuffer(1 << 20));
      for (let round = 0; round < 3; round++) for (const buffer of kept) await readInto(buffer);
      return pinned();
    };
    const last = await keep();
    // Dropped: their memory goes back, and others come to lie at the same addresses.
    for (let i = 0; i < 200; i++) {
      await readInto(allocBuffer(512 * 1024));
      if (i % 10 === 0) { Bun.gc(true); await turn(); }
    }
    for (let i = 0; i < 200 && pinned() > 2048; i++) { Bun.gc(true); await turn(); }
    console.log(JSON.stringify({ most, last, left: pinned() }));
  `)) as Record<string, number>;
    expect(most).toBeLessThanOrEqual(32 * KiB);
    expect(last).toBe(32 * KiB);
    // A conservative collector may keep some.
    expect(left).toBeLessThanOrEqual(2048);
  },
);

testUnless(
  undefined,
  "buffers of pools that come and go at the same addresses hold what was read",
  async () => {
    using dir = new TempDir();
    await using file = await File.open(dir.file("data"), { write: true, create: true });
    const blocks = 64;
    const size = 4 * KiB;
    const kept: BufferPool[] = [];
    for (let round = 0; round < 120; round++) {
      const pool = new BufferPool({ size, count: blocks });
      const buffers = await Promise.all(Array.from({ length: blocks }, () => pool.acquire()));
      await Promise.all(buffers.map((buffer, i) => file.writeAt(buffer.fill(round + i), i * size)));
      for (const buffer of buffers) buffer.fill(0xee);
      // Whole buffers, parts, and ranges over the edge of two.
      const reads = buffers.map((buffer, i) => file.readExactAt(buffer, i * size));
      await Promise.all(reads);
      buffers.forEach((buffer, i) => {
        const wrong = buffer.findIndex((byte) => byte !== ((round + i) & 255));
        expect(`${round} ${i} ${wrong}`).toBe(`${round} ${i} -1`);
      });
      const [first] = buffers;
      if (first === undefined) throw new Error("no buffer");
      const part = first.subarray(100, 3000);
      const over = new Uint8Array(first.buffer, size - 10, 20);
      // Together: a single one is answered from the page cache, past registered memory.
      await Promise.all([file.readExactAt(part, 5 * size + 100), file.readExactAt(over, 7 * size)]);
      expect(part.every((byte) => byte === ((round + 5) & 255))).toBe(true);
      expect(over.every((byte) => byte === ((round + 7) & 255))).toBe(true);
      if (round % 3 === 0) pool[Symbol.dispose]();
      if (round % 10 === 0) kept.push(pool);
      if (round % 5 === 0) Bun.gc(true);
      if (round % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(kept.length).toBe(12);
  },
);

testUnless(undefined, "a pool is disposed of while its buffers are being read into", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("data", new Uint8Array(KiB * KiB).fill(7)));
  for (let round = 0; round < 50; round++) {
    const pool = new BufferPool({ size: 64 * KiB, count: 16 });
    const buffers = await Promise.all(Array.from({ length: 16 }, () => pool.acquire()));
    const reads = buffers.map((buffer, i) => file.readExactAt(buffer, i * 64 * KiB));
    if (round % 2 === 0) await Promise.resolve();
    pool[Symbol.dispose]();
    await Promise.all(reads);
    for (const buffer of buffers) expect(buffer.every((byte) => byte === 7)).toBe(true);
  }
});

testUnless(
  noPins,
  "a pool that is disposed of is not pinned again, one that outlives rings is",
  async () => {
    const steps = await seen(`
    const path = args[0];
    const steps = [];
    const pool = new BufferPool({ size: 65536, count: 4 });
    const lent = await pool.acquire();
    for (let i = 0; i < 20; i++) {
      await using ring = Ring.open();
      await using file = await open(path, { ring });
      await file.readExactAt(lent, 0);
      if (i === 19) steps.push(pinned() >= 256);
    }
    pool[Symbol.dispose]();
    await using ring = Ring.open();
    await using file = await open(path, { ring });
    await file.readExactAt(lent, 0);
    for (let i = 0; i < 500 && pinned() > 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
    steps.push(pinned());
    console.log(JSON.stringify(steps));
  `);
    expect(steps).toEqual([true, 0]);
  },
);

testUnless(noPins ?? noRoot, "with little memory to lock it works all the same", async () => {
  const under = ["prlimit", "--memlock=131072:131072", "setpriv", "--bounding-set=-ipc_lock"];
  const code = `
    await using file = await open(args[0]);
    const pool = new BufferPool({ size: 65536, count: 4 });
    for (let i = 0; i < 4; i++) await use(file, pool, i * 65536);
    console.log(JSON.stringify({ pinned: pinned(), backend: file.ring.backend }));
  `;
  expect(await seen(code, { under })).toEqual({ pinned: 0, backend });
});

testUnless(
  noPins ?? noStrace ?? noFaultFree,
  "a sandbox forbids registrations after the start: reads go on, right",
  async () => {
    using dir = new TempDir();
    // The first five make the ring and open the file.
    for (const first of [6, 7, 8]) {
      const inject = `inject=io_uring_register:error=EPERM:when=${first}+`;
      const log = dir.file("trace");
      const trace = ["-qq", "-o", log, "-e", "trace=io_uring_register"];
      const left = await seen(
        `
        await using file = await open(args[0]);
        const pools = Array.from({ length: 20 }, () => new BufferPool({ size: 65536, count: 4 }));
        for (const pool of pools) await use(file, pool);
        for (const pool of pools) pool[Symbol.dispose]();
        await use(file, new BufferPool({ size: 65536, count: 4 }));
        console.log(JSON.stringify(file.ring.stats().failures));
        `,
        { under: ["strace", "-f", ...trace, "-e", "signal=none", "-e", inject] },
      );
      expect(left).toBe(0);
      // The table, the first registration, the second one.
      const refused = readFileSync(log, "utf8").match(/IORING_REGISTER_\w+(?=.*INJECTED)/g);
      expect(refused?.[0]).toBe(`IORING_REGISTER_BUFFERS${first === 6 ? "2" : "_UPDATE"}`);
    }
  },
);
