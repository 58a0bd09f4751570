// Promise 3: an abort is a request. The call rejects when the kernel has let go of the buffer, or settles with its
// true outcome.

import { heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { CancelScope } from "../../src/cancellation/scope.ts";
import { openFileOf } from "../../src/file/open_file.ts";
import { allocBuffer, BufferPool, copy, File, IoError, Ring } from "../../src/index.ts";
import { simulatedDevice } from "../../src/testing/index.ts";
import { backend, describeUnless, faulty } from "../support/conditions.ts";
import {
  blockingRead,
  blockingReadMissing,
  blockingTest,
  Folder,
  letGo,
  letGoUntilSettled,
  openBlocking,
  pattern,
  rejection,
  ScopedAbort,
  sleep,
  turns,
  untilBlocked,
} from "../support/control.ts";

const SIZE = 1 << 16;

/** Every operation of a file that takes a signal. */
function operations(
  file: File,
): Record<string, (options: { signal: AbortSignal }) => Promise<unknown>> {
  const pinned = allocBuffer(4096);
  return {
    readAt: (options) => file.readAt(new Uint8Array(100), 0, options),
    "readAt, pinned": (options) => file.readAt(pinned, 0, options),
    "readAt, large": (options) => file.readAt(new Uint8Array(3 << 20), 0, options),
    readExactAt: (options) => file.readExactAt(new Uint8Array(100), 0, options),
    writeAt: (options) => file.writeAt(new Uint8Array(100), 0, options),
    "writeAt, large": (options) => file.writeAt(new Uint8Array(3 << 20), 0, options),
    readvAt: (options) => file.readvAt([pinned.subarray(0, 8), pinned.subarray(9, 10)], 0, options),
    writevAt: (options) => file.writevAt([new Uint8Array(8), new Uint8Array(8)], 0, options),
    syncAll: (options) => file.syncAll(options),
    syncData: (options) => file.syncData(options),
    truncate: (options) => file.truncate(10, options),
    allocate: (options) => file.allocate(0, 1 << 20, options),
    open: (options) => File.open(file.path ?? "", { ...options, ring: file.ring }),
  };
}

function expectAborted(error: IoError, reason: unknown): void {
  expect(error).toBeInstanceOf(IoError);
  expect(error.name).toBe("AbortError");
  expect(error.code).toBe("ABORT_ERR");
  expect(error.cause).toBe(reason);
  expect(error.transferred).toBe(0);
}

describe("every operation", () => {
  test("does no I/O for a signal that is aborted already", async () => {
    using folder = new Folder();
    await using ring = Ring.open();
    const path = folder.file("data", pattern(SIZE));
    await using file = await File.open(path, { write: true, ring });
    const before = ring.stats();
    const reason = new Error("not today");
    for (const run of Object.values(operations(file))) {
      expectAborted(await rejection(run({ signal: AbortSignal.abort(reason) })), reason);
    }
    const after = ring.stats();
    expect(after.completions).toBe(before.completions);
    expect(after.systemCalls).toBe(before.systemCalls);
    expect(new Uint8Array(readFileSync(path))).toEqual(pattern(SIZE));
  });

  test("aborted before the flush never reaches the kernel", async () => {
    using folder = new Folder();
    await using ring = Ring.open();
    const path = folder.file("data", pattern(SIZE));
    await using file = await File.open(path, { write: true, ring });
    const before = ring.stats();
    const reason = { any: "reason" };
    for (const run of Object.values(operations(file))) {
      const controller = new AbortController();
      const promise = run({ signal: controller.signal });
      controller.abort(reason);
      expectAborted(await rejection(promise), reason);
    }
    const after = ring.stats();
    expect(after.completions).toBe(before.completions);
    expect(after.bytesRead + after.bytesWritten).toBe(before.bytesRead + before.bytesWritten);
    expect(after.inFlight).toBe(0);
    expect(new Uint8Array(readFileSync(path))).toEqual(pattern(SIZE));
  });

  test("is not touched by an abort after it has settled", async () => {
    using folder = new Folder();
    await using ring = Ring.open();
    await using file = await File.open(folder.file("data", pattern(SIZE)), { write: true, ring });
    const controller = new AbortController();
    for (const run of Object.values(operations(file))) {
      const result = await run({ signal: controller.signal });
      if (result instanceof File) await result.close();
    }
    controller.abort();
    await turns();
    expect(ring.stats().cancelRequests).toBe(0);
  });
});

test("the default reason is the cause, a DOMException", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", "x"));
  const error = await rejection(file.readAt(new Uint8Array(1), 0, { signal: AbortSignal.abort() }));
  expect((error.cause as Error).name).toBe("AbortError");
});

