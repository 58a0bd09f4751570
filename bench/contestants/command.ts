// Whole commands, from their start to their end, which write what they read: `bun-aio copy`, and what people use in its
// place.

import { join } from "node:path";

import type { Job, Sample } from "../job.ts";
import { noFileYet } from "../targets/new_file.ts";
import type { Contestant } from "./contestant.ts";
import { run } from "./process.ts";

const MAIN = join(import.meta.dirname, "..", "..", "dist", "cli", "main.js");
const SYNCED = "direct, fsync";

interface CommandOptions {
  readonly name: string;
  /** Without it the contestant cannot run. */
  readonly program: string;
  readonly words: (job: Job) => readonly string[];
  /** Why it cannot be measured on this system, whatever is installed. */
  readonly unsuited?: string | undefined;
  /** How it writes, for the table. */
  readonly detail: (job: Job) => string;
  /** Called before the clock starts. */
  readonly before?: ((job: Job) => Promise<void>) | undefined;
}

class Command implements Contestant {
  readonly name: string;
  readonly #options: CommandOptions;

  constructor(options: CommandOptions) {
    this.name = options.name;
    this.#options = options;
  }

  async prepare(): Promise<string | undefined> {
    const { program, unsuited } = this.#options;
    if (unsuited !== undefined) return unsuited;
    return Bun.which(program) === null ? `${program} is not installed` : undefined;
  }

  async measure(job: Job): Promise<Sample> {
    const { words, detail, before } = this.#options;
    await before?.(job);
    const started = performance.now();
    const limits = { seconds: 120, watchMemory: true };
    const { cpuSeconds, rssBytes } = await run([...words(job)], limits);
    const seconds = (performance.now() - started) / 1000;
    const operations = job.span / job.blockSize;
    return { operations, seconds, cpuSeconds, rssBytes, detail: detail(job) };
  }
}

export const bunAioCommand: Contestant = new Command({
  name: "bun-aio copy",
  program: process.execPath,
  words: (job) => [process.execPath, MAIN, "copy", job.path, job.onto, "--yes", "--quiet"],
  detail: () => SYNCED,
});

export const zcat: Contestant = new Command({
  name: "zcat | dd",
  program: "zcat",
  words: ({ path, onto }) => [
    ...["sh", "-c", 'zcat "$0" | dd of="$1" bs=1M iflag=fullblock oflag=direct conv=fsync,notrunc'],
    ...[path, onto],
  ],
  detail: () => SYNCED,
});

/** One block after the other past the page cache. In the rows that write nothing it only reads. */
export const dd: Contestant = new Command({
  name: "dd",
  program: "dd",
  words: ({ path, onto, blockSize }) => [
    ...["dd", `if=${path}`, `of=${onto === "" ? "/dev/null" : onto}`, `bs=${blockSize}`],
    ...["iflag=direct", ...(onto === "" ? [] : ["oflag=direct", "conv=fsync,notrunc"])],
    "status=none",
  ],
  detail: ({ onto }) => (onto === "" ? "direct" : SYNCED),
});

/** What SEEK_DATA and SEEK_HOLE make possible. */
export const cp: Contestant = new Command({
  name: "cp --sparse=always",
  program: "cp",
  unsuited: process.platform === "linux" ? undefined : "cp has no --sparse here",
  words: ({ path, onto }) => ["cp", "--sparse=always", "--reflink=never", path, onto],
  detail: () => "buffered, not synced",
  before: noFileYet,
});
