// Copies of a file onto a file inside the kernel: when that happens, what it does, and what is done where it fails.

import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync, truncateSync } from "node:fs";
import {
  type CopyOptions,
  type CopyProgress,
  type CopyResult,
  copy,
  copyToAll,
  File,
  type OpenOptions,
} from "../../src/index.ts";
import { simulatedDevice } from "../../src/testing/index.ts";
import { runCode } from "../support/child.ts";
import { noLinux, noRoot, noStrace, testUnless, unless, without } from "../support/conditions.ts";
import { Folder, pattern, rejection, until } from "../support/control.ts";

const K = 1024;
const M = 1024 * K;
const GiB = 1024 * M;
const KERNEL: CopyResult["method"][] = ["copy_file_range", "reflink"];

function open(path: string, options: OpenOptions = {}): Promise<File> {
  return File.open(path, { write: true, create: true, ...options });
}

function isAt(path: string, contents: Uint8Array): boolean {
  return Buffer.compare(new Uint8Array(readFileSync(path)), contents) === 0;
}

function must(command: string, ...args: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync([command, ...args]);
  if (exitCode !== 0) throw new Error(`${command}: ${stderr}`);
}

/** A file system, mounted; gone when the test ends. */
class Mounted implements Disposable {
  readonly #folder = new Folder();
  readonly path: string = this.#folder.file("mnt");

  /** `type` with `options` of mount(8): in memory, or in a sparse image of 12 GiB. */
  constructor(type: "tmpfs" | "btrfs" | "xfs", options = "defaults") {
    mkdirSync(this.path);
    const image = this.#folder.file("image", "");
    if (type === "tmpfs") {
      must("mount", "-t", "tmpfs", "-o", options, "none", this.path);
      return;
    }
    truncateSync(image, 12 * GiB);
    must(`mkfs.${type}`, "-q", image);
    must("mount", "-t", type, "-o", `loop,${options}`, image, this.path);
  }

  file(name: string): string {
    return `${this.path}/${name}`;
  }

  [Symbol.dispose](): void {
    must("umount", this.path);
    this.#folder[Symbol.dispose]();
  }
}

function noFileSystem(type: string): string | undefined {
  const isKnown = (): boolean => readFileSync("/proc/filesystems", "utf8").includes(`\t${type}\n`);
  const missing = noRoot ?? without("mount", "umount", `mkfs.${type}`);
  if (missing !== undefined || isKnown()) return missing;
  Bun.spawnSync(["modprobe", type]);
  return unless(isKnown(), `no ${type} in this kernel`);
}

describe("where nobody looks at the bytes", () => {
  testUnless(noLinux, "every length and offset; what lies around stays", async () => {
    using folder = new Folder();
    const contents = pattern(200_000, 5);
    await using source = await File.open(folder.file("a", contents));
    for (const sourceOffset of [0, 1, 4096]) {
      for (const targetOffset of [0, 777, 8192, 300_000]) {
        for (const length of [1, 4096, 100_001, undefined]) {
          const before = pattern(150_000, 7);
          const path = folder.file("b", before);
          await using target = await open(path);
          const options = { sourceOffset, targetOffset: BigInt(targetOffset), length };
          const result = await copy(source, target, options);
          const bytes = length ?? contents.byteLength - sourceOffset;
          const counts = { bytesCopied: bytes, bytesSkipped: 0, prefix: bytes };
          expect(result).toMatchObject({ ...counts, verified: false, digest: undefined });
          expect(KERNEL).toContain(result.method);
          const expected = new Uint8Array(Math.max(before.byteLength, targetOffset + bytes));
          expected.set(before);
          expected.set(contents.subarray(sourceOffset, sourceOffset + bytes), targetOffset);
          expect([options, isAt(path, expected)]).toEqual([options, true]);
        }
      }
    }
  });

  testUnless(noLinux, "within one file", async () => {
    using folder = new Folder();
    const contents = pattern(100_000);
    const path = folder.file("a", contents);
    await using file = await open(path);
    const { method } = await copy(file, file, { length: 40_000, targetOffset: 50_000 });
    expect(KERNEL).toContain(method);
    contents.copyWithin(50_000, 0, 40_000);
    expect(isAt(path, contents)).toBe(true);
  });

  testUnless(noLinux, "progress, and what it throws", async () => {
    using folder = new Folder();
    await using source = await File.open(folder.file("a", pattern(40 * M)));
    await using target = await open(folder.file("b"));
    const told: CopyProgress[] = [];
    const { method } = await copy(source, target, { onProgress: (step) => told.push(step) });
    expect(KERNEL).toContain(method);
    const last = { phase: "copy", bytes: 40 * M, total: 40 * M, secondsLeft: 0 } as const;
    expect(told.at(-1)).toEqual({ ...last, bytesPerSecond: expect.any(Number) });
    const cause = new Error("no more");
    const onProgress = (): void => {
      throw cause;
    };
    const error = await rejection(copy(source, target, { onProgress }));
    expect(error).toMatchObject({ code: "ERR_COPY", cause });
    const { prefix = Number.NaN } = error.result ?? {};
    expect(prefix).toBeGreaterThan(0);
  });

  testUnless(
    noLinux,
    "an abort between two pieces: the prefix is there, and the rest goes on",
    async () => {
      using folder = new Folder();
      const path = folder.file("a", "");
      truncateSync(path, 2 * GiB);
      await using source = await File.open(path);
      await using target = await open(folder.file("b"));
      const { ring } = target;
      const before = ring.stats().others;
      const controller = new AbortController();
      const copying = rejection(copy(source, target, { sync: false, signal: controller.signal }));
      await until(() => ring.stats().others > before + 8);
      controller.abort("enough");
      const error = await copying;
      expect(error).toMatchObject({ name: "AbortError", cause: "enough" });
      const { prefix = Number.NaN, method } = error.result ?? {};
      expect(prefix).toBeGreaterThan(0);
      expect(prefix).toBeLessThan(2 * GiB);
      expect(KERNEL).toContain(method ?? "copied");
      expect(statSync(folder.file("b")).size).toBe(prefix);
      expect(ring.stats().inFlight).toBe(0);
      await target.syncAll();
    },
  );

  testUnless(noLinux, "a source that is too short, or is closed meanwhile", async () => {
    using folder = new Folder();
    await using source = await File.open(folder.file("a", pattern(50_000)));
    await using target = await open(folder.file("b"));
    const error = await rejection(copy(source, target, { length: 50_001 }));
    expect(error).toMatchObject({ code: "ERR_END_OF_FILE", transferred: 50_000 });
    expect(error.result?.prefix).toBe(50_000);
    const path = folder.file("c", "");
    truncateSync(path, GiB);
    const large = await File.open(path);
    const before = target.ring.stats().others;
    const copying = rejection(copy(large, target, { sync: false }));
    await until(() => target.ring.stats().others > before + 8);
    await large.close();
    expect((await copying).code).toBe("EBADF");
  });
});

