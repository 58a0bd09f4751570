// Crashes of simulated devices: what was synced survives, of the rest anything may, and a seed replays.

import { describe, expect, test } from "bun:test";
import { allocBuffer, type Bytes, type IoError } from "../../src/index.ts";
import { type FaultRule, type SimulatedDevice, simulatedDevice } from "../../src/testing/index.ts";

const SECTOR = 512;

function sectors(count: number, value: number): Bytes {
  return allocBuffer(count * SECTOR).fill(value);
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "ok";
  } catch (error) {
    return (error as IoError).code;
  }
}

function sectorsWith(image: Bytes, value: number, from: number, count: number): number {
  let found = 0;
  for (let sector = from; sector < from + count; sector++) {
    const bytes = image.subarray(sector * SECTOR, (sector + 1) * SECTOR);
    expect(bytes.every((byte) => byte === bytes[0])).toBe(true);
    if (bytes[0] === value) found++;
  }
  return found;
}

/** Data, then a header that says the data is there; synced between or not. */
async function writeRecord(device: SimulatedDevice, synced: boolean): Promise<void> {
  await device.writeAt(sectors(4, 7), 8 * SECTOR);
  if (synced) await device.syncAll();
  await device.writeAt(sectors(1, 9), 0);
}

describe("a crash", () => {
  test("over 300 seeds: finds the header without its data, but never across a sync", async () => {
    const seen = { nothing: 0, all: 0, headerAlone: 0, dataAlone: 0, torn: 0 };
    for (let seed = 0; seed < 300; seed++) {
      await using device = await simulatedDevice({ size: 64 * SECTOR, seed });
      await writeRecord(device, false);
      const image = await device.crash();
      const header = image[0] === 9;
      const data = sectorsWith(image, 7, 8, 4);
      if (!header && data === 0) seen.nothing++;
      if (header && data === 4) seen.all++;
      if (header && data < 4) seen.headerAlone++;
      if (!header && data === 4) seen.dataAlone++;
      if (data > 0 && data < 4) seen.torn++;
      await using careful = await simulatedDevice({ size: 64 * SECTOR, seed });
      await writeRecord(careful, true);
      const survived = await careful.crash();
      expect(sectorsWith(survived, 7, 8, 4)).toBe(4);
    }
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(10);
  }, 60_000);

  test("an older version of a sector may survive without the newer, in no order", async () => {
    const first = new Set<number>();
    const pairs = new Set<string>();
    for (let seed = 0; seed < 200; seed++) {
      await using device = await simulatedDevice({ size: 64 * SECTOR, seed });
      await device.writeAt(sectors(1, 1), 0);
      await device.syncAll();
      await device.writeAt(sectors(1, 2), 0);
      await device.writeAt(sectors(1, 5), SECTOR);
      await device.writeAt(sectors(1, 3), 0);
      const image = await device.crash();
      first.add(image[0] as number);
      pairs.add(`${image[0]},${image[SECTOR]}`);
    }
    expect([...first].sort()).toEqual([1, 2, 3]);
    expect(pairs.size).toBe(6);
  });

  test("rejects what is in flight, which may have reached the medium or not", async () => {
    let reached = 0;
    for (let seed = 0; seed < 100; seed++) {
      await using device = await simulatedDevice({ size: 64 * SECTOR, seed });
      const writes = [0, 1, 2, 3].map((at) => codeOf(device.writeAt(sectors(1, 4), at * SECTOR)));
      const read = codeOf(device.readAt(new Uint8Array(10), 0));
      const sync = codeOf(device.syncAll());
      const image = await device.crash();
      for (const code of await Promise.all([...writes, read, sync])) {
        expect(code).toBe("ERR_DEVICE_GONE");
      }
      reached += sectorsWith(image, 4, 0, 4);
    }
    expect(reached).toBeGreaterThan(50);
    expect(reached).toBeLessThan(350);
  });

  test("the same seed and calls are the same run", async () => {
    const run = async (seed: number): Promise<string> => {
      await using device = await simulatedDevice({
        size: 256 * SECTOR,
        seed,
        faults: [
          { operation: "write", probability: 0.1, error: "EIO" },
          { operation: "any", nth: 60, crash: true },
        ],
      });
      let order = "";
      for (let round = 0; round < 6; round++) {
        const calls = Array.from({ length: 16 }, (_, index) => {
          const at = ((index * 37 + round * 11) % 250) * SECTOR;
          return codeOf(device.writeAt(sectors(1 + (index % 5), round + 1), at)).then((code) => {
            order += `${index}${code} `;
          });
        });
        await Promise.all(calls);
      }
      return `${order}${Bun.hash(await device.crash())}`;
    };
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      const first = await run(seed);
      expect(await run(seed)).toBe(first);
      outcomes.add(first);
    }
    expect(outcomes.size).toBe(20);
  });

  test("a rule crashes at the nth operation", async () => {
    for (let nth = 1; nth <= 4; nth++) {
      await using device = await simulatedDevice({
        size: 64 * SECTOR,
        faults: [{ operation: "any", nth, crash: true }],
      });
      const codes: string[] = [];
      codes.push(await codeOf(device.writeAt(sectors(1, 1), 0)));
      codes.push(await codeOf(device.syncAll()));
      codes.push(await codeOf(device.writeAt(sectors(1, 2), SECTOR)));
      codes.push(await codeOf(device.syncAll()));
      codes.forEach((code, index) => {
        expect(code).toBe(index + 1 < nth ? "ok" : "ERR_DEVICE_GONE");
      });
      const image = await device.crash();
      if (nth > 2) expect(image[0]).toBe(1);
    }
  });

  test("zeroes and discards are lost like writes", async () => {
    const kept = new Set<number>();
    for (let seed = 0; seed < 40; seed++) {
      await using device = await simulatedDevice({ image: sectors(64, 6), seed });
      await device.writeZeroes(0, 8 * SECTOR);
      await device.discard(8 * SECTOR, 8 * SECTOR);
      kept.add(sectorsWith(await device.crash(), 0, 0, 16));
    }
    expect(kept.has(0)).toBe(true);
    expect(kept.has(16)).toBe(true);
    expect(kept.size).toBeGreaterThan(4);
  });

  test("a sync covers what was called before it, not what was written while it ran", async () => {
    const later = { kept: 0, lost: 0 };
    for (let seed = 0; seed < 40; seed++) {
      const faults: FaultRule[] = [{ operation: "sync", latency: 3 }];
      await using device = await simulatedDevice({ size: 64 * SECTOR, seed, faults });
      await device.writeAt(sectors(1, 1), 0);
      const sync = device.syncAll();
      await device.writeAt(sectors(1, 2), SECTOR);
      await sync;
      const image = await device.crash();
      expect(image[0]).toBe(1);
      later[image[SECTOR] === 2 ? "kept" : "lost"]++;
    }
    expect(later.kept).toBeGreaterThan(0);
    expect(later.lost).toBeGreaterThan(0);
  });

  test("a failed sync promises nothing", async () => {
    let lost = 0;
    for (let seed = 0; seed < 40; seed++) {
      const faults = [{ operation: "sync", error: "EIO" } as const];
      await using device = await simulatedDevice({ size: 64 * SECTOR, seed, faults });
      await device.writeAt(sectors(1, 1), 0);
      expect(await codeOf(device.syncAll())).toBe("EIO");
      if ((await device.crash())[0] === 0) lost++;
    }
    expect(lost).toBeGreaterThan(5);
    expect(lost).toBeLessThan(35);
  });
});

