// `copyToAll`: one reading, many targets, each of which fails alone.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import {
  BlockDevice,
  type CopyProgress,
  type CopyResult,
  copyToAll,
  File,
  IoError,
  type OpenOptions,
  Ring,
} from "../../src/index.ts";
import { type FaultRule, simulatedDevice } from "../../src/testing/index.ts";
import { run } from "../support/child.ts";
import { testUnless } from "../support/conditions.ts";
import { Folder, LoopDevice, loopMissing, pattern, turns, until } from "../support/control.ts";
import { indexPath } from "../support/under_test.ts";

const K = 1024;
const M = 1024 * K;

type Settled = PromiseSettledResult<CopyResult>;

function open(path: string, options: OpenOptions = {}): Promise<File> {
  return File.open(path, { write: true, create: true, ...options });
}

function isAt(path: string, contents: Uint8Array): boolean {
  return Buffer.compare(new Uint8Array(readFileSync(path)), contents) === 0;
}

function streamOf(contents: Uint8Array, size: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= contents.byteLength) return controller.close();
      controller.enqueue(contents.slice(at, at + size));
      at += size;
    },
  });
}

function failureOf(settled: Settled | undefined): IoError {
  if (settled?.status === "rejected" && settled.reason instanceof IoError) return settled.reason;
  throw new Error(`expected a rejection with an IoError; got ${Bun.inspect(settled)}`);
}

function resultOf(settled: Settled | undefined): CopyResult {
  if (settled?.status === "fulfilled") return settled.value;
  throw settled?.reason;
}

/** Its writes wait until `release`. */
function held(target: File): { release(): void; waiting: number } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const hold = { release: resolve, waiting: 0 };
  const original = target.writeAt.bind(target);
  target.writeAt = async (data, offset, options) => {
    hold.waiting++;
    await promise;
    return original(data, offset, options);
  };
  return hold;
}

describe.each(["file", "stream"])("from a %s", (from) => {
  test("to files, direct and not, with all that copy can do", async () => {
    using folder = new Folder();
    const contents = pattern(3 * M + 1234);
    contents.fill(0, M, 2 * M);
    await using source = await File.open(folder.file("a", contents));
    const paths = ["b", "c", "d"].map((name) => folder.file(name, "old"));
    await using b = await open(paths[0] ?? "");
    await using c = await open(paths[1] ?? "", { direct: true });
    await using ring = Ring.open();
    await using d = await open(paths[2] ?? "", { ring });
    const input = from === "file" ? source : streamOf(contents, 100_000);
    const options = { sparse: true, verify: true, hash: "sha256" } as const;
    const settled = await copyToAll(input, [b, c, d], options);
    const digest = new Bun.CryptoHasher("sha256").update(contents).digest("hex");
    for (const result of settled.map(resultOf)) {
      expect(result).toMatchObject({ prefix: contents.byteLength, verified: true, digest });
      expect(result.bytesSkipped).toBeGreaterThan(M / 2);
      expect(result.bytesCopied + result.bytesSkipped).toBe(contents.byteLength);
    }
    expect(paths.map((path) => isAt(path, contents))).toEqual([true, true, true]);
  });

  test("offsets, a length and ranges", async () => {
    using folder = new Folder();
    const contents = pattern(100 * K);
    await using source = await File.open(folder.file("a", contents));
    const paths = ["b", "c"].map((name) => folder.file(name, ""));
    const targets = await Promise.all(paths.map((path) => open(path)));
    const options = { sourceOffset: 100, targetOffset: 33, length: 50 * K };
    const ranges = [
      { offset: 200, length: 1000 },
      { offset: 40 * K, length: 20 * K },
    ];
    const input = from === "file" ? source : streamOf(contents, 999);
    const settled = await copyToAll(input, targets, { ...options, ranges, chunkSize: 4096 });
    const expected = new Uint8Array(50 * K + 33);
    expected.set(contents.subarray(200, 1200), 133);
    expected.set(contents.subarray(40 * K, 50 * K + 100), 40 * K - 67);
    const bytesCopied = 1000 + 10 * K + 100;
    for (const result of settled.map(resultOf)) {
      expect(result).toMatchObject({ bytesCopied, prefix: 50 * K });
    }
    expect(paths.map((path) => isAt(path, expected))).toEqual([true, true]);
    for (const target of targets) await target.close();
  });
});

