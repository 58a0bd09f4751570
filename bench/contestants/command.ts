// Whole commands, from their start to their end: an image onto a device, unpacked on the way if need be, and synced.

import { join } from "node:path";

import type { Job, Sample } from "../job.ts";
import type { Contestant } from "./contestant.ts";
import { run } from "./process.ts";

const MAIN = join(import.meta.dirname, "..", "..", "src", "cli", "main.ts");

class Command implements Contestant {
  readonly name: string;
  readonly #program: string;
  readonly #command: (job: Job) => string[];

  constructor(name: string, program: string, command: (job: Job) => string[]) {
    this.name = name;
    this.#program = program;
    this.#command = command;
  }

  async prepare(): Promise<string | undefined> {
    return Bun.which(this.#program) === null ? `${this.#program} is not installed` : undefined;
  }

  async measure(job: Job): Promise<Sample> {
    const started = performance.now();
    const command = this.#command(job);
    const { cpuSeconds, rssBytes } = await run(command, { seconds: 120, watchMemory: true });
    return {
      operations: job.span / job.blockSize,
      seconds: (performance.now() - started) / 1000,
      cpuSeconds,
      rssBytes,
      detail: "direct, fsync",
    };
  }
}

export const bunAioFlash: Contestant = new Command("bun-aio copy", process.execPath, (job) => [
  ...[process.execPath, MAIN, "copy", job.path, job.onto, "--yes", "--quiet"],
]);

export const zcatFlash: Contestant = new Command("zcat | dd", "zcat", ({ path, onto }) => [
  ...["sh", "-c", 'zcat "$0" | dd of="$1" bs=1M iflag=fullblock oflag=direct conv=fsync,notrunc'],
  ...[path, onto],
]);