describe("with dsync", () => {
  /** The image after writes, zeroes and discards that have resolved, and one write that has not. */
  async function survivors(dsync: boolean, seed: number): Promise<Bytes> {
    await using device = await simulatedDevice({ size: 64 * SECTOR, seed, dsync });
    await device.writeAt(sectors(8, 1), 0);
    await device.writevAt([sectors(1, 2), sectors(3, 2)], 2 * SECTOR);
    await device.writeZeroes(4 * SECTOR, SECTOR);
    await device.writeAt(sectors(2, 3), 7 * SECTOR);
    await device.discard(8 * SECTOR, SECTOR);
    device.writeAt(sectors(4, 4), 16 * SECTOR).catch(() => {});
    return device.crash();
  }

  test("what has resolved survives, in order; what is in flight may", async () => {
    const expected = [1, 1, 2, 2, 0, 2, 1, 3, 0, 0];
    const inFlight = new Set<number>();
    let lost = 0;
    for (let seed = 0; seed < 100; seed++) {
      const image = await survivors(true, seed);
      const seen = expected.map((_, sector) => image[sector * SECTOR]);
      expect(seen).toEqual(expected);
      inFlight.add(sectorsWith(image, 4, 16, 4));
      const cached = await survivors(false, seed);
      if (expected.some((value, sector) => cached[sector * SECTOR] !== value)) lost++;
    }
    expect(inFlight.size).toBeGreaterThan(2);
    expect(lost).toBeGreaterThan(50);
  });

  test("a failed write may be lost, and a later one over it is not", async () => {
    for (let seed = 0; seed < 100; seed++) {
      await using device = await simulatedDevice({ size: 64 * SECTOR, seed, dsync: true });
      {
        using _ = device.faults.add({ operation: "write", torn: 4 * SECTOR, error: "EIO" });
        expect(await codeOf(device.writeAt(sectors(8, 1), 0))).toBe("EIO");
      }
      await device.writeAt(sectors(8, 2), 0);
      await device.crash();
      await using again = await device.reopen();
      await again.writeAt(sectors(1, 3), 0);
      const image = await again.crash();
      expect(image[0]).toBe(3);
      expect(sectorsWith(image, 2, 1, 7)).toBe(7);
    }
  });

  test("is a boolean", async () => {
    await expect(simulatedDevice({ dsync: 1 as never })).rejects.toThrow("options.dsync");
  });
});