test("a signal that is none is refused by name", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", "x"));
  const options = { signal: new EventTarget() as AbortSignal };
  await expect(file.readAt(new Uint8Array(1), 0, options)).rejects.toMatchObject({
    code: "ERR_INVALID_ARG_TYPE",
    message: expect.stringContaining("options.signal"),
  });
});

describeUnless(blockingReadMissing, "with a read that blocks in the kernel", () => {
  blockingTest(
    "in the kernel: rejects when the kernel has let go, and it writes no more",
    async () => {
      await using ring = Ring.open();
      await using file = await openBlocking(ring);
      using controller = new ScopedAbort();
      const buffer = allocBuffer(1 << 20);
      const read = blockingRead(file, buffer, { signal: controller.signal });
      await untilBlocked();
      const reason = new Error("enough");
      controller.abort(reason);
      if (ring.backend !== "io_uring") {
        // A thread inside a system call cannot be called back: it settles when the call returns.
        for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
        expect(Bun.peek.status(read)).toBe("pending");
        await letGoUntilSettled(read);
      }
      const error = await rejection(read);
      expect(error.name).toBe("AbortError");
      expect(error.cause).toBe(reason);
      buffer.fill(0xa5);
      for (let i = 0; i < 3; i++) {
        letGo();
        await new Promise(setImmediate);
      }
      expect(buffer.every((byte) => byte === 0xa5)).toBe(true);
    },
  );

  blockingTest(
    "a foreign view gets what was read before the abort, and `transferred` says how much",
    async () => {
      await using ring = Ring.open();
      await using file = await openBlocking(ring);
      const view = new Uint8Array(1 << 20);
      using controller = new ScopedAbort();
      const read = blockingRead(file, view, { signal: controller.signal });
      await untilBlocked();
      letGo();
      // For the rest.
      await untilBlocked();
      controller.abort();
      if (ring.backend !== "io_uring") await letGoUntilSettled(read);
      const { transferred = 0 } = await rejection(read);
      expect(transferred).toBeGreaterThan(0);
      expect(view.subarray(transferred).every((byte) => byte === 0)).toBe(true);
      expect(view.subarray(0, transferred).every((byte) => byte !== 0)).toBe(true);
    },
  );

  blockingTest("queued natively, held behind a write, waiting in JavaScript: at once", async () => {
    using folder = new Folder();
    await using ring = Ring.open({ queueDepth: 1 });
    await using blocking = await openBlocking(ring);
    const path = folder.file("data", pattern(SIZE));
    await using file = await File.open(path, { write: true, ring });
    using first = new ScopedAbort();
    const blocker = blockingRead(blocking, allocBuffer(1 << 20), { signal: first.signal });
    await untilBlocked();
    // The window is one operation wide, and the blocker is in it.
    using controller = new ScopedAbort();
    const { signal } = controller;
    const queued = [
      file.writeAt(new Uint8Array(512), 0, { signal }),
      file.readAt(new Uint8Array(512), 0, { signal }),
      file.syncAll({ signal }),
    ];
    const kept = file.writeAt(new Uint8Array(1), 0);
    const held = file.syncData({ signal });
    for (let i = 0; i < 300; i++) queued.push(file.writeAt(new Uint8Array(512), i, { signal }));
    while (ring.stats().inFlight < 306) await new Promise(setImmediate);
    expect(ring.stats().inFlight).toBe(306);
    controller.abort("reason");
    const errors = await Promise.all([...queued, held].map(rejection));
    for (const error of errors) expectAborted(error, "reason");
    expect(Bun.peek.status(kept)).toBe("pending");
    first.abort();
    await letGoUntilSettled(blocker);
    expect(await kept).toBe(1);
    expect((await rejection(blocker)).code).toBe("ABORT_ERR");
    const expected = pattern(SIZE);
    expected[0] = 0;
    expect(new Uint8Array(readFileSync(path))).toEqual(expected);
  });

  blockingTest("closing a file waits for the aborted operation", async () => {
    await using ring = Ring.open();
    const file = await openBlocking(ring);
    using controller = new ScopedAbort();
    const read = file.readAt(allocBuffer(4096), 0, { signal: controller.signal });
    await untilBlocked();
    const closed = file.close();
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
    expect(Bun.peek.status(closed)).toBe("pending");
    controller.abort();
    await letGoUntilSettled(read);
    await closed;
    await rejection(read);
  });
});

