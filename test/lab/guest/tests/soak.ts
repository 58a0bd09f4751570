// For LAB_MINUTES (default a quarter): reads, writes and syncs of an NVMe disk that is unplugged in the middle of them
// and plugged in again, over and over. Every sector is known: what a resolved write put there, or, of a write that
// was in flight, what it put there or what was there before.

import { expect, test } from "bun:test";
import { readdirSync, readlinkSync } from "node:fs";
import { allocBuffer, BlockDevice } from "../../../../src/index.ts";
import { Random } from "../../../support/random.ts";
import { diskPath, findDisk } from "../find_disk.ts";
import { answer, ask, until } from "../host.ts";

const DISK = "nvme-4096";
const SECTOR = 4096;
const SECTORS = 4096;
const CHAINS = 32;
const minutes = Number(process.env["LAB_MINUTES"] ?? 0.25);
const seed = Number(process.env["LAB_SEED"]);
/** What compilation and caches of the JavaScript engine may add after the warm-up. */
const GROWTH_BYTES_MAX = 64 * 2 ** 20;

/** What a sector holds: its version, and that of a write whose outcome nobody knows. */
class Oracle {
  readonly #version = new Uint32Array(SECTORS);
  readonly #maybe = new Map<number, number>();
  readonly #busy = new Set<number>();
  #last = 0;

  /** A sector that no other chain works on. */
  take(random: Random): number {
    for (;;) {
      const sector = random.below(SECTORS);
      if (this.#busy.has(sector)) continue;
      this.#busy.add(sector);
      return sector;
    }
  }

  release(sector: number): void {
    this.#busy.delete(sector);
  }

  /** Writes a new version; false if the disk is gone. */
  async write(device: BlockDevice, sector: number): Promise<boolean> {
    const version = ++this.#last;
    const words = new Uint32Array(allocBuffer(SECTOR).buffer, 0, SECTOR / 4).fill(version);
    words[0] = sector;
    const isWritten = await survives(device.writeAt(words, sector * SECTOR));
    if (isWritten) {
      this.#version[sector] = version;
      this.#maybe.delete(sector);
    } else {
      this.#maybe.set(sector, version);
    }
    return isWritten;
  }

  /** Reads it all, or a part from anywhere in it. */
  async check(device: BlockDevice, sector: number, from: number): Promise<boolean> {
    const bytes = new Uint8Array(SECTOR - from);
    if (!(await survives(device.readExactAt(bytes, sector * SECTOR + from)))) return false;
    const found = new DataView(bytes.buffer).getUint32(bytes.length - 4, true);
    const maybe = this.#maybe.get(sector);
    if (maybe !== undefined && found === maybe) this.#version[sector] = maybe;
    this.#maybe.delete(sector);
    expect([sector, found]).toEqual([sector, this.#version[sector] ?? 0]);
    return true;
  }
}

/** Whether a call resolves; it may fail because the disk is gone, and for no other reason. */
async function survives(call: Promise<unknown>): Promise<boolean> {
  const error = await call.then(
    () => undefined,
    (reason: { code: string }) => reason,
  );
  if (error !== undefined && error.code !== "ERR_DEVICE_GONE") throw error;
  return error === undefined;
}

/** Works until the disk goes. */
async function chain(device: BlockDevice, oracle: Oracle, random: Random): Promise<number> {
  for (let operations = 0; ; operations++) {
    const sector = oracle.take(random);
    const kind = random.below(10);
    let goesOn: boolean;
    if (kind < 4) goesOn = await oracle.write(device, sector);
    else if (kind < 9) goesOn = await oracle.check(device, sector, random.below(4) * 1021);
    else goesOn = await survives(device.syncData());
    oracle.release(sector);
    if (!goesOn) return operations;
  }
}

/** What the open descriptors are of, but for eventfds, of which Bun has more at times, and the list itself. */
function descriptors(): string[] {
  return readdirSync("/proc/self/fd")
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).replace(/:\[\d+\]$/, "");
      } catch {
        return "";
      }
    })
    .filter((name) => name !== "" && name !== "anon_inode:[eventfd]")
    .sort();
}

async function zero(): Promise<void> {
  await using device = await BlockDevice.open(diskPath(DISK), { write: true });
  await device.writeZeroes(0, SECTORS * SECTOR);
  await device.syncAll();
}

test(
  `${DISK} is unplugged and plugged in again for ${minutes} minutes`,
  async () => {
    console.log(`LAB_SEED=${seed}`);
    const random = new Random(seed);
    const oracle = new Oracle();
    await zero();
    const end = performance.now() + minutes * 60_000;
    // The first question opens the way to the host.
    answer(ask("throttle", DISK, { operations: 0 }));
    const before = descriptors();
    let rounds = 0;
    let operations = 0;
    let warm = 0;
    while (performance.now() < end) {
      const device = await BlockDevice.open(diskPath(DISK), { write: true });
      const chains = Array.from({ length: CHAINS }, () => chain(device, oracle, random));
      await Bun.sleep(200 + random.below(2000));
      answer(ask("throttle", DISK, { operations: 200 }));
      const removal = ask("unplug", DISK);
      for (const done of await Promise.all(chains)) operations += done;
      answer(removal);
      await device.close().catch(() => {});
      answer(ask("throttle", DISK, { operations: 0 }));
      await until(() => findDisk(DISK) === undefined);
      answer(ask("plug", DISK));
      await until(() => findDisk(DISK) !== undefined);
      rounds++;
      Bun.gc(true);
      if (warm === 0 && performance.now() > end - minutes * 45_000)
        warm = process.memoryUsage.rss();
    }
    await using device = await BlockDevice.open(diskPath(DISK), { write: true });
    for (let sector = 0; sector < SECTORS; sector++) await oracle.check(device, sector, 0);
    const growth = process.memoryUsage.rss() - warm;
    console.log(`${rounds} rounds, ${operations} operations, ${growth} bytes of growth`);
    expect(rounds).toBeGreaterThan(0);
    expect(growth).toBeLessThan(GROWTH_BYTES_MAX);
    expect(descriptors().filter((name) => name !== device.path)).toEqual(before);
  },
  minutes * 60_000 + 120_000,
);