testUnless(loopMissing, "to devices of unlike sectors, with a tail shorter than one", async () => {
  using folder = new Folder();
  const contents = pattern(2 * M + 77);
  await using source = await File.open(folder.file("a", contents));
  using small = new LoopDevice(folder.file("small", new Uint8Array(4 * M).fill(0xff)), 512);
  using large = new LoopDevice(folder.file("large", new Uint8Array(4 * M).fill(0xff)), 4096);
  await using b = await File.open(small.path, { write: true, direct: true });
  await using c = await File.open(large.path, { write: true, direct: true });
  const settled = await copyToAll(source, [b, c], { verify: true, sparse: true });
  expect(settled.map(resultOf)).toMatchObject([{ verified: true }, { verified: true }]);
  const expected = new Uint8Array(4 * M).fill(0xff);
  expected.set(contents);
  for (const target of [b, c]) {
    const is = new Uint8Array(4 * M);
    await target.readExactAt(is, 0);
    expect(Buffer.compare(is, expected)).toBe(0);
  }
});

describe("a target that fails drops out alone", () => {
  const SECTOR = 512;
  const COUNT = 24;
  const contents = pattern(COUNT * SECTOR, 8);
  const options = { chunkSize: 2 * SECTOR, concurrency: 2, verify: true } as const;

  async function devices(faults: readonly (readonly FaultRule[])[]) {
    return Promise.all(
      faults.map((faults) => simulatedDevice({ size: contents.byteLength, faults })),
    );
  }

  test.each(["error", "unplug", "torn"] as const)(
    "write faults at every position: %s",
    async (how) => {
      for (let bad = 0; bad < COUNT; bad++) {
        const place = { operation: "write", offset: bad * SECTOR, length: SECTOR } as const;
        const rule = {
          error: { ...place, error: "EIO" },
          unplug: { ...place, unplug: true },
          torn: { ...place, torn: 100 },
        }[how];
        await using source = await simulatedDevice({ image: contents });
        const targets = await devices([[], [rule], []]);
        const [first, second, third] = await copyToAll(source, targets, options);
        const error = failureOf(second);
        expect(error.code).toBe(how === "unplug" ? "ERR_DEVICE_GONE" : "EIO");
        const { prefix = Number.NaN } = error.result ?? {};
        expect(prefix % SECTOR).toBe(0);
        expect(prefix).toBeLessThanOrEqual(bad * SECTOR);
        for (const other of [first, third]) {
          expect(resultOf(other)).toMatchObject({ prefix: contents.byteLength, verified: true });
        }
        const media = await Promise.all(targets.map((target) => target.crash()));
        expect(media.map((medium) => Buffer.compare(medium, contents) === 0)).toEqual([
          true,
          false,
          true,
        ]);
        for (const target of targets) await target.close();
      }
    },
  );

  test("sync faults, and a difference found later", async () => {
    await using source = await simulatedDevice({ image: contents });
    const targets = await devices([
      [{ operation: "sync", error: "EIO" }],
      [],
      [{ operation: "read", offset: 5 * SECTOR, length: 1, error: "EIO" }],
    ]);
    const [first, second, third] = await copyToAll(source, targets, options);
    expect(failureOf(first)).toMatchObject({ code: "EIO", syscall: "fsync" });
    expect(resultOf(second).verified).toBe(true);
    expect(failureOf(third)).toMatchObject({ code: "EIO", syscall: "read" });
    expect(failureOf(third).result?.prefix).toBe(contents.byteLength);
    for (const target of targets) await target.close();
  });

  test("one too small, one closed, one that no sync can succeed on; the stream is read to its end", async () => {
    const targets = await devices([[], [{ operation: "write", error: "EIO", times: 1 }], []]);
    const [good, failed, closed] = targets;
    if (good === undefined || failed === undefined || closed === undefined)
      throw new Error("three");
    await failed.writeAt(new Uint8Array(SECTOR), 0).catch(() => {});
    await closed.close();
    await using small = await simulatedDevice({ size: 4 * SECTOR });
    const all = [small, good, failed, closed];
    const known = streamOf(contents, 100);
    const settled = await copyToAll(known, all, { length: contents.byteLength, verify: true });
    expect(settled.map((each) => each.status === "fulfilled")).toEqual([false, true, false, false]);
    expect(failureOf(settled[0])).toMatchObject({ code: "ENOSPC" });
    expect(failureOf(settled[2])).toMatchObject({ code: "EIO" });
    expect(failureOf(settled[3])).toMatchObject({ code: "EBADF" });
    expect([0, 2, 3].map((index) => failureOf(settled[index]).result)).toEqual(Array(3));
    // Of a stream whose length nobody knows, it fails on the way.
    await using again = await simulatedDevice({ size: contents.byteLength });
    const [late, well] = await copyToAll(streamOf(contents, 100), [small, again], options);
    expect(failureOf(late)).toMatchObject({ code: "ENOSPC", result: { prefix: 4 * SECTOR } });
    expect(resultOf(well).prefix).toBe(contents.byteLength);
    // With nobody left, the source is not touched.
    const untouched = streamOf(contents, 100);
    const none = await copyToAll(untouched, [small], { length: contents.byteLength });
    expect([none.length, none[0]?.status, untouched.locked]).toEqual([1, "rejected", false]);
    await Promise.all([good.close(), failed.close()]);
  });

  test("what ends the source ends all, each with an error and a result of its own", async () => {
    for (let bad = 0; bad < COUNT; bad++) {
      const faults = [
        { operation: "read", offset: bad * SECTOR, length: SECTOR, error: "EIO" },
      ] as const;
      await using source = await simulatedDevice({ image: contents, faults });
      const targets = await devices([
        [],
        [{ operation: "write", offset: SECTOR, length: 1, error: "ENOSPC" }],
        [],
      ]);
      const [first, second, third] = await copyToAll(source, targets, options);
      const errors = [failureOf(first), failureOf(third)];
      expect(errors.map(({ code, syscall }) => [code, syscall])).toEqual([
        ["EIO", "read"],
        ["EIO", "read"],
      ]);
      expect(errors[0]).not.toBe(errors[1]);
      expect(errors[0]?.message).toBe(errors[1]?.message ?? "");
      for (const { result } of errors) expect(result?.prefix).toBeLessThanOrEqual(bad * SECTOR);
      expect(["EIO", "ENOSPC"]).toContain(failureOf(second).code);
      for (const target of targets) await target.close();
    }
    const cause = new Error("line is down");
    const broken = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.error(cause),
    });
    const targets = await devices([[], []]);
    const settled = await copyToAll(broken, targets);
    expect(settled.map((each) => failureOf(each).cause)).toEqual([cause, cause]);
    expect(failureOf(settled[0])).not.toBe(failureOf(settled[1]));
    for (const target of targets) await target.close();
  });

  test("a stream is cancelled when no target is left, with the reason", async () => {
    const rule = { operation: "write", error: "EIO" } as const;
    const targets = await devices([[rule], [rule]]);
    let reason: unknown;
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(SECTOR)),
      cancel: (error) => {
        reason = error;
      },
    });
    const settled = await copyToAll(endless, targets, { chunkSize: SECTOR });
    expect(settled.map((each) => failureOf(each).code)).toEqual(["EIO", "EIO"]);
    expect(reason).toMatchObject({ code: "EIO" });
    for (const target of targets) await target.close();
  });
});

