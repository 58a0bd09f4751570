// `allocBuffer` and `BufferPool`: memory that the kernel may use directly.

import { ptr } from "bun:ffi";
import { expect, test } from "bun:test";
import { allocBuffer, BufferPool, type Bytes, File, Ring } from "../../src/index.ts";
import { runCode } from "../support/child.ts";
import { noLinux, testUnless } from "../support/conditions.ts";
import { ioError, rejection, wrong } from "../support/expect.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const thrown = (run: () => unknown): Error & { code?: string } => {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("did not throw");
};

test("allocBuffer is zeroed, as long as asked, and a page aligned", () => {
  for (const size of [1, 100, 4095, 4096, 4097, 1 << 20]) {
    const buffer = allocBuffer(size);
    expect(buffer).toBeInstanceOf(Uint8Array);
    expect(buffer.length).toBe(size);
    expect(buffer.byteOffset).toBe(0);
    expect(buffer.buffer.byteLength).toBe(size);
    expect(buffer.every((byte) => byte === 0)).toBe(true);
    expect(ptr(buffer) % 4096).toBe(0);
  }
});

test("allocBuffer aligns as asked", () => {
  for (const alignment of [1, 512, 4096, 8192, 65536, 2 ** 21]) {
    for (let i = 0; i < 4; i++) {
      const buffer = allocBuffer(100, { alignment });
      expect(ptr(buffer) % Math.max(alignment, 4096)).toBe(0);
      buffer.fill(1);
    }
  }
});

test("allocBuffer refuses wrong sizes and alignments", () => {
  for (const size of [0, -1, 1.5, Number.NaN, 2 ** 32 + 1, 2 ** 53, Number.POSITIVE_INFINITY]) {
    const error = thrown(() => allocBuffer(size));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toBe(`"size" must be an integer from 1 to 4294967296; got ${size}`);
  }
  for (const size of ["1", undefined, null, 1n]) {
    expect(thrown(() => allocBuffer(wrong(size))).code).toBe("ERR_INVALID_ARG_TYPE");
  }
  for (const alignment of [0, -1, 3, 4095, 2 ** 31, 0.5]) {
    const error = thrown(() => allocBuffer(1, { alignment }));
    expect(error.code).toBe("ERR_OUT_OF_RANGE");
    expect(error.message).toContain('"options.alignment" must be');
  }
  expect(thrown(() => allocBuffer(1, wrong({ align: 1 }))).message).toContain(
    '"options.align" is not an option of allocBuffer',
  );
});

test("allocBuffer makes the longest buffer that there is", () => {
  const buffer = allocBuffer(2 ** 32);
  buffer[2 ** 32 - 1] = 7;
  expect(buffer.at(-1)).toBe(7);
  buffer.buffer.transfer(0);
});

testUnless(noLinux, "allocBuffer says ENOMEM when the system has no memory", async () => {
  const child = await runCode(
    `
    allocBuffer(1);
    const kept = [];
    try {
      for (;;) kept.push(allocBuffer(2 ** 32));
    } catch (error) {
      kept.length = 0;
      console.log(error.name, error.code, error.errno, error.syscall, error.length, error.message);
    }
    `,
    // JavaScriptCore itself reserves some 100 GB of addresses.
    { under: ["prlimit", `--as=${400 * 2 ** 30}`] },
  );
  expect(child.end).toBe(0);
  expect(child.stdout).toStartWith("IoError ENOMEM -12 mmap 4294967296 ENOMEM: ");
  expect(child.stdout).toContain("no memory for a buffer of 4294967296 bytes");
});

testUnless(
  undefined,
  "memory that nobody holds any more goes back: RSS stays bounded",
  async () => {
    const child = await runCode(`
    const MiB = 1 << 20;
    const before = process.memoryUsage.rss();
    let most = 0;
    for (let i = 0; i < 1500; i++) {
      allocBuffer(MiB).fill(i);
      if (i % 100 === 0) {
        most = Math.max(most, process.memoryUsage.rss());
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    console.log(Math.round((most - before) / MiB));
  `);
    expect(child.end).toBe(0);
    // 1,500 MiB were touched; the collector hears of each.
    expect(Number(child.stdout)).toBeLessThan(750);
  },
);