describe("syncs", () => {
  test("an aborted one is not sticky", async () => {
    using folder = new Folder();
    await using file = await File.open(folder.file("data", "x"), { write: true });
    await file.writeAt(new Uint8Array(100), 0);
    const controller = new AbortController();
    const sync = file.syncAll({ signal: controller.signal });
    controller.abort();
    expectAborted(await rejection(sync), controller.signal.reason);
    await file.syncAll();
  });

  test("one that waits for a long write is aborted at once", async () => {
    using folder = new Folder();
    await using file = await File.open(folder.file("data"), { write: true, create: true });
    const controller = new AbortController();
    let written = false;
    const write = file.writeAt(new Uint8Array(16 << 20), 0).then(() => {
      written = true;
    });
    const sync = file.syncAll({ signal: controller.signal });
    controller.abort();
    expectAborted(await rejection(sync), controller.signal.reason);
    expect(written).toBe(false);
    await write;
    await file.syncAll();
  });

  test("the next sync reports an aborted write, once", async () => {
    using folder = new Folder();
    await using file = await File.open(folder.file("data", "x"), { write: true });
    const controller = new AbortController();
    const write = file.writeAt(new Uint8Array(100), 0, { signal: controller.signal });
    controller.abort();
    const failure = await rejection(write);
    expect((await rejection(file.syncAll())).cause).toBe(failure);
    await file.syncAll();
  });

  test("a sync that was called before the abort reports it, and it alone", async () => {
    using folder = new Folder();
    await using file = await File.open(folder.file("data", "x"), { write: true });
    const controller = new AbortController();
    const write = file.writeAt(new Uint8Array(100), 0, { signal: controller.signal });
    const sync = file.syncAll();
    controller.abort();
    const failure = await rejection(write);
    expect((await rejection(sync)).cause).toBe(failure);
    await file.syncAll();
  });

  test("an aborted sync leaves the report of an aborted write to the next one", async () => {
    using folder = new Folder();
    await using file = await File.open(folder.file("data", "x"), { write: true });
    const controller = new AbortController();
    const { signal } = controller;
    const write = file.writeAt(new Uint8Array(100), 0, { signal });
    const sync = file.syncAll({ signal });
    controller.abort();
    const failure = await rejection(write);
    expectAborted(await rejection(sync), signal.reason);
    expect((await rejection(file.syncAll())).cause).toBe(failure);
    await file.syncAll();
  });
});

/** Counts an AbortSignal's listeners. */
function counted(signal: AbortSignal): { listeners: number; peak: number } {
  const count = { listeners: 0, peak: 0 };
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: unknown[]) => {
    count.peak = Math.max(count.peak, ++count.listeners);
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    count.listeners--;
    Reflect.apply(removeEventListener, signal, args);
  };
  return count;
}

/** libc's AIO starts a thread for every completion, injected faults repeat everything. */
const MANY = faulty || backend === "posix_aio" ? 100_000 : 1_000_000;

test(`${MANY} operations on one signal leave no listener behind`, async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", pattern(SIZE)));
  const { signal } = new AbortController();
  const count = counted(signal);
  const buffer = allocBuffer(64);
  const wide = 1000;
  for (let i = 0; i < MANY / wide; i++) {
    const reads: Promise<number>[] = [];
    for (let j = 0; j < wide; j++) reads.push(file.readAt(buffer, 0, { signal }));
    await Promise.all(reads);
    expect(count.listeners).toBe(0);
  }
  expect(count.peak).toBe(1);
}, 240_000);