describe("pace", () => {
  test("a target that has everything is synced while another is still at the beginning", async () => {
    using folder = new Folder();
    const contents = pattern(4 * M);
    await using source = await File.open(folder.file("a", contents));
    await using slow = await open(folder.file("slow"));
    await using fast = await open(folder.file("fast"));
    const hold = held(slow);
    const original = fast.syncAll.bind(fast);
    fast.syncAll = async (options) => {
      await original(options);
      hold.release();
    };
    const settled = await copyToAll(source, [slow, fast]);
    expect(settled.map((each) => resultOf(each).prefix)).toEqual([4 * M, 4 * M]);
    expect(hold.waiting).toBe(4);
    expect(isAt(folder.file("slow"), contents)).toBe(true);
  });

  test("the reading waits when the slowest is 16 MiB behind", async () => {
    await using source = await File.open("/dev/zero");
    let reads = 0;
    const original = source.readAt.bind(source);
    source.readAt = (data, offset, options) => {
      reads++;
      return original(data, offset, options);
    };
    await using slow = await File.open("/dev/null", { write: true });
    await using fast = await File.open("/dev/null", { write: true });
    const hold = held(slow);
    const ahead = { slow: 0, fast: 0 };
    const copying = copyToAll(source, [slow, fast], {
      ...{ length: 100 * M, chunkSize: M, sync: false },
      onProgress: ({ target, bytes }) => {
        ahead[target === slow ? "slow" : "fast"] = bytes;
      },
    });
    await until(() => ahead.fast === 16 * M);
    await turns(20);
    expect([reads, hold.waiting, ahead.slow]).toEqual([16, 2, 0]);
    hold.release();
    const settled = await copying;
    expect(settled.map((each) => resultOf(each).bytesCopied)).toEqual([100 * M, 100 * M]);
    expect(reads).toBe(100);
  });

  test("8 targets, one of them slow: less than 64 MiB of memory above idle", async () => {
    using folder = new Folder();
    const index = JSON.stringify(indexPath);
    const script = folder.file(
      "rss.ts",
      `import { copyToAll, File } from ${index};
      await using zero = await File.open("/dev/zero");
      const targets = await Promise.all(Array.from({ length: 8 }, (_, i) =>
        File.open(\`\${import.meta.dir}/t\${i}\`, { write: true, create: true })));
      await copyToAll(zero, targets, { length: 1 << 20 });
      Bun.gc(true);
      const idle = process.memoryUsage.rss();
      let most = idle;
      const timer = setInterval(() => { most = Math.max(most, process.memoryUsage.rss()); }, 5);
      const slow = targets[3];
      const write = slow.writeAt.bind(slow);
      const { promise, resolve } = Promise.withResolvers();
      slow.writeAt = async (...args) => { await promise; return write(...args); };
      const settled = await copyToAll(zero, targets, { length: 48 << 20, verify: true, hash: "sha256",
        onProgress: ({ target, bytes }) => {
          most = Math.max(most, process.memoryUsage.rss());
          if (target === targets[7] && bytes >= 12 << 20) resolve();
        } });
      clearInterval(timer);
      console.log(JSON.stringify({ mib: (most - idle) / 2 ** 20, ok: settled.every((each) => each.value?.verified) }));
      process.exit();`,
    );
    const { stdout, stderr } = await run(["bun", script]);
    expect(stderr).toBe("");
    const { mib, ok } = JSON.parse(stdout);
    expect(ok).toBe(true);
    expect(mib).toBeLessThan(64);
  });
});

