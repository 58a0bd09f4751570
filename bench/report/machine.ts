// The machine that the figures belong to. No host names, no paths: the file is published.

import { readFile, statfs } from "node:fs/promises";
import { cpus, loadavg, release, totalmem } from "node:os";

export interface Machine {
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly kernel: string;
  readonly bun: string;
  readonly fio: string | undefined;
  readonly fileSystem: string;
  /** Load average of the last minute, before the run: above 0.5 something else was at work. */
  readonly loadBefore: number;
}

/** statfs magic numbers, from linux/magic.h. */
const FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0xef53, "ext4"],
  [0x01021994, "tmpfs"],
  [0x58465342, "xfs"],
  [0x9123683e, "btrfs"],
  [0x794c7630, "overlayfs"],
  [0xf2f52010, "f2fs"],
  [0x2fc12fc1, "zfs"],
]);

export async function describeMachine(folder: string): Promise<Machine> {
  const processors = cpus();
  const { type } = await statfs(folder);
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: processors[0]?.model ?? "unknown",
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${process.arch}`,
    kernel: release(),
    bun: Bun.version,
    fio: fioVersion(),
    fileSystem: FILE_SYSTEMS.get(type) ?? `type 0x${type.toString(16)}`,
    loadBefore: loadavg()[0] ?? 0,
  };
}

export function machineLine(machine: Machine): string {
  const fio = machine.fio === undefined ? "without fio" : machine.fio;
  return (
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}, ` +
    `kernel ${machine.kernel}, Bun ${machine.bun}, ${fio}, files on ${machine.fileSystem}, ` +
    machine.date
  );
}

function fioVersion(): string | undefined {
  if (Bun.which("fio") === null) return undefined;
  return Bun.spawnSync(["fio", "--version"]).stdout.toString().trim();
}

/** Ticks of all CPUs since the start of the system, and those that the hypervisor kept. */
export interface CpuTicks {
  readonly all: number;
  readonly stolen: number;
}

/** The first line of /proc/stat: user nice system idle iowait irq softirq steal ... (proc(5)). */
export async function readCpuTicks(): Promise<CpuTicks> {
  if (process.platform !== "linux") return { all: 0, stolen: 0 };
  const [first = ""] = (await readFile("/proc/stat", "utf8")).split("\n");
  // Guest time, the last two, is part of user time already.
  const ticks = first.split(/\s+/).slice(1, 9).map(Number);
  return { all: ticks.reduce((sum, one) => sum + one, 0), stolen: ticks[7] ?? 0 };
}

/** How much of the CPU time between two looks other guests of the same host had, 0 to 1. */
export function stolenShare(before: CpuTicks, after: CpuTicks): number {
  const all = after.all - before.all;
  return all > 0 ? (after.stolen - before.stolen) / all : 0;
}
