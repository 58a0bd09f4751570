// `copy({ sparse })` of sources with holes: they are not read, and are zeroes on the target, whatever that held.

import { describe, expect, test } from "bun:test";
import {
  closeSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import {
  BlockDevice,
  type CopyProgress,
  type CopyToAllOptions,
  copy,
  copyToAll,
  File,
  Ring,
} from "../../src/index.ts";
import { simulatedDevice } from "../../src/testing/index.ts";
import { pattern } from "../support/devices.ts";
import { ioError } from "../support/expect.ts";
import { Random } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const KIB = 1024;
const MIB = 2 ** 20;
const TIB = 2 ** 40;

/** A file with data at the given places, and holes around it. */
function sparse(dir: TempDir, name: string, size: number, data: [at: number, bytes: Uint8Array][]) {
  const path = dir.file(name, "");
  truncateSync(path, size);
  const fd = openSync(path, "r+");
  for (const [at, bytes] of data) writeSync(fd, bytes, 0, bytes.byteLength, at);
  closeSync(fd);
  return path;
}

/** A MiB of a file, read without this library. */
function part(path: string, at: number): Buffer {
  const bytes = Buffer.alloc(MIB);
  const fd = openSync(path, "r");
  expect(readSync(fd, bytes, 0, MIB, at)).toBe(MIB);
  closeSync(fd);
  return bytes;
}

function sha256(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

test("8 TiB with a few bytes of data, in an instant", async () => {
  using dir = new TempDir();
  const data: [number, Uint8Array<ArrayBuffer>][] = [
    [0, pattern(10, 1)],
    [5 * TIB + 17, pattern(5000, 2)],
  ];
  const [a, b] = [sparse(dir, "a", 8 * TIB - 3, data), dir.file("b")];
  await using ring = await Ring.open({});
  await using source = await File.open(a, { ring });
  await using target = await File.open(b, { write: true, create: true, ring });
  const told: CopyProgress[] = [];
  const started = performance.now();
  const result = await copy(source, target, {
    sparse: true,
    verify: true,
    onProgress: (progress) => told.push(progress),
  });
  expect(performance.now() - started).toBeLessThan(5000);
  expect(result).toMatchObject({ verified: true, prefix: 8 * TIB - 3 });
  expect(result.bytesCopied + result.bytesSkipped).toBe(8 * TIB - 3);
  expect(result.bytesCopied).toBeLessThan(MIB);
  expect(ring.stats().bytesRead).toBeLessThan(2 * MIB);
  for (const phase of ["copy", "verify"] as const) {
    const last = told.findLast((progress) => progress.phase === phase);
    expect(last).toMatchObject({ bytes: 8 * TIB - 3, total: 8 * TIB - 3 });
  }
  expect(statSync(b).size).toBe(8 * TIB - 3);
  expect(statSync(b).blocks * 512).toBeLessThan(MIB);
  for (const [at, bytes] of data)
    expect(await target.bytes(at, at + bytes.byteLength)).toEqual(bytes);
  for (const at of [0, 5 * TIB]) expect(Buffer.compare(part(a, at), part(b, at))).toBe(0);
});

describe("random layouts", () => {
  const SIZE = 3 * MIB + 777;
  const old = pattern(4 * MIB, 5);

  for (const kind of ["file", "image", "disk", "copyToAll"] as const) {
    test(`onto a ${kind} that holds something else`, async () => {
      const random = Random.announced(`sparse copies onto a ${kind}`);
      for (let round = 0; round < 3; round++) {
        using dir = new TempDir();
        const data = Array.from({ length: random.below(6) }, (): [number, Uint8Array] => {
          const at = random.below(SIZE - 1);
          return [
            at,
            pattern(1 + random.below(Math.min(300 * KIB, SIZE - at - 1)), random.below(99)),
          ];
        });
        const path = sparse(dir, "source", SIZE, data);
        const contents = new Uint8Array(readFileSync(path));
        await using source = await File.open(path, { direct: random.chance(0.3) });
        const sourceOffset = random.chance(0.5) ? 0 : random.below(MIB);
        const unit = random.chance(0.5) ? 4096 : 1;
        const targetOffset = random.below(16) * 4096 + (unit === 1 ? random.below(4096) : 0);
        const length = SIZE - sourceOffset - (random.chance(0.5) ? 0 : random.below(MIB));
        const targets: File[] = [];
        await using _ = {
          [Symbol.asyncDispose]: async () => {
            for (const target of targets) await target.close();
          },
        };
        if (kind === "disk" || kind === "copyToAll") {
          targets.push(await simulatedDevice({ image: old, strictAlignment: true }));
        }
        if (kind === "file" || kind === "copyToAll") {
          const name = dir.file("target", old.subarray(0, random.chance(0.5) ? 4 * MIB : MIB));
          targets.push(await File.open(name, { write: true, direct: random.chance(0.5) }));
        }
        if (kind === "image") {
          targets.push(
            await BlockDevice.open(dir.file("image", old), { write: true, sectorSize: 512 }),
          );
        }
        const options: CopyToAllOptions = {
          ...{ sourceOffset, targetOffset, length, sparse: true, verify: true },
          ...{ hash: "sha256", chunkSize: random.chance(0.5) ? 64 * KIB : undefined },
        };
        const part = contents.subarray(sourceOffset, sourceOffset + length);
        const settled = await copyToAll(source, targets, options);
        for (const [index, target] of targets.entries()) {
          const outcome = settled[index];
          if (outcome?.status !== "fulfilled") throw outcome?.reason;
          expect(outcome.value).toMatchObject({
            ...{ verified: true, prefix: length, digest: sha256(part) },
          });
          const written = await target.bytes(targetOffset, targetOffset + length);
          expect(Buffer.compare(written, part)).toBe(0);
          expect(
            Buffer.compare(await target.bytes(0, targetOffset), old.subarray(0, targetOffset)),
          ).toBe(0);
          if ((await target.size()) < 4 * MIB) continue;
          const behind = await target.bytes(targetOffset + length);
          expect(Buffer.compare(behind, old.subarray(targetOffset + length))).toBe(0);
        }
      }
    });
  }
});

test("ranges with digests, over holes", async () => {
  using dir = new TempDir();
  const path = sparse(dir, "a", 4 * MIB, [[MIB, pattern(MIB, 3)]]);
  const contents = new Uint8Array(readFileSync(path));
  const ranges = [
    [100, 500 * KIB],
    [600 * KIB, MIB],
    [3 * MIB, MIB],
  ].map(([offset = 0, length = 0]) => {
    return { offset, length, sha256: sha256(contents.subarray(offset, offset + length)) };
  });
  await using source = await File.open(path);
  await using target = await File.open(dir.file("b", new Uint8Array(4 * MIB).fill(7)), {
    write: true,
  });
  const options = { sparse: true, verify: true, ranges };
  expect(await copy(source, target, options)).toMatchObject({ verified: true });
  const expected = new Uint8Array(4 * MIB).fill(7);
  for (const { offset, length } of ranges) {
    expected.set(contents.subarray(offset, offset + length), offset);
  }
  expect(Buffer.compare(await target.bytes(), expected)).toBe(0);
  const wrong = ranges.map((range) => ({ ...range, sha256: "0".repeat(64) }));
  const error = await ioError(copy(source, target, { ...options, ranges: wrong }), "ERR_VERIFY");
  expect(error).toMatchObject({ offset: 100, length: 500 * KIB });
});

test("zeroes are left out from the grid of the target on, wherever the copy begins", async () => {
  const image = new Uint8Array(MIB);
  image.set(pattern(60 * KIB, 1));
  await using source = await simulatedDevice({ image });
  await using target = await simulatedDevice({ image: new Uint8Array(2 * MIB).fill(9) });
  const options = { sparse: true, targetOffset: 512, chunkSize: MIB };
  const { bytesSkipped } = await copy(source, target, options);
  // All but the first block of 64 KiB of the target, and the part of a block behind its first MiB.
  expect(bytesSkipped).toBe(960 * KIB);
  expect(Buffer.compare(await target.bytes(512, 512 + MIB), image)).toBe(0);
});

test("holes are whole blocks of the target, whatever the offset", async () => {
  using dir = new TempDir();
  const path = sparse(dir, "a", 256 * KIB, [[128 * KIB, pattern(128 * KIB, 1)]]);
  await using source = await File.open(path);
  await using target = await simulatedDevice({ size: 256 * KIB, sectorSize: 4096 });
  const options = { sparse: true, sourceOffset: 512, length: 252 * KIB };
  expect((await copy(source, target, options)).bytesSkipped).toBe(124 * KIB);
});

test("a length beyond the end of the source is no hole", async () => {
  using dir = new TempDir();
  await using source = await File.open(sparse(dir, "a", MIB, []));
  await using target = await File.open(dir.file("b"), { write: true, create: true });
  const early = copy(source, target, { sparse: true, length: 2 * MIB });
  expect(await ioError(early, "ERR_END_OF_FILE")).toMatchObject({ transferred: MIB });
});

describe("verification of holes", () => {
  test("data where a hole should be is found, to the byte", async () => {
    using dir = new TempDir();
    const path = sparse(dir, "a", 4 * MIB, [[MIB, pattern(1000, 3)]]);
    await using source = await File.open(path);
    for (const place of [0, 5, 2 * MIB + 99, 4 * MIB - 1]) {
      const name = dir.file("b", "");
      await using target = await File.open(name, { write: true });
      const invalidate = target.invalidateCache.bind(target);
      target.invalidateCache = async () => {
        const fd = openSync(name, "r+");
        writeSync(fd, "!", place);
        closeSync(fd);
        await invalidate();
      };
      const error = await ioError(
        copy(source, target, { sparse: true, verify: true }),
        "ERR_VERIFY",
      );
      expect(error.offset).toBe(place);
      expect(error.result?.prefix).toBe(place);
    }
  });

  test("a target that was cut off in a hole is found", async () => {
    using dir = new TempDir();
    await using source = await File.open(sparse(dir, "a", 4 * MIB, [[0, pattern(1000, 3)]]));
    const name = dir.file("b", "");
    await using target = await File.open(name, { write: true });
    const invalidate = target.invalidateCache.bind(target);
    target.invalidateCache = async () => {
      truncateSync(name, 3 * MIB + 1);
      await invalidate();
    };
    const error = await ioError(copy(source, target, { sparse: true, verify: true }), "ERR_VERIFY");
    expect(error.offset).toBe(3 * MIB + 1);
  });
});

test("a fault at each sector of a small target, and of what is zeroed", async () => {
  using dir = new TempDir();
  const size = 256 * KIB;
  const path = sparse(dir, "a", size, [[128 * KIB, pattern(4096, 3)]]);
  await using source = await File.open(path);
  for (let offset = 0; offset < size; offset += 4096) {
    await using target = await simulatedDevice({ image: pattern(size, 4) });
    using _ = target.faults.add({ operation: "any", offset, length: 512, error: "EIO" });
    const error = await ioError(copy(source, target, { sparse: true }), "EIO");
    expect(error.result?.prefix).toBeLessThanOrEqual(offset);
  }
  writeFileSync(path, "");
});
