// Promise 4: short transfers are continued, vectored totals are contiguous, and requests above the kernel's limits
// are split. The fault library makes really short transfers (npm test -- *-faults).

import { expect } from "bun:test";
import fs from "node:fs";
import { allocBuffer, File, type IoError } from "../../src/index.ts";
import { faulty, noFaultFree, noLinux, noRoot, testUnless, unless } from "../support/conditions.ts";
import { ioError, rejection } from "../support/expect.ts";
import { pattern, Random } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const MiB = 1 << 20;

testUnless(
  undefined,
  "promise 4: large transfers are whole, in native and foreign memory",
  async () => {
    using dir = new TempDir();
    await using file = await File.open(dir.file("out"), { write: true, create: true });
    const content = pattern(9 * MiB + 12_345);
    const native = allocBuffer(content.length);
    native.set(content);
    for (const [index, data] of [native, content.slice()].entries()) {
      expect(await file.writeAt(data, index)).toBe(content.length);
      data.fill(0);
      expect(await file.readAt(data, index)).toBe(content.length);
      expect(Buffer.compare(data, content)).toBe(0);
    }
    if (faulty) expect(file.ring.stats().continuations).toBeGreaterThan(0);
  },
);

testUnless(
  undefined,
  "promise 4: a vector's total is a contiguous prefix at the end of the file",
  async () => {
    using dir = new TempDir();
    const random = Random.announced("vectors at the end of the file");
    const content = pattern(50_000);
    await using file = await File.open(dir.file("source", content));
    for (let round = 0; round < 60; round++) {
      const offset = random.below(50_000);
      const views: Uint8Array[] = [];
      const foreign = random.chance(0.5);
      for (let i = random.between(1, 40); i > 0; i--) {
        const length = random.pick([0, 1, 511, 512, 4096, random.below(9000)]);
        views.push(
          (foreign || length === 0 ? new Uint8Array(length) : allocBuffer(length)).fill(0xaa),
        );
      }
      const all = views.reduce((sum, view) => sum + view.length, 0);
      const expected = Math.min(all, content.length - offset);
      expect(await file.readvAt(views, offset)).toBe(expected);
      const joined = Buffer.concat(views);
      expect(
        Buffer.compare(joined.subarray(0, expected), content.subarray(offset, offset + expected)),
      ).toBe(0);
      expect(joined.subarray(expected).every((byte) => byte === 0xaa)).toBe(true);
    }
  },
);

testUnless(undefined, "promise 4: vectors with pieces larger than one request", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("out"), { write: true, create: true });
  for (const make of [allocBuffer, (size: number) => new Uint8Array(size)]) {
    const views = [make(3), make(5 * MiB + 1), make(2 * MiB), make(1), make(3 * MiB)];
    let position = 0;
    for (const view of views) {
      view.set(pattern(view.length, position));
      position += view.length;
    }
    expect(await file.writevAt(views, 77)).toBe(position);
    for (const view of views) view.fill(0);
    expect(await file.readvAt(views, 77)).toBe(position);
    position = 0;
    for (const view of views) {
      expect(Buffer.compare(view, pattern(view.length, position))).toBe(0);
      position += view.length;
    }
  }
});

testUnless(noLinux, "promise 4: a vector that fails on the way says how far it came", async () => {
  await using file = await File.open("/dev/full", { write: true });
  const error = await ioError(file.writevAt([allocBuffer(5), allocBuffer(5)], 3), "ENOSPC");
  expect(error).toMatchObject({ syscall: "writev", offset: 3, length: 10, transferred: 0 });
  expect(error.hint).toContain("full");
});

/** Runs `use` with a tmpfs of 1 MiB. */
async function withSmallDisk(dir: TempDir, use: (path: string) => Promise<void>): Promise<void> {
  const mount = dir.file("disk");
  fs.mkdirSync(mount);
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount]);
  if (mounted.exitCode !== 0) throw new Error(`mount: ${mounted.stderr}`);
  try {
    await use(mount);
  } finally {
    Bun.spawnSync(["umount", "-l", mount]);
  }
}

function mountReason(): string | undefined {
  using dir = new TempDir();
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", dir.path]);
  if (mounted.exitCode === 0) Bun.spawnSync(["umount", "-l", dir.path]);
  return unless(mounted.exitCode === 0, `cannot mount a tmpfs here: ${mounted.stderr}`.trim());
}