test("whatever waits for one signal, on any ring: it has one listener", async () => {
  using folder = new Folder();
  await using rings = new AsyncDisposableStack();
  const controller = new AbortController();
  const { signal } = controller;
  const count = counted(signal);
  using pool = new BufferPool({ size: 4096, count: 1 });
  using _held = await pool.acquire();
  const waits = Promise.allSettled(Array.from({ length: 100 }, () => pool.acquire({ signal })));
  const streams: Promise<void>[] = [];
  for (let index = 0; index < 3; index++) {
    const ring = rings.use(Ring.open());
    const source = await File.open(folder.file(`from ${index}`, pattern(1 << 20)), { signal });
    const path = folder.file(`to ${index}`, "");
    const target = await File.open(path, { write: true, ring, signal, timeout: 60_000 });
    rings.use(source);
    rings.use(target);
    await copy(source, target, { chunkSize: 65_536, sparse: true, verify: true, signal });
    const operation = { kind: "read", file: target, data: allocBuffer(10), offset: 0 } as const;
    await ring.batch([operation, operation], { signal });
    await target.writeAt(new Uint8Array(8), 0, { signal });
    const readable = source.readable({ signal });
    streams.push(readable.pipeTo(target.writable({ signal, sync: true }), { preventAbort: true }));
    await streams[index];
    // Two that are never read, nor written to.
    streams.push(source.readable({ signal }).cancel(), target.writable({ signal }).close());
    source.readable({ signal });
    target.writable({ signal });
  }
  await Promise.all(streams);
  const during = { ...count };
  controller.abort("enough");
  for (const wait of await waits) {
    expect(wait).toMatchObject({ reason: { name: "AbortError", cause: "enough" } });
  }
  await turns(1);
  expect([during, count]).toEqual([
    { listeners: 1, peak: 1 },
    { listeners: 0, peak: 1 },
  ]);
});

test("one signal ends 10,000 operations, in linear time", async () => {
  using folder = new Folder();
  await using ring = Ring.open({ queueDepth: 4096 });
  await using file = await File.open(folder.file("data", pattern(SIZE)), { ring });
  /** Microseconds of processor time. */
  const time = async (count: number): Promise<number> => {
    const controller = new AbortController();
    const listening = counted(controller.signal);
    const reads: Promise<unknown>[] = [];
    for (let i = 0; i < count; i++) {
      reads.push(file.readAt(new Uint8Array(64), 0, { signal: controller.signal }));
    }
    const all = Promise.allSettled(reads);
    const started = process.cpuUsage();
    controller.abort();
    const results = await all;
    const { user, system } = process.cpuUsage(started);
    expect(results.every((result) => result.status === "rejected")).toBe(true);
    expect(listening.listeners).toBe(0);
    return user + system;
  };
  await time(1000);
  const small = await time(1000);
  const large = await time(10_000);
  expect(large).toBeLessThan(Math.max(20_000, small) * 40);
});