describe("after a crash", () => {
  test("crash() again is the same image, a copy; reopen goes on from it", async () => {
    await using device = await simulatedDevice({ size: 64 * SECTOR, seed: 3 });
    expect(await codeOf(device.reopen())).toBe("EBUSY");
    await device.writeAt(sectors(4, 1), 0);
    await device.syncAll();
    await device.writeAt(sectors(4, 2), 4 * SECTOR);
    const image = await device.crash();
    const again = await device.crash();
    expect(again).toEqual(image);
    image.fill(0xff);
    await using second = await device.reopen();
    const content = allocBuffer(64 * SECTOR);
    await second.readExactAt(content, 0);
    expect(content).toEqual(again);
    // Not what was done to the copy.
    expect(content[0]).toBe(1);
    await second.writeAt(sectors(1, 8), 0);
    await second.syncAll();
    await second.crash();
    await using third = await second.reopen();
    await third.readExactAt(content, 0);
    expect(content[0]).toBe(8);
    expect(await codeOf(device.readAt(content, 0))).toBe("ERR_DEVICE_GONE");
  });

  test("reopen works after a rule and after close, and has no faults", async () => {
    for (const end of ["crash", "unplug"] as const) {
      const device = await simulatedDevice({
        size: 64 * SECTOR,
        faults: [{ operation: "write", nth: 2, [end]: true }],
      });
      await device.writeAt(sectors(1, 1), 0);
      await device.syncAll();
      expect(await codeOf(device.writeAt(sectors(1, 2), 0))).toBe("ERR_DEVICE_GONE");
      await device.close();
      expect((await device.crash()).byteLength).toBe(64 * SECTOR);
      await using again = await device.reopen();
      const content = sectors(1, 0);
      await again.readExactAt(content, 0);
      expect([1, 2]).toContain(content[0] as number);
      for (let i = 0; i < 4; i++) await again.writeAt(content, 0);
    }
  });
});

