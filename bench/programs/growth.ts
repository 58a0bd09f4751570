// How costs grow with the amount: unaligned writes that are in flight at once, the power cut of a simulated device with
// unsynced writes, and listing of loop devices. What grows faster than the work has a longer time each in a lower line.
//
//   bun bench/programs/growth.ts         the table of docs/performance.md; devices need root on Linux

import { dlopen } from "bun:ffi";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { listBlockDevices } from "../../src/index.ts";
import { type SimulatedDevice, simulatedDevice } from "../../src/testing/index.ts";
import { command } from "../targets/command.ts";

const AMOUNTS: readonly number[] = [10, 100, 1000, 10_000];
const DEVICES: readonly number[] = [10, 50, 100, 200];
const ROUNDS = 15;
/** Of 1,000, before the first line: the JIT has compiled everything after that. */
const WARM_UP_ROUNDS = 100;
const SECTOR = 512;
const MIB = 2 ** 20;

// Measuring -----------------------------------------------------------------------------------------------

type Measure = (amount: number) => Promise<number>;

function unaligned(size: number): Promise<SimulatedDevice> {
  return simulatedDevice({ size, sectorSize: SECTOR, unalignedWrites: "rmw" });
}

/** Milliseconds for `amount` writes of 100 bytes at once, `stride` bytes apart. */
async function writes(amount: number, stride: number): Promise<number> {
  await using disk = await unaligned((amount + 1) * SECTOR);
  const data = new Uint8Array(100).fill(1);
  const began = performance.now();
  const writing = (_: unknown, index: number): Promise<number> =>
    disk.writeAt(data, index * stride + 1);
  await Promise.all(Array.from({ length: amount }, writing));
  return performance.now() - began;
}

/** Milliseconds for a power cut after `amount` writes of a sector each, none of them synced, in random order. */
async function crash(amount: number): Promise<number> {
  await using disk = await simulatedDevice({ size: amount * SECTOR, sectorSize: SECTOR });
  const data = new Uint8Array(SECTOR).fill(1);
  // Coprime to every amount: each sector once.
  const writing = (_: unknown, index: number): Promise<number> =>
    disk.writeAt(data, ((index * 7919) % amount) * SECTOR);
  await Promise.all(Array.from({ length: amount }, writing));
  const began = performance.now();
  await disk.crash();
  return performance.now() - began;
}

async function list(): Promise<number> {
  const began = performance.now();
  await listBlockDevices();
  return performance.now() - began;
}

// The table -----------------------------------------------------------------------------------------------

async function median(measure: Measure, amount: number): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) times.push(await measure(amount));
  return times.sort((a, b) => a - b)[times.length >> 1] ?? Number.NaN;
}

async function row(name: string, measure: Measure, amounts: readonly number[]): Promise<void> {
  for (let round = 0; round < WARM_UP_ROUNDS; round++) await measure(1000);
  const cells: string[] = [];
  for (const amount of amounts) {
    const ms = await median(measure, amount);
    cells.push(`${ms.toFixed(ms < 10 ? 2 : 0)} ms (${((ms / amount) * 1000).toFixed(1)} us each)`);
  }
  console.log(`| ${name} | ${cells.join(" | ")} |`);
}

function head(amounts: readonly number[]): void {
  console.log(`| | ${amounts.map((amount) => amount.toLocaleString("en")).join(" | ")} |`);
  console.log(`| --- |${" ---: |".repeat(amounts.length)}`);
}

// Loop devices --------------------------------------------------------------------------------------------

/** linux/loop.h */
const LOOP_CTL_ADD = 0x4c80;
const LOOP_CTL_REMOVE = 0x4c81;

/** Loop devices of our own, in addition to those that there are. */
class LoopDevices implements AsyncDisposable {
  readonly #control: number = openSync("/dev/loop-control", "r+");
  readonly #libc = dlopen("libc.so.6", { ioctl: { args: ["i32", "u64", "i64"], returns: "i32" } });
  readonly #folder: string;
  readonly #numbers: number[] = [];

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async make(): Promise<LoopDevices> {
    return new LoopDevices(await mkdtemp(join(tmpdir(), "bun-aio-bench-")));
  }

  async growTo(count: number): Promise<void> {
    while (this.#numbers.length < count) {
      const number = this.#libc.symbols.ioctl(this.#control, LOOP_CTL_ADD, -1);
      if (number < 0) throw new Error(`no more than ${this.#numbers.length} loop devices`);
      this.#numbers.push(number);
      const image = join(this.#folder, String(number));
      await writeFile(image, "");
      await truncate(image, MIB);
      await command("losetup", `/dev/loop${number}`, image);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const number of this.#numbers) {
      await command("losetup", "--detach", `/dev/loop${number}`).catch(() => {});
      this.#libc.symbols.ioctl(this.#control, LOOP_CTL_REMOVE, number);
    }
    closeSync(this.#control);
    this.#libc.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

async function listed(): Promise<void> {
  await using devices = await LoopDevices.make();
  head(DEVICES);
  const measure = async (amount: number): Promise<number> => {
    await devices.growTo(amount);
    return list();
  };
  await median(list, 0);
  const cells: string[] = [];
  const others = (await listBlockDevices()).length;
  for (const amount of DEVICES) {
    await measure(amount);
    const ms = await median(measure, amount);
    cells.push(`${ms.toFixed(1)} ms (${(ms / (amount + others)).toFixed(2)} ms each)`);
  }
  console.log(`| listBlockDevices, with ${others} others | ${cells.join(" | ")} |`);
}

head(AMOUNTS);
await row("unaligned writes at once, each of its own sector", (n) => writes(n, SECTOR), AMOUNTS);
await row("unaligned writes at once, all of one sector", (n) => writes(n, 0), AMOUNTS);
await row("crash() after as many unsynced writes", crash, AMOUNTS);
console.log("");
if (process.platform === "linux" && process.getuid?.() === 0) await listed();
else console.log("listBlockDevices: skipped, loop devices need root on Linux");