test("progress for each target; what it throws ends the copy to that one", async () => {
  using folder = new Folder();
  await using source = await File.open(folder.file("a", pattern(M)));
  await using b = await open(folder.file("b"));
  await using c = await open(folder.file("c"));
  const last = new Map<File, CopyProgress>();
  const options = { verify: true, chunkSize: 65_536 } as const;
  await copyToAll(source, [b, c], {
    ...options,
    onProgress: ({ target, ...progress }) => last.set(target, progress),
  });
  for (const target of [b, c]) {
    const end = { phase: "verify", bytes: M, total: M, secondsLeft: 0 } as const;
    expect(last.get(target)).toEqual({ ...end, bytesPerSecond: expect.any(Number) });
  }
  const cause = new Error("not this one");
  const settled = await copyToAll(source, [b, c], {
    ...options,
    onProgress: ({ target }) => {
      if (target === b) throw cause;
    },
  });
  expect(failureOf(settled[0])).toMatchObject({ code: "ERR_COPY", cause });
  expect(resultOf(settled[1]).verified).toBe(true);
});

test("an abort ends all; one before the call does nothing", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  const contents = pattern(4 * M);
  await using source = await File.open(folder.file("a", contents), { ring });
  await using b = await open(folder.file("b"), { ring });
  await using c = await open(folder.file("c"), { ring });
  const controller = new AbortController();
  const original = c.writeAt.bind(c);
  let writes = 0;
  c.writeAt = (data, offset, options) => {
    if (writes++ === 5) controller.abort("stop");
    return original(data, offset, options);
  };
  const { signal } = controller;
  const settled = await copyToAll(source, [b, c], { signal, chunkSize: 65_536 });
  for (const [index, error] of settled.map(failureOf).entries()) {
    expect(error).toMatchObject({
      name: "AbortError",
      cause: "stop",
      path: folder.file("bc"[index] ?? ""),
    });
    const { prefix = Number.NaN } = error.result ?? {};
    expect(prefix).toBeLessThan(4 * M);
    const is = new Uint8Array(readFileSync(error.path ?? ""));
    expect(Buffer.compare(is.subarray(0, prefix), contents.subarray(0, prefix))).toBe(0);
  }
  expect(ring.stats().inFlight).toBe(0);
  const before = ring.stats().completions;
  const never = await copyToAll(source, [b, c], { signal });
  expect(never.map((each) => failureOf(each).code)).toEqual(["ABORT_ERR", "ABORT_ERR"]);
  expect(failureOf(never[0])).toMatchObject({ result: { prefix: 0, bytesCopied: 0 } });
  expect(ring.stats().completions).toBe(before);
  // The aborted writes are told of: a sync need not.
  await b.syncAll();
});