describe("what a crash and a reopening cost", () => {
  interface Cost {
    crash: number;
    reopen: number;
    image: number;
  }

  /** Requests to the device, and bytes that have become resident. */
  async function costOf(
    size: number,
    before: (device: SimulatedDevice) => Promise<void>,
  ): Promise<Cost> {
    await using device = await simulatedDevice({ size, seed: 5 });
    await before(device);
    const resident = process.memoryUsage.rss();
    const asked = device.ring.stats().others;
    const image = await device.crash();
    const crash = device.ring.stats().others - asked;
    await using again = await device.reopen();
    const reopen = again.ring.stats().others;
    expect(image.byteLength).toBe(size);
    const content = sectors(1, 0);
    await again.readExactAt(content, size / 2);
    expect(content).toEqual(image.slice(size / 2, size / 2 + SECTOR));
    return { crash, reopen, image: process.memoryUsage.rss() - resident };
  }

  for (const [name, before] of Object.entries({
    "one sector": async (device: SimulatedDevice) => {
      await device.writeAt(sectors(1, 7), device.geometry.size / 2);
      await device.syncAll();
    },
    "one sector between discards of everything": async (device: SimulatedDevice) => {
      for (let round = 0; round < 20; round++) await device.discard(0, device.geometry.size);
      await device.writeAt(sectors(1, 7), device.geometry.size / 2);
      for (let round = 0; round < 20; round++) await device.writeZeroes(0, device.geometry.size);
    },
    nothing: async () => {},
  })) {
    test(`is what was written, whatever the device holds: ${name}`, async () => {
      const small = await costOf(2 ** 20, before);
      for (const size of [16 * 2 ** 20, 2 ** 30, 2 ** 32]) {
        const large = await costOf(size, before);
        expect(large.crash).toBe(small.crash);
        expect(large.reopen).toBe(small.reopen);
        expect(large.image).toBeLessThan(64 * 2 ** 20);
      }
    });
  }
});

describe("contents go from device to device", () => {
  for (const sectorSize of [512, 4096]) {
    for (const strictAlignment of [true, false]) {
      test(`sectors of ${sectorSize}, ${strictAlignment ? "whole ones" : "any bytes"}`, async () => {
        const size = 3 * 2 ** 20;
        const unit = strictAlignment ? sectorSize : 1;
        const random = randomOf(sectorSize + unit);
        const model = new Uint8Array(size);
        // An image with holes, and longer than what goes to the device at once.
        model.fill(3, 100, 2 ** 20 + 5);
        model.fill(4, size - 1);
        let device = await simulatedDevice({ image: model, sectorSize, strictAlignment });
        for (let generation = 0; generation < 4; generation++) {
          for (let round = 0; round < 50; round++) {
            const discards = random(3) === 0;
            const step = discards ? sectorSize : unit;
            const offset = random(size / step) * step;
            const wanted = (1 + random((32 * sectorSize) / step)) * step;
            const length = Math.min(wanted, size - offset);
            const value = discards ? 0 : random(255);
            if (discards) await device.discard(offset, length);
            else await device.writeAt(allocBuffer(length).fill(value), offset);
            model.fill(value, offset, offset + length);
          }
          await device.syncAll();
          expect(Bun.hash(await device.crash())).toBe(Bun.hash(model));
          const next = await device.reopen();
          await device.close();
          device = next;
        }
        const content = allocBuffer(size);
        await device.readExactAt(content, 0);
        expect(Bun.hash(content)).toBe(Bun.hash(model));
        await device.close();
      });
    }
  }
});

/** The same numbers for the same seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
