// Contestants that are TypeScript: a child of this very Bun runs the script with the job.

import { join } from "node:path";

import { type Job, parseSample, type Sample } from "../job.ts";
import type { Contestant } from "./contestant.ts";
import { run } from "./process.ts";

interface ScriptOptions {
  readonly name: string;
  /** File name in bench/children. */
  readonly script: string;
  /** What this contestant changes in each job. */
  readonly change?: Partial<Job> | undefined;
  /** For a script that counts reads instead of seconds. */
  readonly seconds?: number | undefined;
}

class ScriptContestant implements Contestant {
  readonly name: string;
  readonly #options: ScriptOptions;

  constructor(options: ScriptOptions) {
    this.name = options.name;
    this.#options = options;
  }

  async prepare(): Promise<undefined> {}

  async measure(job: Job): Promise<Sample> {
    const script = join(import.meta.dirname, "..", "children", this.#options.script);
    const asked: Job = { ...job, ...this.#options.change };
    const seconds = this.#options.seconds ?? job.warmUpSeconds + job.seconds;
    const { stdout } = await run([process.execPath, script, JSON.stringify(asked)], { seconds });
    return parseSample(stdout);
  }
}

export const bunAio: Contestant = new ScriptContestant({ name: "bun-aio", script: "bun_aio.ts" });

export const bunAioForeign: Contestant = new ScriptContestant({
  name: "bun-aio, foreign views",
  script: "bun_aio.ts",
  change: { buffers: "foreign" },
});

/** With buffers of a pool, which io_uring registers. */
export const bunAioPool: Contestant = new ScriptContestant({
  name: "bun-aio, BufferPool",
  script: "bun_aio.ts",
  change: { buffers: "pool" },
});

export const bunAioLong: Contestant = new ScriptContestant({
  name: "bun-aio",
  script: "rss_growth.ts",
  seconds: 60,
});

/** Reads that begin and end within sectors. */
export const bunAioUnaligned: Contestant = new ScriptContestant({
  name: "bun-aio, unaligned",
  script: "bun_aio_unaligned.ts",
});

export const bunAioWritev: Contestant = new ScriptContestant({
  name: "bun-aio",
  script: "bun_aio_writev.ts",
});

/** Vectors whose buffers begin and end within sectors. */
export const bunAioGathered: Contestant = new ScriptContestant({
  name: "bun-aio, unaligned pieces",
  script: "bun_aio_writev.ts",
  change: { buffers: "foreign" },
});

export const bunAioCopy: Contestant = new ScriptContestant({
  name: "bun-aio",
  script: "bun_aio_copy.ts",
  seconds: 60,
});

export const bunAioCopySparse: Contestant = new ScriptContestant({
  name: "bun-aio",
  script: "bun_aio_copy_sparse.ts",
  seconds: 60,
});

export const bunAioCopyToAll: Contestant = new ScriptContestant({
  name: "bun-aio",
  script: "bun_aio_copy_to_all.ts",
  seconds: 60,
});

/** The same targets, one after the other. */
export const bunAioCopies: Contestant = new ScriptContestant({
  name: "bun-aio, four copies",
  script: "bun_aio_copy_to_all.ts",
  change: { buffers: "foreign" },
  seconds: 60,
});

export const bunAioScan: Contestant = new ScriptContestant({
  name: "bun-aio",
  script: "bun_aio_scan.ts",
  seconds: 60,
});

export const bunAioBeside: Contestant = new ScriptContestant({
  name: "bun-aio",
  script: "bun_aio_beside.ts",
});

/** The same reads with nothing beside them. */
export const bunAioAlone: Contestant = new ScriptContestant({
  name: "bun-aio, alone",
  script: "bun_aio_beside.ts",
  change: { buffers: "foreign" },
});

export const bunAioStream: Contestant = new ScriptContestant({
  name: "bun-aio",
  script: "streams.ts",
  change: { buffers: "own" },
  seconds: 60,
});

export const bunStream: Contestant = new ScriptContestant({
  name: "Bun.file().stream()",
  script: "streams.ts",
  change: { buffers: "foreign" },
  seconds: 60,
});

export const bunAioBatch: Contestant = new ScriptContestant({
  name: "bun-aio",
  script: "bun_aio_batch.ts",
});

export const bunAioTurn: Contestant = new ScriptContestant({
  name: "bun-aio, 64 calls of one turn",
  script: "bun_aio_batch.ts",
  change: { buffers: "foreign" },
});

/** A thread for each of two processors. */
export const bunAioWorkers: Contestant = new ScriptContestant({
  name: "bun-aio, two workers",
  script: "bun_aio_workers.ts",
});

export const bunAioWorker: Contestant = new ScriptContestant({
  name: "bun-aio, one worker",
  script: "bun_aio_workers.ts",
  change: { buffers: "foreign" },
});

export const fsPromises: Contestant = new ScriptContestant({
  name: "fs.promises",
  script: "fs_promises.ts",
});

export const readSync: Contestant = new ScriptContestant({
  name: "fs.readSync",
  script: "read_sync.ts",
});

export const idle: Contestant = new ScriptContestant({ name: "idle", script: "idle.ts" });