test("a range whose digest is not met ends all", async () => {
  using folder = new Folder();
  await using source = await File.open(folder.file("a", pattern(10_000)));
  await using b = await open(folder.file("b"));
  await using c = await open(folder.file("c"));
  const ranges = [{ offset: 0, length: 5000, sha256: "0".repeat(64) }];
  const settled = await copyToAll(source, [b, c], { ranges });
  const errors = settled.map(failureOf);
  expect(errors.map(({ code, result }) => [code, result?.prefix])).toEqual([
    ["ERR_VERIFY", 0],
    ["ERR_VERIFY", 0],
  ]);
});

test("skipped sectors are told to every target", async () => {
  const contents = pattern(64 * K);
  const bad = { operation: "read", offset: 20 * K, length: 512, error: "EIO" } as const;
  await using source = await simulatedDevice({ image: contents, faults: [bad] });
  await using b = await simulatedDevice({ size: 64 * K });
  await using c = await simulatedDevice({ size: 64 * K });
  const settled = await copyToAll(source, [b, c], { onReadError: "skip" });
  const readErrors = [{ offset: 20 * K, length: 512, code: "EIO" }];
  expect(settled.map((each) => resultOf(each).readErrors)).toEqual([readErrors, readErrors]);
});

test("a target that fails is left alone, and has no digest", async () => {
  const image = pattern(M);
  await using source = await simulatedDevice({ image });
  await using failing = await simulatedDevice({ size: M });
  await using good = await simulatedDevice({ size: M });
  failing.faults.add({ operation: "write", error: "EIO", times: 1 });
  const options = { chunkSize: 4096, concurrency: 4, hash: "sha256" } as const;
  const [failed, well] = await copyToAll(source, [failing, good], options);
  expect(failureOf(failed).result).toMatchObject({ prefix: 0, digest: undefined });
  // Those that were under way.
  expect(failing.ring.stats().writes).toBeLessThan(20);
  expect(resultOf(well).digest).toBe(new Bun.CryptoHasher("sha256").update(image).digest("hex"));
});

test("the targets are those of the call, whatever becomes of the array", async () => {
  using folder = new Folder();
  await using source = await open(folder.file("a", pattern(100)));
  const targets = [await open(folder.file("b")), await open(folder.file("c"))];
  await using opened = new AsyncDisposableStack();
  for (const target of targets) opened.use(target);
  const copying = copyToAll(source, targets);
  targets.length = 0;
  expect((await copying).map((each) => resultOf(each).prefix)).toEqual([100, 100]);
});

test("a target that drops out may share bytes with one that does not", async () => {
  using folder = new Folder();
  const contents = pattern(4 * K);
  await using source = await File.open(folder.file("a", contents));
  const path = folder.file("b", pattern(512, 2));
  await using grows = await open(path);
  await using fixed = await BlockDevice.open(path, { write: true });
  const [well, small] = await copyToAll(source, [grows, fixed]);
  expect(resultOf(well).prefix).toBe(contents.byteLength);
  expect(failureOf(small).code).toBe("ENOSPC");
  expect(isAt(path, contents)).toBe(true);
});

test("targets that share bytes, and the source among them, are refused", async () => {
  using folder = new Folder();
  const path = folder.file("b", pattern(100));
  await using a = await open(folder.file("a", pattern(100)));
  await using b = await open(path);
  await using again = await open(path);
  await using reading = await File.open(path);
  const refusals: [unknown, string, string][] = [
    [[b, b], "targets[1]", "is targets[0]"],
    [[b, again], "targets[1]", "is targets[0]"],
    [[b, a], "targets[1]", "is the source"],
    [[b, reading], "targets[1]", "reading only"],
    [[b, 5], "targets[1]", "must be a File"],
    [b, "targets", "must be an array"],
  ];
  for (const [targets, name, why] of refusals) {
    const error = await copyToAll(a, targets as never).catch((error) => error);
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain(`"${name}" ${why.startsWith("must") ? why : ""}`);
    expect(error.message).toContain(why);
  }
  expect(isAt(path, pattern(100))).toBe(true);
  await expect(copyToAll(a, [b], { bs: 1 } as never)).rejects.toThrow("not an option of copyToAll");
  await expect(copyToAll("a" as never, [b])).rejects.toThrow('"source"');
  expect(await copyToAll(a, [])).toEqual([]);
  // What is no medium may be written to twice.
  await using nothing = await File.open("/dev/null", { write: true });
  const twice = await copyToAll(a, [nothing, nothing], { sync: false });
  expect(twice.map((each) => resultOf(each).prefix)).toEqual([100, 100]);
});