testUnless(
  noRoot ?? mountReason(),
  "promise 4: a full disk tells how much was written, in every shape",
  async () => {
    using dir = new TempDir();
    await withSmallDisk(dir, async (disk) => {
      const content = pattern(4 * MiB);
      const native = allocBuffer(content.length);
      native.set(content);
      const shapes: ((file: File) => Promise<unknown>)[] = [
        (file) => file.writeAt(content, 0),
        (file) => file.writeAt(native, 0),
        (file) => file.writevAt([content.subarray(0, 600_000), content.subarray(600_000)], 0),
        (file) => file.writevAt([native.subarray(0, 600_000), native.subarray(600_000)], 0),
      ];
      for (const [index, shape] of shapes.entries()) {
        const path = `${disk}/out${index}`;
        const file = await File.open(path, { write: true, create: true });
        const error = await ioError(shape(file), "ENOSPC");
        expect(error).toMatchObject({ errno: -28, path, offset: 0, length: content.length });
        const transferred = error.transferred ?? -1;
        // Foreign memory goes in parts that overlap: later ones may have taken the space of the first.
        expect(transferred).toBeGreaterThanOrEqual(index % 2 === 0 ? 0 : 1);
        expect(transferred).toBeLessThanOrEqual(MiB);
        const written = fs.readFileSync(path);
        expect(written.length).toBeGreaterThanOrEqual(transferred);
        expect(
          Buffer.compare(written.subarray(0, transferred), content.subarray(0, transferred)),
        ).toBe(0);
        const sync = await ioError(file.syncAll(), "ENOSPC");
        expect((sync.cause as IoError).transferred).toBe(transferred);
        await rejection(file.allocate(0, 4 * MiB));
        await file.close();
        fs.unlinkSync(path);
      }
      await using file = await File.open(`${disk}/after`, { write: true, create: true });
      expect(await file.writeAt(content.subarray(0, 1000), 0)).toBe(1000);
      await file.syncAll();
    });
  },
);

testUnless(
  noLinux ?? noFaultFree ?? unless(freeMemoryBytes() > 6e9, "needs 6 GB of free memory"),
  "promise 4: more than 2 GiB in one call",
  async () => {
    // The kernel transfers at most 0x7ffff000 bytes a call (read(2)).
    const bytes = 2 ** 31 + 4096 + 17;
    // Holes of a tmpfs take no memory when they are read.
    using dir = new TempDir(fs.existsSync("/dev/shm") ? "/dev/shm" : undefined);
    const path = dir.file("sparse");
    await using file = await File.open(path, { write: true, create: true });
    await file.truncate(bytes + 100);
    const marks = [0, 2 ** 31 - 4097, 2 ** 31 - 1, 2 ** 31, bytes - 1];
    for (const mark of marks) await file.writeAt(new Uint8Array([0xa5]), mark);
    const buffer = allocBuffer(bytes);
    expect(await file.readAt(buffer, 0)).toBe(bytes);
    for (const mark of marks) expect(buffer[mark]).toBe(0xa5);
    expect(buffer[bytes - 2]).toBe(0);
    buffer.buffer.transfer(0);
  },
  120_000,
);

function freeMemoryBytes(): number {
  const text = process.platform === "linux" ? fs.readFileSync("/proc/meminfo", "latin1") : "";
  return Number(/MemAvailable:\s+(\d+)/.exec(text)?.[1] ?? 0) * 1024;
}

const KINDS: readonly (new (buffer: ArrayBuffer) => ArrayBufferView<ArrayBuffer>)[] = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Float16Array,
  Int32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  DataView,
];

testUnless(
  undefined,
  "bytes of every kind of view are moved as they are, though it grows",
  async () => {
    using dir = new TempDir();
    await using file = await File.open(dir.file("out"), { write: true, create: true });
    for (const [index, Kind] of KINDS.entries()) {
      const content = pattern(4096, index);
      // Follows the length of its buffer.
      const made = (): ArrayBufferView<ArrayBuffer> =>
        new Kind(new ArrayBuffer(4096, { maxByteLength: 8192 }));
      const bytesOf = (view: ArrayBufferView<ArrayBuffer>): Uint8Array =>
        new Uint8Array(view.buffer, 0, 4096);
      for (const grows of [false, true]) {
        const [written, read, pieces] = [made(), made(), [made(), made()]];
        bytesOf(written).set(content);
        const writing = file.writeAt(written, index);
        if (grows) written.buffer.resize(8192);
        expect(await writing).toBe(4096);
        const reading = [file.readAt(read, index), file.readvAt(pieces, index)];
        if (grows) for (const view of [read, ...pieces]) view.buffer.resize(8192);
        expect((await Promise.all(reading))[0]).toBe(4096);
        expect(Buffer.compare(bytesOf(read), content)).toBe(0);
        expect(Buffer.compare(bytesOf(pieces[0] as DataView<ArrayBuffer>), content)).toBe(0);
      }
    }
  },
);