describe("where somebody looks", () => {
  test.each<[string, CopyOptions]>([
    ["verify", { verify: true }],
    ["hash", { hash: "sha256" }],
    ["sparse", { sparse: true }],
    ["ranges", { ranges: [{ offset: 0, length: 100_000 }] }],
    ["onReadError", { onReadError: "skip" }],
    ["chunkSize", { chunkSize: 4096 }],
    ["concurrency", { concurrency: 1 }],
  ])("%s: it is read and written", async (_, options) => {
    using folder = new Folder();
    const contents = pattern(100_000);
    await using source = await File.open(folder.file("a", contents));
    await using target = await open(folder.file("b"));
    expect((await copy(source, target, options)).method).toBe("copied");
    expect(isAt(folder.file("b"), contents)).toBe(true);
  });

  test("direct files, dsync, devices, streams, several targets, and methods that were replaced", async () => {
    using folder = new Folder();
    const contents = pattern(64 * K);
    const path = folder.file("a", contents);
    await using plain = await File.open(path);
    await using direct = await File.open(path, { direct: true });
    await using device = await simulatedDevice({ image: contents });
    await using watched = await File.open(path);
    let reads = 0;
    watched.readAt = (data, offset, options) => {
      reads++;
      return plain.readAt(data, offset, options);
    };
    await using target = await open(folder.file("b"));
    for (const source of [direct, device, watched, plain.readable()]) {
      expect((await copy(source, target)).method).toBe("copied");
      expect(isAt(folder.file("b"), contents)).toBe(true);
    }
    expect(reads).toBe(1);
    await using onto = await open(folder.file("c"), { direct: true });
    await using durable = await open(folder.file("d"), { dsync: true });
    for (const each of [onto, durable]) expect((await copy(plain, each)).method).toBe("copied");
    const [settled] = await copyToAll(plain, [target, onto]);
    expect(settled).toMatchObject({ status: "fulfilled", value: { method: "copied" } });
  });

  const elsewhere =
    noLinux ??
    unless(
      statSync("/dev/shm", { throwIfNoEntry: false })?.dev !== statSync("/tmp").dev,
      "no second file system here",
    );
  testUnless(elsewhere, "another file system, and a file that the kernel makes up", async () => {
    using folder = new Folder();
    using other = new Folder("/dev/shm");
    const contents = pattern(100_000);
    await using target = await open(folder.file("b"));
    for (const path of [other.file("a", contents), "/proc/version"]) {
      await using source = await File.open(path);
      await target.truncate(0);
      expect((await copy(source, target)).method).toBe("copied");
      expect(isAt(folder.file("b"), new Uint8Array(readFileSync(path)))).toBe(true);
    }
  });
});

