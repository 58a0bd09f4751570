// The contestants "fio": the flexible I/O tester over io_uring, where it is installed.

import type { Job, Sample } from "../job.ts";
import { arrayAt, isRecord, type JsonRecord, numberAt, recordAt } from "../json_fields.ts";
import type { Contestant } from "./contestant.ts";
import { run } from "./process.ts";

/**
 * `batch`: waits for all reads of a batch, then submits `depth` new ones. Fastest on cached files.
 * `single`: fio's own default, one submission and one completion at a time. Fastest on devices.
 * `write`: as `batch`, writing the row's second target from its begin, synced at the end.
 */
type Way = "batch" | "single" | "write";

const START_UP_RUNS = 5;

class Fio implements Contestant {
  readonly name: string;
  readonly #way: Way;

  constructor(name: string, way: Way) {
    this.name = name;
    this.#way = way;
  }

  async prepare(): Promise<string | undefined> {
    return Bun.which("fio") === null
      ? "fio is not installed (Debian: apt-get install fio)"
      : undefined;
  }

  async measure(job: Job): Promise<Sample> {
    const limits = ["--time_based=1", `--runtime=${Math.round(job.seconds * 1000)}ms`];
    const finished = await run([...this.#command(job), ...limits], {
      seconds: job.seconds,
      watchMemory: true,
    });
    const read = readFigures(finished.stdout, this.#way === "write" ? "write" : "read");
    return {
      operations: numberAt(read, "total_ios"),
      seconds: numberAt(read, "runtime") / 1000,
      cpuSeconds: Math.max(0, finished.cpuSeconds - (await startUpCpu(this.#command(job)))),
      rssBytes: finished.rssBytes,
      detail: this.#way === "single" ? "batch = 1" : "batch = depth",
    };
  }

  #command(job: Job): string[] {
    const command = [
      "fio",
      "--name=bench",
      ...this.#what(job),
      `--bs=${job.blockSize}`,
      `--size=${job.span}`,
      `--direct=${job.direct ? 1 : 0}`,
      "--ioengine=io_uring",
      `--iodepth=${job.depth}`,
      "--norandommap=1",
      `--randseed=${job.seed}`,
      // Without this fio drops the page cache of the file first.
      "--invalidate=0",
      // One process: else its memory and its CPU time are spread over two.
      "--thread=1",
      "--output-format=json",
    ];
    if (this.#way !== "single") {
      command.push(
        `--iodepth_batch_submit=${job.depth}`,
        `--iodepth_batch_complete_min=${job.depth}`,
      );
    }
    return command;
  }

  #what(job: Job): string[] {
    if (this.#way === "write") return [`--filename=${job.onto}`, "--rw=write", "--end_fsync=1"];
    const rw = job.pattern === "random" ? "randread" : "read";
    return [`--filename=${job.path}`, "--readonly", `--rw=${rw}`];
  }
}

let knownStartUpCpu: number | undefined;

/**
 * CPU time of a fio that reads one block. fio's own usr_cpu and sys_cpu leave out the kernel's
 * io-wq threads, which do most of the work on a device without NOWAIT (a third of the true figure
 * on zram); the figure of the whole process has them, and this start-up to be taken off.
 */
async function startUpCpu(command: readonly string[]): Promise<number> {
  if (knownStartUpCpu === undefined) {
    const seen: number[] = [];
    for (let turn = 0; turn < START_UP_RUNS; turn += 1) {
      seen.push((await run([...command, "--number_ios=1"], { seconds: 1 })).cpuSeconds);
    }
    // The least disturbed one.
    knownStartUpCpu = Math.min(...seen);
  }
  return knownStartUpCpu;
}

function readFigures(stdout: string, direction: "read" | "write"): JsonRecord {
  // Notes such as "fio: ..." may stand before the document.
  const report: unknown = JSON.parse(stdout.slice(stdout.indexOf("{")));
  if (!isRecord(report)) throw new TypeError("fio's report is not an object");
  const job = arrayAt(report, "jobs")[0];
  if (!isRecord(job)) throw new TypeError("fio's report has no job");
  const errno = numberAt(job, "error");
  if (errno !== 0) throw new Error(`fio failed with errno ${errno}`);
  return recordAt(job, direction);
}

export const fioBatch: Contestant = new Fio("fio, batch = depth", "batch");
/** Writes the second target of a row, at its fastest. */
export const fioWrite: Contestant = new Fio("fio, writing", "write");
export const fioSingle: Contestant = new Fio("fio, batch = 1", "single");
