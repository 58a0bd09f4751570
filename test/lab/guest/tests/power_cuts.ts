// Power cuts: a disk with a volatile write cache loses, at a random request, what was not flushed. All that a resolved
// call promised to be on the medium must be there afterwards.

import { expect, test } from "bun:test";
import { BlockDevice, type Bytes, copy, File } from "../../../../src/index.ts";
import { pattern } from "../../../support/devices.ts";
import type { DiskName } from "../../disks.ts";
import { diskPath } from "../find_disk.ts";
import { answer, ask } from "../host.ts";
import { record, recordsOf, SECTOR } from "../records.ts";
import { sh } from "../shell.ts";

const firstSeed = Number(process.env["LAB_SEED"]);
const ROUNDS = Number(process.env["LAB_CUTS"] ?? 10);
const disks: readonly DiskName[] = ["volatile-virtio", "volatile-scsi"];
const AREA = 1 << 20;
console.log(`LAB_SEED=${firstSeed}`);

/** Numbers from `from` to `to`, by the seed and a place in the round. */
function choose(seed: number, place: number, from: number, to: number): number {
  const hash = Bun.hash.crc32(`${seed} ${place}`);
  return from + (hash % (to - from + 1));
}

type Cut = (device: BlockDevice, seed: number) => Promise<() => Promise<void>>;

/** One round: `work` runs until the power goes, and gives the check of what must have survived. */
async function round(disk: DiskName, seed: number, requests: number, work: Cut): Promise<void> {
  const path = diskPath(disk);
  let check: () => Promise<void>;
  {
    const device = await BlockDevice.open(path, { write: true });
    await device.writeZeroes(0, AREA);
    await device.syncAll();
    answer(ask("cut-after", disk, { requests }));
    check = await work(device, seed);
    answer(ask("power-up", disk));
    await device.close();
  }
  await check();
}

async function contents(disk: DiskName, length: number): Promise<Uint8Array> {
  await using device = await BlockDevice.open(diskPath(disk));
  await device.invalidateCache();
  return await device.bytes(0, length);
}

type Sync = (device: BlockDevice) => Promise<void>;

/** Appends records, a few at a time, and remembers those that a sync has covered. */
async function append(device: BlockDevice, seed: number, sync: Sync): Promise<number> {
  let at = 0;
  let number = 0;
  let acknowledged = 0;
  for (;;) {
    const writes: Promise<number>[] = [];
    for (let left = choose(seed, number, 1, 4); left > 0; left--) {
      const bytes = record(++number, choose(seed, number, 1, 16));
      if (at + bytes.length > AREA) return acknowledged;
      writes.push(device.writeAt(bytes, at));
      at += bytes.length;
    }
    // Not awaited before the sync, which covers them all the same.
    const done = await Promise.allSettled([...writes, sync(device)]);
    if (done.some(({ status }) => status === "rejected")) return acknowledged;
    acknowledged = number;
  }
}

async function appendRounds(disk: DiskName, sync: Sync, rounds: number): Promise<number> {
  let lost = 0;
  for (let index = 0; index < rounds; index++) {
    const seed = firstSeed + index;
    await round(disk, seed, choose(seed, -1, 1, 60), async (device) => {
      const acknowledged = await append(device, seed, sync);
      return async () => {
        const numbers = recordsOf(await contents(disk, AREA));
        if (numbers.length < acknowledged) lost++;
      };
    });
  }
  return lost;
}

for (const disk of disks) {
  test(`${disk}: records that a sync covered survive ${ROUNDS} power cuts`, async () => {
    expect(await appendRounds(disk, (device) => device.syncAll(), ROUNDS)).toBe(0);
  });

  test(`${disk}: records that syncData covered survive`, async () => {
    expect(await appendRounds(disk, (device) => device.syncData(), ROUNDS)).toBe(0);
  });

  test(`${disk}: without the flush, records are lost`, async () => {
    expect(await appendRounds(disk, async () => {}, ROUNDS)).toBeGreaterThan(0);
  });
}

test("writes of a disk opened with dsync survive once they resolve", async () => {
  for (const disk of disks) {
    for (let index = 0; index < ROUNDS; index++) {
      const seed = firstSeed + index;
      await round(disk, seed, choose(seed, -1, 1, 40), async (plain) => {
        await plain.close();
        await using device = await BlockDevice.open(diskPath(disk), { write: true, dsync: true });
        const acknowledged = await append(device, seed, async () => {});
        return async () => {
          const numbers = recordsOf(await contents(disk, AREA));
          expect([seed, numbers.length >= acknowledged]).toEqual([seed, true]);
        };
      });
    }
  }
});

/** What `write` has resolved about is on the medium after the cut, all of it. */
async function wholeRounds(write: (device: BlockDevice, data: Bytes) => Promise<unknown>) {
  let survived = 0;
  for (let index = 0; index < ROUNDS * 2; index++) {
    const disk = disks[index % 2] as DiskName;
    const seed = firstSeed + index;
    const data = pattern(choose(seed, 0, 1, 512) * SECTOR, seed);
    await round(disk, seed, choose(seed, 1, 1, 24), async (device) => {
      const resolved = await write(device, data).then(
        () => true,
        () => false,
      );
      if (!resolved) return async () => {};
      survived++;
      // Whatever is left of the requests until the cut.
      while (await device.writeAt(new Uint8Array(SECTOR), AREA).catch(() => 0));
      return async () => {
        const found = await contents(disk, data.length);
        expect([seed, Buffer.compare(found, data)]).toEqual([seed, 0]);
      };
    });
  }
  return survived;
}

test("a copy with sync survives once it resolves", async () => {
  const survived = await wholeRounds(async (device, data) => {
    const source = new Response(data).body;
    if (source !== null) await copy(source, device, { sync: true });
  });
  expect(survived).toBeGreaterThan(0);
});

test("a stream with sync survives once it is closed", async () => {
  const survived = await wholeRounds((device, data) =>
    new Blob([data]).stream().pipeTo(device.writable({ sync: true })),
  );
  expect(survived).toBeGreaterThan(0);
});

test("a file of ext4 keeps what a sync covered", async () => {
  const path = diskPath("volatile-virtio");
  for (let index = 0; index < Math.ceil(ROUNDS / 3); index++) {
    const seed = firstSeed + index;
    sh(`mkfs.ext4 -q -F ${path} && mkdir -p /mnt/volatile && mount ${path} /mnt/volatile && sync`);
    answer(ask("cut-after", "volatile-virtio", { requests: choose(seed, -1, 1, 80) }));
    const file = await File.open("/mnt/volatile/log", { write: true, create: true });
    let acknowledged = 0;
    try {
      for (let number = 1, at = 0; number <= 500; number++) {
        const bytes = record(number, choose(seed, number, 1, 8));
        await file.writeAt(bytes, at);
        await file.syncAll();
        acknowledged = number;
        at += bytes.length;
      }
    } catch (error) {
      expect(error).toMatchObject({ code: "EIO" });
    }
    await file.close().catch(() => {});
    sh("umount /mnt/volatile");
    answer(ask("power-up", "volatile-virtio"));
    sh(`mount ${path} /mnt/volatile`);
    const kept = acknowledged === 0 ? [] : recordsOf(await Bun.file("/mnt/volatile/log").bytes());
    sh("umount /mnt/volatile");
    expect([seed, kept.length >= acknowledged]).toEqual([seed, true]);
  }
});