test("a pool lends each buffer once, zeroed at first, aligned", async () => {
  const pool = new BufferPool({ size: 1000, count: 3 });
  expect(pool.size).toBe(1000);
  expect(pool.available).toBe(3);
  const leases = await Promise.all([pool.acquire(), pool.acquire(), pool.acquire()]);
  expect(pool.available).toBe(0);
  for (const [index, lease] of leases.entries()) {
    expect(lease.length).toBe(1000);
    expect(ptr(lease) % 4096).toBe(0);
    expect(lease.every((byte) => byte === 0)).toBe(true);
    lease.fill(index + 1);
  }
  expect(leases.map((lease) => new Set(lease).size)).toEqual([1, 1, 1]);
  for (const lease of leases) pool.release(lease);
  expect(pool.available).toBe(3);
});

test("acquire waits its turn: first come, first served", async () => {
  const pool = new BufferPool({ size: 16, count: 1 });
  const first = await pool.acquire();
  const order: number[] = [];
  const waiting = [1, 2, 3].map((name) =>
    pool.acquire().then((lease) => {
      order.push(name);
      pool.release(lease);
    }),
  );
  await new Promise((resolve) => setImmediate(resolve));
  expect(order).toEqual([]);
  pool.release(first);
  await Promise.all(waiting);
  expect(order).toEqual([1, 2, 3]);
  expect(pool.available).toBe(1);
});

test("release twice is nothing, also when somebody else holds the buffer by now", async () => {
  const pool = new BufferPool({ size: 16, count: 1 });
  const first = await pool.acquire();
  pool.release(first);
  pool.release(first);
  first[Symbol.dispose]();
  expect(pool.available).toBe(1);
  const second = await pool.acquire();
  pool.release(first);
  expect(pool.available).toBe(0);
  pool.release(second);
  expect(pool.available).toBe(1);
});

test("using gives a buffer back", async () => {
  const pool = new BufferPool({ size: 16, count: 1 });
  for (let i = 0; i < 3; i++) {
    using lease = await pool.acquire();
    lease[0] = i;
    expect(pool.available).toBe(0);
  }
  expect(pool.available).toBe(1);
});

test("what the pool never lent is refused", async () => {
  const pool = new BufferPool({ size: 16, count: 1 });
  const other = new BufferPool({ size: 16, count: 1 });
  const lease = await other.acquire();
  for (const value of [
    lease,
    new Uint8Array(16),
    allocBuffer(16),
    (await pool.acquire()).subarray(0),
    undefined,
    null,
    3,
  ]) {
    const error = thrown(() => pool.release(wrong<Bytes>(value)));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.code).toBe("ERR_INVALID_ARG_VALUE");
    expect(error.message).toContain('"buffer" was not lent by this pool');
  }
});

test("a buffer released in flight is lent again once the operation has settled", async () => {
  using dir = new TempDir();
  const content = pattern(100_000);
  await using ring = Ring.open({ queueDepth: 1 });
  await using file = await File.open(dir.file("source", content), { ring, write: true });
  const pool = new BufferPool({ size: 8192, count: 2 });
  for (let round = 0; round < 50; round++) {
    const lease = await pool.acquire();
    const reads = [file.readAt(lease, round), file.readAt(lease.subarray(10, 20), round + 10)];
    pool.release(lease);
    expect(pool.available).toBe(1);
    const other = await pool.acquire();
    other.fill(0xee);
    const third = pool.acquire();
    await Promise.all(reads);
    const again = await third;
    // The same memory, with what was read.
    expect(ptr(again)).toBe(ptr(lease));
    expect(Buffer.compare(again, content.subarray(round, round + 8192))).toBe(0);
    expect(other.every((byte) => byte === 0xee)).toBe(true);
    pool.release(again);
    pool.release(other);
    expect(pool.available).toBe(2);
  }
});