test("aborts at random moments: settled once, and the kernel lets go", async () => {
  const seed = Number(process.env["BUN_AIO_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  let state = seed;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fff_ffff;
    return Math.floor((state / 0x8000_0000) * below);
  };
  using folder = new Folder();
  await using ring = Ring.open({ queueDepth: 8 });
  const contents = pattern(SIZE);
  await using file = await File.open(folder.file("data", contents), { write: true, ring });
  await using scratch = await File.open(folder.file("scratch"), {
    write: true,
    create: true,
    ring,
  });
  const poisoned: Uint8Array[] = [];
  let aborted = 0;
  const one = async (): Promise<void> => {
    const controller = new AbortController();
    const { signal } = controller;
    const length = 1 + random(random(8) === 0 ? SIZE : 4096);
    const buffer = random(2) === 0 ? allocBuffer(length) : new Uint8Array(length);
    const offset = random(SIZE - length);
    const kind = random(4);
    if (random(3) === 0) setTimeout(() => controller.abort(), random(3));
    else if (random(2) === 0) queueMicrotask(() => controller.abort());
    else setImmediate(() => controller.abort());
    try {
      if (kind < 2) {
        expect(await file.readAt(buffer, offset, { signal })).toBe(length);
        const same = Buffer.compare(buffer, contents.subarray(offset, offset + length)) === 0;
        if (!same) throw new Error(`wrong bytes, seed ${seed}`);
      } else if (kind === 2) {
        expect(await scratch.writeAt(buffer, offset, { signal })).toBe(length);
      } else {
        await scratch.syncData({ signal });
      }
    } catch (error) {
      const { code, transferred = 0 } = error as IoError;
      if (kind === 3 && code === "ERR_WRITE_ABORTED") return;
      if (code !== "ABORT_ERR") throw error;
      expect(transferred).toBeLessThanOrEqual(length);
      aborted++;
    }
    buffer.fill(0xa5);
    poisoned.push(buffer);
  };
  for (let round = 0; round < 20; round++) {
    await Promise.all(Array.from({ length: 200 }, one));
    for (const buffer of poisoned) {
      if (!buffer.every((byte) => byte === 0xa5)) throw new Error(`written later, seed ${seed}`);
    }
    poisoned.length = 0;
  }
  expect(aborted).toBeGreaterThan(0);
  expect(ring.stats().inFlight).toBe(0);
});

test("in the simulator, with seeds: at every phase, and what was let go is written no more", async () => {
  const base = Number(process.env["BUN_AIO_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  const size = 1 << 20;
  const codes = new Map<string, number>();
  for (let seed = base; seed < base + 8; seed++) {
    await using device = await simulatedDevice({
      seed,
      image: new Uint8Array(size).fill(0xaa),
      faults: [
        { operation: "read", probability: 0.3, latency: 3 },
        { operation: "read", probability: 0.1, latency: 60_000 },
        { operation: "read", probability: 0.2, short: 512 },
      ],
    });
    const controller = new AbortController();
    const { signal } = controller;
    const buffers: Uint8Array[] = [];
    const read = async (index: number): Promise<void> => {
      const buffer = index % 2 === 0 ? allocBuffer(8192) : new Uint8Array(8192);
      buffers.push(buffer);
      const timeout = index % 7 === 0 ? index % 5 : undefined;
      let code = "done";
      try {
        expect(await device.readAt(buffer, (index % 128) * 8192, { signal, timeout })).toBe(8192);
        if (!buffer.every((byte) => byte === 0xaa)) throw new Error(`wrong bytes, seed ${seed}`);
      } catch (error) {
        if (!(error instanceof IoError)) throw error;
        code = error.code;
      }
      codes.set(code, (codes.get(code) ?? 0) + 1);
      buffer.fill(0x55);
    };
    // More than the queue holds: some wait in JavaScript, some natively, some run, some are done.
    const first = Array.from({ length: 300 }, (_, index) => read(index));
    // Another mix each time.
    if (seed % 2 === 0) await null;
    if (seed % 3 === 0) await sleep(seed % 5);
    const second = Array.from({ length: 20 }, (_, index) => read(index));
    controller.abort();
    await Promise.all([...first, ...second]);
    expect(device.ring.stats().inFlight).toBe(0);
    // The kernel has no reason to write any more: it gets the time to do it all the same.
    await sleep(4);
    for (const buffer of buffers) {
      if (!buffer.every((byte) => byte === 0x55)) throw new Error(`written later, seed ${seed}`);
    }
  }
  expect([...codes.keys()].sort()).toEqual(["ABORT_ERR", "ERR_TIMEOUT", "done"]);
});

test("a signal whose methods throw governs like any other", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.file("data", "0123456789"));
  const controller = new AbortController();
  const broken = (): never => {
    throw new Error("mine");
  };
  Object.assign(controller.signal, { addEventListener: broken, removeEventListener: broken });
  const data = new Uint8Array(10);
  expect(await file.readAt(data, 0, { signal: controller.signal })).toBe(10);
  const aborted = rejection(file.readAt(data, 0, { signal: controller.signal }));
  controller.abort();
  expect((await aborted).code).toBe("ABORT_ERR");
  expect(await file.readAt(data, 0)).toBe(10);
});

test("a write that is aborted before it is handed over holds up nobody who goes alone", async () => {
  await using device = await simulatedDevice();
  const abort = new AbortController();
  const aborted = rejection(device.writeAt(new Uint8Array(512), 0, { signal: abort.signal }));
  const other = device.writeAt(new Uint8Array(512), 4096);
  abort.abort();
  // Reads, modifies and writes the same sector, though the device was opened without `rmw`: as serveNbd does.
  const scope = new CancelScope(undefined);
  const alone = openFileOf(device).writeAnywhere(new Uint8Array(100).fill(1), 50, scope);
  expect((await aborted).code).toBe("ABORT_ERR");
  expect(await other).toBe(512);
  await alone;
  const found = new Uint8Array(512);
  await device.readExactAt(found, 0);
  expect(found).toEqual(new Uint8Array(512).fill(1, 50, 150));
});

test("operations that have settled keep no signal", async () => {
  await using device = await simulatedDevice();
  const signals = (): number => {
    Bun.gc(true);
    return heapStats().objectTypeCounts["AbortSignal"] ?? 0;
  };
  const read = (_: unknown, index: number): Promise<number> => {
    const { signal } = new AbortController();
    return device.readAt(new Uint8Array(512), index * 512, { signal });
  };
  const before = signals();
  await Promise.all(Array.from({ length: 200 }, read));
  await new Promise((resolve) => setImmediate(resolve));
  expect(signals() - before).toBeLessThan(50);
});
