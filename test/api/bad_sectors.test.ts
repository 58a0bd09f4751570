// `copy({ onReadError: "skip" })` from media with bad sectors: what is kept, what is lost, and what it costs.

import { describe, expect, test } from "bun:test";
import { copy, type ReadError } from "../../src/index.ts";
import { type SimulatedDevice, simulatedDevice } from "../../src/testing/index.ts";
import { pattern, Random } from "../support/random.ts";

/** What the block layer and file systems say of a place that cannot be read. */
const CODES = ["EIO", "ENODATA", "EILSEQ", "EREMOTEIO", "ETIMEDOUT", "ETIME", "EBADMSG"];

/** Adds a rule for each range, and returns how they are to be reported. */
function damage(device: SimulatedDevice, ranges: readonly [number, number, string][]): ReadError[] {
  return ranges.map(([offset, length, error]) => {
    device.faults.add({ operation: "read", offset, length, error });
    return { offset, length, code: error };
  });
}

/** The bytes, with zeroes where they are lost. */
function without(bytes: Uint8Array, lost: readonly ReadError[]): Uint8Array {
  const left = bytes.slice();
  for (const { offset, length } of lost) left.fill(0, offset, offset + length);
  return left;
}

describe("skip", () => {
  test("bad sectors anywhere are lost, and nothing beside them", async () => {
    const random = Random.announced("bad sectors");
    for (const sectorSize of [512, 4096]) {
      const sectors = 512;
      const image = pattern(sectors * sectorSize);
      await using source = await simulatedDevice({ image, sectorSize });
      await using target = await simulatedDevice({ size: image.byteLength, sectorSize });
      const ranges: [number, number, string][] = [];
      for (let at = random.below(40); at < sectors; at += random.between(2, 40)) {
        const count = Math.min(random.pick([1, 1, 2, 17]), sectors - at);
        ranges.push([at * sectorSize, count * sectorSize, random.pick(CODES)]);
        at += count;
      }
      const lost = damage(source, ranges);
      const chunkSize = random.pick([sectorSize, 32 * sectorSize, 100 * sectorSize, 2 ** 20]);
      const result = await copy(source, target, { onReadError: "skip", chunkSize });
      expect(result.readErrors).toEqual(lost);
      expect(Buffer.compare(await target.crash(), without(image, lost))).toBe(0);
    }
  });

  test("many sectors are tried at once while the medium answers fast", async () => {
    const size = 4 << 20;
    await using source = await simulatedDevice({ size });
    await using target = await simulatedDevice({ size });
    damage(source, [[0, size, "EIO"]]);
    const { readErrors } = await copy(source, target, { onReadError: "skip" });
    expect(readErrors).toEqual([{ offset: 0, length: size, code: "EIO" }]);
    const { reads, flushes } = source.ring.stats();
    // Each sector, and a tenth more in larger pieces.
    expect(reads).toBeGreaterThanOrEqual(size / 512);
    expect(reads).toBeLessThan((1.1 * size) / 512);
    expect(flushes).toBeLessThan(reads / 4);
  });

  test("adjacent sectors are not tried at once: the kernel would merge them, and fail the good with the bad", async () => {
    const size = 1 << 20;
    await using source = await simulatedDevice({ size });
    await using target = await simulatedDevice({ size });
    const lost = damage(source, [[4096, 100 * 512, "EIO"]]);
    const inFlight = new Set<number>();
    let pairs = 0;
    let most = 0;
    const readAt = source.readAt.bind(source);
    source.readAt = async (buffer, offset, options) => {
      const [begin, end] = [Number(offset), Number(offset) + buffer.byteLength];
      if (buffer.byteLength > 512) return await readAt(buffer, offset, options);
      if (inFlight.has(begin - 512) || inFlight.has(end)) pairs++;
      inFlight.add(begin);
      most = Math.max(most, inFlight.size);
      try {
        return await readAt(buffer, offset, options);
      } finally {
        inFlight.delete(begin);
      }
    };
    const { readErrors } = await copy(source, target, { onReadError: "skip" });
    expect(readErrors).toEqual(lost);
    expect(most).toBeGreaterThan(8);
    expect(pairs).toBe(0);
  });

  test("one sector is tried at a time where the medium labours", async () => {
    await using source = await simulatedDevice({ size: 65_536 });
    await using target = await simulatedDevice({ size: 65_536 });
    const [latency, count] = [60, 10];
    const range = { offset: 8192, length: count * 512 };
    source.faults.add({ operation: "read", ...range, error: "EIO", latency });
    const result = await copy(source, target, { onReadError: "skip" });
    expect(result.readErrors).toEqual([{ ...range, code: "EIO" }]);
    expect(result.durationMs).toBeGreaterThan((count - 1) * latency);
  });
});
