// `npm run soak -- --minutes N [--backend B] [--seed S] [--no-faults]`: all features of the library at once, for as
// long as wanted, checked by oracles (scripts/soak/work.ts). By default over the library that injects faults: short
// transfers, refused submissions, reordered completions. Reports the work done, the faults survived, and memory and
// descriptors at begin and end; exits with 1 on a problem.

import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { File, Ring } from "../src/index.ts";
import { imageDevice } from "../src/testing/index.ts";
import { Random } from "../test/support/random.ts";
import { ensureLibrary } from "./build.ts";
import {
  batchWork,
  copyWork,
  count,
  deviceWork,
  noteSurvived,
  regionWork,
  ringWork,
  type Soak,
  workerWork,
} from "./soak/work.ts";

const REGION = 256 * 1024;
/** Without any operation settling for so long, something hangs. */
const STALL_MS = 60_000;
/** What compilation and caches of the JavaScript engine may add after the warm-up. */
const GROWTH_BYTES_MAX = 64 * 2 ** 20;

/** Stale words on the stack may look like references to so many of the last files. */
const KEPT_MAX = 3;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    backend: { type: "string" },
    seed: { type: "string" },
    "no-faults": { type: "boolean", default: false },
  },
});
const minutes = Number(values.minutes);
if (!(minutes > 0)) throw new Error("--minutes must be above 0");
const seed = values.seed === undefined ? (Math.random() * 2 ** 31) >>> 0 : Number(values.seed);
if (values.backend !== undefined) process.env["BUN_AIO_BACKEND"] = values.backend;
if (!values["no-faults"]) {
  // Before the library is loaded, that is before its first use.
  process.env["BUN_AIO_LIBRARY"] = ensureLibrary({ faults: true }, (line) => console.error(line));
  process.env["BUN_AIO_FAULTS"] = `${seed},8192,2048,16384`;
}
process.on("warning", () => {
  // Files that are dropped on purpose.
});

const directory = fs.mkdtempSync(join(tmpdir(), "bun-aio-soak-"));
const backend = Ring.default().backend;
console.log(
  `soak: ${backend}, ${minutes} min, seed ${seed}, ${values["no-faults"] ? "no faults" : "with faults"}`,
);

/** What is open, by name; empty where the system does not say. */
function descriptors(): string[] {
  if (process.platform !== "linux") return [];
  const names: string[] = [];
  for (const fd of fs.readdirSync("/proc/self/fd")) {
    try {
      names.push(fs.readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      // The directory itself, which is closed by now.
    }
  }
  return names;
}
const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);

/** Work that has not come to its end, by name. */
const unfinished = new Map<string, Promise<unknown>>();

async function settleDown(): Promise<void> {
  for (let i = 0; i < 5; i++) {
    Bun.gc(true);
    await Bun.sleep(100);
  }
}