describe.each(["btrfs", "xfs"] as const)("%s shares blocks", (type) => {
  testUnless(noFileSystem(type), "10 GiB at once; what is no whole block is copied", async () => {
    using mounted = new Mounted(type);
    must("fallocate", "-l", "10G", mounted.file("large"));
    await using large = await File.open(mounted.file("large"));
    await using b = await open(mounted.file("b"));
    const { method, durationMs, prefix } = await copy(large, b);
    expect([method, prefix, statSync(mounted.file("b")).size]).toEqual([
      "reflink",
      10 * GiB,
      10 * GiB,
    ]);
    // Some 30 to 90 ms; a copy would take a minute, and more room than there is.
    expect(durationMs).toBeLessThan(3000);
    const contents = pattern(300_001);
    await Bun.write(mounted.file("small"), contents);
    await using small = await File.open(mounted.file("small"));
    const c = mounted.file("c");
    for (const [options, way] of [
      [{}, "reflink"],
      [{ length: 100_001 }, "copy_file_range"],
      [{ targetOffset: 5 }, "copy_file_range"],
    ] as const) {
      await Bun.write(c, "");
      await using target = await open(c);
      expect((await copy(small, target, options)).method).toBe(way);
      const start = "targetOffset" in options ? options.targetOffset : 0;
      const end = "length" in options ? options.length : contents.byteLength;
      const is = new Uint8Array(readFileSync(c)).subarray(start);
      expect(Buffer.compare(is, contents.subarray(0, end))).toBe(0);
    }
    // Blocks are shared until one file is written to.
    await b.writeAt(new Uint8Array([1]), 0);
    expect(await large.readAt(new Uint8Array(1), 0)).toBe(1);
    expect(new Uint8Array(await large.bytes(0, 1))).toEqual(new Uint8Array(1));
  });
});

testUnless(noFileSystem("btrfs"), "subvolumes of btrfs share blocks", async () => {
  using mounted = new Mounted("btrfs");
  must("btrfs", "subvolume", "create", mounted.file("sub"));
  await Bun.write(mounted.file("a"), pattern(100_000));
  await using source = await File.open(mounted.file("a"));
  await using target = await open(mounted.file("sub/b"));
  expect((await copy(source, target)).method).toBe("reflink");
  expect(isAt(mounted.file("sub/b"), pattern(100_000))).toBe(true);
});

testUnless(
  noRoot ?? without("mount", "umount"),
  "a full file system: ENOSPC, and the prefix",
  async () => {
    using mounted = new Mounted("tmpfs", "size=24m");
    const contents = pattern(16 * M);
    await Bun.write(mounted.file("a"), contents);
    await using source = await File.open(mounted.file("a"));
    const target = await open(mounted.file("b"));
    const error = await rejection(copy(source, target));
    expect(error).toMatchObject({ code: "ENOSPC", syscall: "write", path: mounted.file("b") });
    const { prefix = Number.NaN } = error.result ?? {};
    expect(prefix).toBeGreaterThan(4 * M);
    const is = new Uint8Array(readFileSync(mounted.file("b")));
    expect(Buffer.compare(is.subarray(0, prefix), contents.subarray(0, prefix))).toBe(0);
    await target.close();
  },
);

/** Copies `args[1]` MiB, while calls fail by injection, and tells how. */
const COPY = `
const [a, b] = [args[0], args[0] + ".copy"];
const data = Buffer.alloc(Number(args[1]) << 20);
for (let at = 0; at < data.byteLength; at += 4096) data.fill(at >> 12, at, at + 4096);
fs.writeFileSync(a, data);
const source = await File.open(a);
const target = await File.open(b, { write: true, create: true });
const { method, prefix } = await copy(source, target);
console.log(method, prefix === data.byteLength && fs.readFileSync(b).equals(data));
await Promise.all([source.close(), target.close()]);
`;

const INJECTED: readonly (readonly [string, number, RegExp])[] = [
  ["error=EXDEV", 1, /^copied true\n$/],
  ["error=EOPNOTSUPP", 1, /^copied true\n$/],
  ["error=EINVAL", 1, /^copied true\n$/],
  ["error=EIO", 1, /^copied true\n$/],
  ["retval=0", 1, /^copied true\n$/],
  ["error=EINTR:when=1", 1, /^copy_file_range true\n$/],
  // Calls are counted in each thread: somewhere on the way.
  ["error=EIO:when=2", 40, /^\w+ true\n$/],
];
for (const [injection, size, expected] of INJECTED) {
  testUnless(
    noStrace,
    `copy_file_range says ${injection}: what is left is read and written`,
    async () => {
      using folder = new Folder();
      // Reflinks fail, whatever file system this is.
      const fails = [
        "-e",
        "inject=ioctl:error=EOPNOTSUPP",
        "-e",
        `inject=copy_file_range:${injection}`,
      ];
      const under = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "signal=none", ...fails];
      const { end, stdout, stderr } = await runCode(COPY, {
        ...{ args: [folder.file("data"), `${size}`], under },
      });
      expect([end, stderr]).toEqual([0, ""]);
      expect(stdout).toMatch(expected);
    },
  );
}
