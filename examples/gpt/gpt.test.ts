// How to test a tool that must survive a power cut: write on a simulated device, crash it at every
// request with many seeds, plug it in again and look.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { allocBuffer, BlockDevice } from "bun-aio";
import { simulatedDevice, trackLeaks } from "bun-aio/testing";
import {
  EFI_SYSTEM,
  LINUX_DATA,
  type PartitionTable,
  readTable,
  type WriteOptions,
  writeTable,
} from "./gpt.ts";

const SECTORS = 256;
const noSfdisk = Bun.which("sfdisk") === null;

const before: PartitionTable = {
  diskId: "11111111-2222-3333-4444-555555555555",
  partitions: [
    {
      type: LINUX_DATA,
      id: "aaaaaaaa-0000-0000-0000-000000000001",
      name: "root",
      firstSector: 40,
      lastSector: 200,
    },
  ],
};

const after: PartitionTable = {
  diskId: before.diskId,
  partitions: [
    {
      type: EFI_SYSTEM,
      id: "aaaaaaaa-0000-0000-0000-000000000002",
      name: "EFI – Start",
      firstSector: 40,
      lastSector: 99,
    },
    {
      type: LINUX_DATA,
      id: "aaaaaaaa-0000-0000-0000-000000000003",
      name: "root",
      firstSector: 100,
      lastSector: 200,
    },
  ],
};

/** A disk that holds the table `before`. */
async function formatted(): Promise<Uint8Array> {
  await using device = await simulatedDevice({ size: SECTORS * 512 });
  await writeTable(device, before);
  return device.crash();
}

/** What a reader finds when the power was cut at the nth request of writing `after`. */
async function crashedAt(
  image: Uint8Array,
  seed: number,
  nth: number,
  options: WriteOptions,
): Promise<"before" | "after" | "nothing"> {
  await using device = await simulatedDevice({
    image,
    seed,
    faults: [{ operation: "any", nth, crash: true }],
  });
  await writeTable(device, after, options).catch(() => {});
  await device.crash();
  await using survivor = await device.reopen();
  try {
    const { copy: _, ...found } = await readTable(survivor);
    expect([before, after]).toContainEqual(found);
    return Bun.deepEquals(found, after) ? "after" : "before";
  } catch (error) {
    if (error instanceof Error && error.message.startsWith("no partition table")) return "nothing";
    throw error;
  }
}

/** Two writes, a sync, three writes, a sync; and one that comes after all of them. */
const REQUESTS = 7;

async function survivors(seeds: number, options: WriteOptions): Promise<Record<string, number>> {
  const image = await formatted();
  const counts = { before: 0, after: 0, nothing: 0 };
  for (let seed = 0; seed < seeds; seed++) {
    for (let nth = 1; nth <= REQUESTS; nth++) {
      counts[await crashedAt(image, seed, nth, options)]++;
    }
  }
  return counts;
}

describe("a partition table", () => {
  test("is read as it was written", async () => {
    await using _ = trackLeaks();
    for (const sectorSize of [512, 4096]) {
      await using device = await simulatedDevice({ size: SECTORS * sectorSize, sectorSize });
      await writeTable(device, after);
      expect(await readTable(device)).toEqual({ copy: "primary", ...after });
    }
  });

  test("is read from its backup when the primary copy is damaged", async () => {
    await using device = await simulatedDevice({ image: await formatted() });
    await device.writeAt(allocBuffer(512), 2 * 512);
    expect(await readTable(device)).toEqual({ copy: "backup", ...before });
    await device.writeAt(allocBuffer(512), (SECTORS - 1) * 512);
    await expect(readTable(device)).rejects.toThrow("both copies are damaged");
  });

  test("a write error reaches the caller", async () => {
    for (let nth = 1; nth <= 5; nth++) {
      const faults = [{ operation: "write", nth, error: "EIO" } as const];
      await using device = await simulatedDevice({ image: await formatted(), faults });
      await expect(writeTable(device, after)).rejects.toThrow("EIO");
    }
  });

  test.skipIf(noSfdisk)(
    `is what sfdisk understands${noSfdisk ? " [skipped: sfdisk is not installed: apt install fdisk]" : ""}`,
    async () => {
      const directory = mkdtempSync(join(tmpdir(), "gpt-"));
      try {
        const path = join(directory, "image");
        await Bun.write(path, new Uint8Array(SECTORS * 512));
        {
          await using image = await BlockDevice.open(path, { write: true });
          await writeTable(image, after);
        }
        const { stdout } = Bun.spawnSync(["sfdisk", "--json", path]);
        const { partitiontable } = JSON.parse(stdout.toString());
        expect(partitiontable).toMatchObject({ label: "gpt", firstlba: 34 });
        expect(partitiontable.id.toLowerCase()).toBe(after.diskId);
        expect(partitiontable.partitions).toHaveLength(2);
        expect(partitiontable.partitions[0]).toMatchObject({
          start: 40,
          size: 60,
          name: "EFI – Start",
        });
        const verify = Bun.spawnSync(["sfdisk", "--verify", path]);
        expect(`${verify.stdout}${verify.stderr}`).toContain("No errors detected");
      } finally {
        rmSync(directory, { recursive: true });
      }
    },
  );
});

describe("a power cut", () => {
  test("at any request leaves the old table or the new one, whatever the seed", async () => {
    const counts = await survivors(60, {});
    expect(counts["nothing"]).toBe(0);
    expect(counts["before"]).toBeGreaterThan(50);
    expect(counts["after"]).toBeGreaterThan(50);
  }, 60_000);

  test("finds the missing sync of a careless writer", async () => {
    const counts = await survivors(60, { plantMissingSync: true });
    expect(counts["nothing"]).toBeGreaterThan(0);
  }, 60_000);

  test("after the writer is done leaves the new table", async () => {
    const image = await formatted();
    for (let seed = 0; seed < 20; seed++) {
      await using device = await simulatedDevice({ image, seed });
      await writeTable(device, after);
      await device.crash();
      await using survivor = await device.reopen();
      expect(await readTable(survivor)).toEqual({ copy: "primary", ...after });
    }
  });
});