async function main(): Promise<number> {
  const fdsBefore = await opened();
  const rssBefore = process.memoryUsage.rss();
  const soak: Soak = {
    random: new Random(seed),
    directory,
    deadline: performance.now() + minutes * 60_000,
    counts: new Map(),
    dropped: [],
    survived: { operations: 0, resubmitted: 0, continued: 0, fallbacks: 0 },
    problems: [],
  };
  const path = join(directory, "data");
  const file = await File.open(path, { write: true, create: true });
  await file.truncate(16 * REGION);
  const direct = await File.open(path, { write: true, direct: true }).catch(() => undefined);
  const noDevice = imageDevice.unavailable();
  const device = noDevice === undefined ? await imageDevice({ size: 16 * 2 ** 20 }) : undefined;
  if (noDevice !== undefined) console.log(`without a device: ${noDevice}`);
  const start = (name: string, work: Promise<void>): void => {
    const failed = (error: unknown): number => soak.problems.push(`${name}: ${Bun.inspect(error)}`);
    // A failure of one ends the others at their next turn.
    unfinished.set(
      name,
      work.catch(failed).finally(() => unfinished.delete(name)),
    );
  };
  start("file, bytes", regionWork(soak, file, 0, 1, "file"));
  start("file, more bytes", regionWork(soak, file, REGION, 1, "file"));
  start("file, blocks", regionWork(soak, file, 2 * REGION, 4096, "file"));
  start("batch", batchWork(soak, file, 3 * REGION));
  start("copy", copyWork(soak));
  start("rings", ringWork(soak, path));
  start("workers", workerWork(soak, path));
  if (direct !== undefined) start("direct", regionWork(soak, direct, 4 * REGION, 4096, "direct"));
  if (device !== undefined) {
    start("device", regionWork(soak, device, 0, 512, "device"));
    start("zeroes", deviceWork(soak, device, 8 * REGION));
  }
  let rss = process.memoryUsage.rss();
  const warm = setTimeout(
    () => {
      rss = process.memoryUsage.rss();
    },
    Math.min(60_000, minutes * 60_000 * 0.4),
  );
  const stop = watch(soak);
  await Promise.all([...unfinished.values()]);
  stop();
  clearTimeout(warm);
  noteSurvived(soak, Ring.default());
  await Promise.all([file.close(), direct?.close(), device?.close()]);
  await Ring.default().close();
  await settleDown();
  const [rssAfter, fdsAfter] = [process.memoryUsage.rss(), descriptors()];
  // Those that the collector, a conservative one, has not found are still open, rightly.
  const kept = soak.dropped.filter((file) => file.deref() !== undefined).length;
  for (const [what, times] of [...soak.counts].sort())
    console.log(`${String(times).padStart(10)} ${what}`);
  const { operations, resubmitted, continued, fallbacks } = soak.survived;
  console.log(
    `${operations} operations, ${resubmitted + continued + fallbacks} faults survived ` +
      `(${resubmitted} resubmitted, ${continued} continued, ${fallbacks} fallbacks)`,
  );
  console.log(
    `memory ${mebibytes(rssBefore)} MiB at the start, ${mebibytes(rss)} MiB after warm-up, ` +
      `${mebibytes(rssAfter)} MiB at the end`,
  );
  console.log(
    `descriptors ${fdsBefore.length} at the start, ${fdsAfter.length} at the end; ` +
      `of ${soak.dropped.length} files dropped unclosed ${kept} are not collected yet`,
  );
  if (fdsAfter.length > fdsBefore.length + kept || kept > KEPT_MAX) {
    soak.problems.push(
      `descriptors left: ${fdsBefore.join(" ")} have become ${fdsAfter.join(" ")}`,
    );
  }
  if (rssAfter - rss > GROWTH_BYTES_MAX) soak.problems.push("memory has grown");
  for (const text of soak.problems) console.log(`PROBLEM ${text}`);
  console.log(soak.problems.length === 0 ? "soak: no problem" : `soak: replay with --seed ${seed}`);
  return soak.problems.length === 0 ? 0 : 1;
}

/** Descriptors once everything that stays open is open: the event loop's, a worker's, the loop driver's. */
async function opened(): Promise<string[]> {
  await (await File.open(import.meta.path)).close();
  await Ring.default().close();
  const worker = new Worker(URL.createObjectURL(new Blob(["postMessage(1)"])));
  await new Promise((resolve) => worker.addEventListener("message", resolve));
  worker.terminate();
  // These make duplicates of their own at first use.
  process.stdout.write("");
  process.stderr.write("");
  await settleDown();
  return descriptors();
}

/** Ends the process when nothing moves any more. */
function watch(soak: Soak): () => void {
  let last = -1;
  const timer = setInterval(() => {
    const now = [...soak.counts.values()].reduce((sum, one) => sum + one, 0);
    if (now === last) {
      console.log(
        `PROBLEM nothing has settled for ${STALL_MS / 1000} s; replay with --seed ${seed}`,
      );
      console.log(`unfinished: ${[...unfinished.keys()].join(", ")}`);
      const { inFlight, completions } = Ring.default().stats();
      console.log(`${inFlight} operations in flight after ${completions}`);
      process.exit(3);
    }
    last = now;
  }, STALL_MS);
  count(soak, "aborted", 0);
  return () => clearInterval(timer);
}

try {
  process.exitCode = await main();
} finally {
  fs.rmSync(directory, { recursive: true, force: true });
}