test("many buffers of a pool at once over a small pool", async () => {
  using dir = new TempDir();
  const content = pattern(1 << 20);
  await using file = await File.open(dir.file("source", content));
  using pool = new BufferPool({ size: 4096, count: 5 });
  let wrongBlocks = 0;
  await Promise.all(
    Array.from({ length: 256 }, async (_, i) => {
      using lease = await pool.acquire();
      await file.readExactAt(lease, i * 4096);
      if (Buffer.compare(lease, content.subarray(i * 4096, (i + 1) * 4096)) !== 0) wrongBlocks++;
    }),
  );
  expect(wrongBlocks).toBe(0);
  expect(pool.available).toBe(5);
});

test("an aborted acquire gets nothing and takes nothing", async () => {
  const pool = new BufferPool({ size: 16, count: 1 });
  const already = await ioError(pool.acquire({ signal: AbortSignal.abort("no") }), "ABORT_ERR");
  expect(already.name).toBe("AbortError");
  expect(already.cause).toBe("no");
  expect(pool.available).toBe(1);
  const lease = await pool.acquire();
  const controller = new AbortController();
  const waiting = pool.acquire({ signal: controller.signal });
  const behind = pool.acquire();
  controller.abort(new Error("later"));
  expect((await ioError(waiting, "ABORT_ERR")).cause).toEqual(new Error("later"));
  pool.release(lease);
  pool.release(await behind);
  expect(pool.available).toBe(1);
  // Aborting afterwards changes nothing.
  const late = new AbortController();
  const held = await pool.acquire({ signal: late.signal });
  late.abort();
  expect(held.length).toBe(16);
  pool.release(held);
});

test("a disposed pool refuses, what is lent stays usable", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("source", "abcdef"));
  const pool = new BufferPool({ size: 16, count: 1 });
  const lease = await pool.acquire();
  const waiting = pool.acquire();
  pool[Symbol.dispose]();
  const error = await ioError(waiting, "ERR_POOL_DISPOSED");
  expect(error.hint).toContain("Keep the pool");
  await ioError(pool.acquire(), "ERR_POOL_DISPOSED");
  expect(await file.readAt(lease, 0)).toBe(6);
  pool.release(lease);
  pool[Symbol.dispose]();
});

test("a pool whose memory was transferred says so, and the ring goes on", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("source", "abcdef"));
  const pool = new BufferPool({ size: 4096, count: 1 });
  const lease = await pool.acquire();
  const reading = file.readAt(lease, 0);
  const waiting = pool.acquire();
  waiting.catch(() => {});
  pool.release(lease);
  lease.buffer.transfer();
  await ioError(reading, "ERR_BUFFER_DETACHED");
  await ioError(waiting, "ERR_BUFFER_DETACHED");
  await ioError(pool.acquire(), "ERR_BUFFER_DETACHED");
  expect(await file.readAt(new Uint8Array(6), 0)).toBe(6);
});

test("a pool refuses wrong options", async () => {
  const cases: [unknown, string][] = [
    [undefined, '"options" must be an object with size and count'],
    [{ size: 0, count: 1 }, '"options.size" must be an integer from 1'],
    [{ size: 1, count: 0 }, '"options.count" must be an integer from 1'],
    [{ size: 1, count: 2 ** 21 }, '"options.count" must be an integer from 1 to 1048576'],
    [
      { size: 2 ** 31, count: 3 },
      '"options.count" must be such that all buffers take at most 4294967296',
    ],
    [{ size: 1, count: 1, alignment: 3 }, '"options.alignment" must be a power of two'],
    [{ size: 1, count: 1, aligment: 4 }, '"options.aligment" is not an option of BufferPool'],
    [{ count: 1 }, '"options.size" must be a number'],
  ];
  for (const [options, message] of cases) {
    expect(thrown(() => new BufferPool(wrong(options))).message).toContain(message);
  }
  const pool = new BufferPool({ size: 1, count: 1 });
  expect((await rejection(pool.acquire(wrong({ sginal: 1 })))).message).toContain(
    '"options.sginal"',
  );
  expect((await rejection(pool.acquire({ signal: wrong(1) }))).message).toContain("an AbortSignal");
});
