// Unaligned access to devices, images and direct files: reads always work, vectors are gathered, and writes are
// refused or done by read-modify-write.

import { describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import fc from "fast-check";
import { allocBuffer, BufferPool, File, IoError } from "../../src/index.ts";
import { describeUnless, testUnless } from "../support/conditions.ts";
import { Folder, pattern, rejection, shuffled, targets } from "../support/devices.ts";

const MiB = 2 ** 20;
const seed = Math.floor(Math.random() * 2 ** 31);
console.error(`test/device/alignment.test.ts: seed ${seed}`);

/** tokio-file's vector: 2048 bytes whose pieces are not aligned. */
const PIECES = [100, 412, 512, 100, 100, 312, 512];

for (const target of targets) {
  const unit = target.sectorSize;
  describeUnless(target.missing, target.name, () => {
    test("vectors with unaligned pieces, both ways", async () => {
      await using file = await target.open(MiB);
      const pieces = PIECES.map((bytes, index) => pattern((bytes * unit) / 512, seed + index));
      const total = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
      expect(await file.writevAt(pieces, 2 * unit)).toBe(total);
      const answers = pieces.map((piece) => new Uint8Array(piece.byteLength));
      expect(await file.readvAt(answers, 2 * unit)).toBe(total);
      for (const [index, answer] of answers.entries())
        expect(answer).toEqual(pieces[index] as never);
      const around = new Uint8Array(total + 2 * unit);
      await file.readExactAt(around, unit);
      expect(around.subarray(0, unit).some((byte) => byte !== 0)).toBe(false);
      expect(around.subarray(unit, unit + total)).toEqual(Buffer.concat(pieces) as never);
      expect(around.subarray(unit + total).some((byte) => byte !== 0)).toBe(false);
    });

    test("vectors of several megabytes in pieces of every kind of memory", async () => {
      await using file = await target.open(8 * MiB);
      const bytes = 5 * MiB;
      const content = pattern(bytes, seed);
      const pinned = allocBuffer(bytes + 7);
      pinned.set(content, 7);
      const views: ArrayBufferView[] = [];
      const answers: ArrayBufferView[] = [];
      for (let at = 0, step = 1; at < bytes; step = (step * 3 + 1) % 70001) {
        const count = Math.min(step + 1, bytes - at);
        views.push(
          step % 2 === 0 ? pinned.subarray(7 + at, 7 + at + count) : content.slice(at, at + count),
        );
        answers.push(step % 2 === 0 ? new DataView(new ArrayBuffer(count)) : new Int8Array(count));
        at += count;
      }
      expect(await file.writevAt(views, unit)).toBe(bytes);
      expect(await file.readvAt(answers, unit)).toBe(bytes);
      const read = Buffer.concat(
        answers.map((view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength)),
      );
      expect(Bun.hash(read)).toBe(Bun.hash(content));
    });

    test("reads of any range", async () => {
      const size = 64 * unit;
      await using file = await target.open(size);
      const content = pattern(size, seed);
      await file.writeAt(content, 0);
      const pinned = allocBuffer(size + 1);
      await fc.assert(
        fc.asyncProperty(
          fc.nat(size + unit),
          fc.nat(size),
          fc.boolean(),
          async (at, length, pin) => {
            const view = pin ? pinned.subarray(1, 1 + length) : new Uint8Array(length);
            const expected = content.subarray(at, at + length);
            expect(await file.readAt(view, at)).toBe(expected.byteLength);
            expect(view.subarray(0, expected.byteLength)).toEqual(expected as never);
          },
        ),
        { numRuns: 60, seed },
      );
    });

    test("large unaligned reads into foreign and misaligned memory", async () => {
      await using file = await target.open(4 * MiB);
      const content = pattern(4 * MiB, seed);
      await file.writeAt(content, 0);
      const at = unit / 2 + 1;
      for (const view of [new Uint8Array(3 * MiB), allocBuffer(3 * MiB + 9).subarray(9)]) {
        expect(await file.readAt(view, at)).toBe(view.byteLength);
        expect(Bun.hash(view)).toBe(Bun.hash(content.subarray(at, at + view.byteLength)));
      }
      const past = new Uint8Array(3 * MiB);
      expect(await file.readAt(past, 3 * MiB + 1)).toBe(MiB - 1);
      expect(Bun.hash(past.subarray(0, MiB - 1))).toBe(Bun.hash(content.subarray(3 * MiB + 1)));
    });

    test("aligned writes from misaligned memory", async () => {
      await using file = await target.open(4 * MiB);
      const memory = allocBuffer(3 * MiB + 3).subarray(3);
      memory.set(pattern(3 * MiB, seed));
      expect(await file.writeAt(memory, unit)).toBe(3 * MiB);
      const answer = new Uint8Array(3 * MiB);
      await file.readExactAt(answer, unit);
      expect(Bun.hash(answer)).toBe(Bun.hash(memory));
    });

    const refused = "an unaligned write is refused, says what is off, and does no harm";
    testUnless(target.takesAll, refused, async () => {
      await using file = await target.open(MiB);
      const at = file.alignment.offset;
      expect(at).toBeGreaterThan(1);
      const error = (await rejection(file.writeAt(new Uint8Array(at + 1), at + 3))) as IoError;
      expect(error).toBeInstanceOf(IoError);
      expect(error.code).toBe("ERR_MISALIGNED");
      expect(error.message).toContain(`offset is 3 bytes past a multiple of ${at}`);
      expect(error.message).toContain(`length is 1 byte past a multiple of ${at}`);
      expect(error.transferred).toBe(0);
      const length = await rejection(file.writevAt([new Uint8Array(at), new Uint8Array(2)], at));
      expect(length.message).toContain(`length is 2 bytes past a multiple of ${at}`);
      expect(length.message).not.toContain("offset is");
      const memory = await rejection(file.writeAt(allocBuffer(at + 2).subarray(1, at + 1), 1));
      if (file.alignment.memory > 1) {
        expect(memory.message).toContain(
          `memory is 1 byte past a multiple of ${file.alignment.memory}`,
        );
      }
      expect(await file.writeAt(new Uint8Array(0), 3)).toBe(0);
      await file.syncAll();
      const before = new Uint8Array(4 * at);
      await file.readExactAt(before, 0);
      expect(before.every((byte) => byte === 0)).toBe(true);
    });

    test("one concurrent write for each byte of 8 sectors", async () => {
      await using file = await target.open(16 * unit, "rmw");
      const content = pattern(8 * unit, seed);
      // On large sectors every eighth byte, each of those being two operations on the medium.
      const step = unit / 512;
      const places = shuffled([...content.keys()], seed).filter((place) => place % step === 0);
      // Beside them, aligned writes to the sectors before and behind that share nothing but the lock.
      const aligned = pattern(unit, seed + 1);
      const running: Promise<number>[] = [file.writeAt(aligned, 2 * unit)];
      for (const place of places) {
        running.push(file.writeAt(content.subarray(place, place + 1), 3 * unit + place));
      }
      running.push(file.writeAt(aligned, 11 * unit));
      await Promise.all(running);
      const answer = new Uint8Array(10 * unit);
      await file.readExactAt(answer, 2 * unit);
      const written = content.map((byte, place) => (place % step === 0 ? byte : 0));
      expect(Bun.hash(answer)).toBe(Bun.hash(Buffer.concat([aligned, written, aligned])));
    });

    test("unaligned writes against aligned ones on the same sectors", async () => {
      await using file = await target.open(32 * unit, "rmw");
      // Each round: an aligned write of two sectors and unaligned ones into both. Called first, the
      // aligned write has the range first: what it wrote elsewhere must survive.
      for (let round = 0; round < 20; round++) {
        const base = allocBuffer(2 * unit).fill(0x40 + round);
        const patch = new Uint8Array(unit).fill(0x80 + round);
        await Promise.all([
          file.writeAt(base, 4 * unit),
          file.writeAt(patch, 4 * unit + unit / 2 + 1),
          file.writeAt(patch.subarray(0, 3), 6 * unit - 3),
          file.writevAt([patch.subarray(0, 1), patch.subarray(0, 2)], 4 * unit + 1),
        ]);
        const answer = new Uint8Array(2 * unit);
        await file.readExactAt(answer, 4 * unit);
        const expected = new Uint8Array(2 * unit).fill(0x40 + round);
        expected.fill(0x80 + round, unit / 2 + 1, unit / 2 + 1 + unit);
        expected.fill(0x80 + round, 2 * unit - 3);
        expected.fill(0x80 + round, 1, 4);
        expect(answer).toEqual(expected);
      }
    });

    test("unaligned writes of any range change nothing else", async () => {
      const size = 3 * MiB;
      await using file = await target.open(size, "rmw");
      const model = new Uint8Array(size);
      const range = fc.record({
        at: fc.nat(size - 1),
        length: fc.oneof(
          fc.integer({ min: 1, max: 3 * unit }),
          fc.integer({ min: 1, max: 2 * MiB }),
        ),
        seed: fc.nat(),
      });
      await fc.assert(
        fc.asyncProperty(range, async ({ at, length, seed: contentSeed }) => {
          const content = pattern(Math.min(length, size - at), contentSeed);
          const cut = Math.floor(content.byteLength / 3);
          const moved = await file.writevAt([content.subarray(0, cut), content.subarray(cut)], at);
          expect(moved).toBe(content.byteLength);
          model.set(content, at);
        }),
        { numRuns: 25, seed },
      );
      const answer = new Uint8Array(size);
      await file.readExactAt(answer, 0);
      expect(Bun.hash(answer)).toBe(Bun.hash(model));
    });

    test("a sync covers unaligned writes that were not awaited", async () => {
      await using file = await target.open(16 * unit, "rmw");
      const writes = [1, 2, 3].map((place) => file.writeAt(new Uint8Array([place]), place));
      await file.syncData();
      for (const write of writes) expect(Bun.peek.status(write)).toBe("fulfilled");
      await Promise.all(writes);
    });

    test("an aborted unaligned write rejects and leaves the lock free", async () => {
      await using file = await target.open(16 * unit, "rmw");
      const abort = new AbortController();
      const running = Array.from({ length: 50 }, (_, place) =>
        file.writeAt(new Uint8Array([1]), place, { signal: abort.signal }),
      );
      abort.abort();
      for (const outcome of await Promise.allSettled(running)) {
        if (outcome.status === "rejected") expect(outcome.reason.code).toBe("ABORT_ERR");
      }
      expect(await file.writeAt(new Uint8Array([9]), 7)).toBe(1);
    });
  });
}

describe("the end of a direct file", () => {
  const open = (folder: Folder, size: number): Promise<File> => {
    const options = { write: true, direct: true, unalignedWrites: "rmw" } as const;
    return File.open(folder.zeroes("file", size), options);
  };

  test("has the exact length after unaligned writes past it", async () => {
    using folder = new Folder();
    await using file = await open(folder, 0);
    const path = file.path ?? "";
    await file.writeAt(pattern(100, 1), 0);
    expect(statSync(path).size).toBe(100);
    await file.writeAt(pattern(10, 2), 50);
    expect(statSync(path).size).toBe(100);
    await file.writeAt(pattern(10, 3), 95);
    expect(statSync(path).size).toBe(105);
    await file.writeAt(pattern(3, 4), 10_000);
    expect(statSync(path).size).toBe(10_003);
    await file.writeAt(pattern(2 * MiB + 1, 5), 20_001);
    expect(statSync(path).size).toBe(20_001 + 2 * MiB + 1);
    const expected = new Uint8Array(20_001 + 2 * MiB + 1);
    expected.set(pattern(100, 1));
    expected.set(pattern(10, 2), 50);
    expected.set(pattern(10, 3), 95);
    expected.set(pattern(3, 4), 10_000);
    expected.set(pattern(2 * MiB + 1, 5), 20_001);
    expect(Bun.hash(await Bun.file(path).arrayBuffer())).toBe(Bun.hash(expected));
  });

  test("when many writes extend it at once", async () => {
    using folder = new Folder();
    await using file = await open(folder, 0);
    const bytes = 20_011;
    const content = pattern(bytes, seed);
    const starts = Array.from({ length: Math.ceil(bytes / 97) }, (_, index) => index * 97);
    await Promise.all([
      ...shuffled(starts, seed).map((at) => file.writeAt(content.subarray(at, at + 97), at)),
      file.writeAt(allocBuffer(4096), 5 * 4096),
    ]);
    const written = new Uint8Array(await Bun.file(file.path ?? "").arrayBuffer());
    expect(written.byteLength).toBe(6 * 4096);
    expect(Bun.hash(written.subarray(0, bytes))).toBe(Bun.hash(content));
    expect(written.subarray(bytes).every((byte) => byte === 0)).toBe(true);
  });

  test("when no aligned write makes room first: nobody cuts off what others wrote", async () => {
    using folder = new Folder();
    await using file = await open(folder, 0);
    const places = Array.from({ length: 24 }, (_, index) => index * 9000 + 17);
    await Promise.all(
      shuffled(places, seed).map((at) => file.writeAt(new Uint8Array(100).fill(at % 251), at)),
    );
    const last = (places.at(-1) ?? 0) + 100;
    const expected = new Uint8Array(last);
    for (const at of places) expected.fill(at % 251, at, at + 100);
    const written = new Uint8Array(await Bun.file(file.path ?? "").arrayBuffer());
    expect(written.byteLength).toBe(last);
    expect(Buffer.compare(written, expected)).toBe(0);
  });

  test("when truncated among unaligned writes", async () => {
    using folder = new Folder();
    await using file = await open(folder, 9000);
    await Promise.all([
      file.writeAt(new Uint8Array([1]), 8999),
      file.truncate(5000),
      file.writeAt(new Uint8Array([2]), 10),
    ]);
    // The two have no order, but there is nothing in between.
    const size = await file.size();
    expect([5000, 9000]).toContain(size);
    const content = new Uint8Array(size);
    await file.readExactAt(content, 0);
    const expected = new Uint8Array(size);
    expected[10] = 2;
    if (size === 9000) expected[8999] = 1;
    expect(content).toEqual(expected);
  });
});

test("rmw needs read and write", async () => {
  using folder = new Folder();
  const path = folder.zeroes("file", 0);
  for (const options of [{ write: true, read: false }, { read: true }]) {
    const error = await rejection(File.open(path, { ...options, unalignedWrites: "rmw" }));
    expect(error).toBeInstanceOf(TypeError);
  }
  const error = await rejection(File.open(path, { unalignedWrites: "maybe" as never }));
  expect(error.message).toContain('must be "reject" or "rmw"');
});

test("a pool lends no buffer of a vector that is in flight", async () => {
  using folder = new Folder();
  await using file = await File.open(folder.zeroes("file", 8192), { write: true });
  using pool = new BufferPool({ size: 4096, count: 2 });
  const buffers = [await pool.acquire(), await pool.acquire()];
  const running = file.writevAt(buffers, 0);
  for (const buffer of buffers) pool.release(buffer);
  expect(pool.available).toBe(0);
  await running;
  expect(pool.available).toBe(2);
});
