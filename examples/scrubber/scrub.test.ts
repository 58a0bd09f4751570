// How to test a tool that meets broken disks: fault rules stand for the bad sectors.

import { describe, expect, test } from "bun:test";
import { type FaultRule, simulatedDevice, trackLeaks } from "bun-aio/testing";
import { scrub } from "./scrub.ts";

const MIB = 2 ** 20;

function bad(offset: number, length: number, error = "EIO"): FaultRule {
  return { operation: "read", offset, length, error };
}

describe("the scrubber", () => {
  test("finds nothing on a good disk, and reads all of it once", async () => {
    await using _ = trackLeaks();
    await using device = await simulatedDevice({ size: 5 * MIB + 512 });
    const seen: number[] = [];
    expect(await scrub(device, { onProgress: (bytes) => seen.push(bytes) })).toEqual([]);
    expect(seen.at(-1)).toBe(5 * MIB + 512);
    expect(device.ring.stats().bytesRead).toBe(5 * MIB + 512);
  });

  test("finds exactly the bad sectors, also at the ends, in any order", async () => {
    for (const sectorSize of [512, 4096]) {
      const size = 8 * MIB;
      await using device = await simulatedDevice({
        size,
        sectorSize,
        seed: 3,
        faults: [
          bad(5 * MIB - sectorSize, 2 * sectorSize),
          bad(0, 1),
          bad(size - 1, 1),
          bad(3 * MIB + 5 * sectorSize, 1, "EREMOTEIO"),
          { operation: "read", probability: 0.2, latency: 2 },
        ],
      });
      expect(await scrub(device)).toEqual([
        { offset: 0, length: sectorSize, code: "EIO" },
        { offset: 3 * MIB + 5 * sectorSize, length: sectorSize, code: "EREMOTEIO" },
        { offset: 5 * MIB - sectorSize, length: 2 * sectorSize, code: "EIO" },
        { offset: size - sectorSize, length: sectorSize, code: "EIO" },
      ]);
    }
  });

  test("a chunk that fails once is not a bad sector", async () => {
    await using device = await simulatedDevice({
      size: 4 * MIB,
      faults: [{ operation: "read", nth: 2, error: "EIO" }],
    });
    expect(await scrub(device)).toEqual([]);
  });

  test("gives up when the disk is pulled out, and when asked to", async () => {
    await using device = await simulatedDevice({
      size: 8 * MIB,
      faults: [{ operation: "read", nth: 5, unplug: true }],
    });
    await expect(scrub(device)).rejects.toMatchObject({ code: "ERR_DEVICE_GONE" });
    await using slow = await simulatedDevice({
      size: 8 * MIB,
      faults: [{ operation: "read", latency: 60_000 }],
    });
    const stopping = new AbortController();
    setTimeout(() => stopping.abort(), 5);
    await expect(scrub(slow, { signal: stopping.signal })).rejects.toMatchObject({
      code: "ABORT_ERR",
    });
  });
});
