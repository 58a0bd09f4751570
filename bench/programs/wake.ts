// How soon does the JavaScript thread learn that another thread has something for it? Measures the
// ways that src/ring/wake.ts could use, from the ringing to the callback, one ring at a time.
//
//   bun bench/programs/wake.ts [--rings 2000] [--json FILE]
//
// A worker rings at random intervals of 50 to 500 us and notes when, by CLOCK_MONOTONIC: the clocks of
// JavaScript count from the start of their own thread.

import { dlopen } from "bun:ffi";
import { writeFileSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { build } from "hdr-histogram-js";

interface Job {
  readonly way: Way;
  readonly fd: number;
  readonly rings: number;
  /** [0]: rings seen by the main thread; [1]: rings made. */
  readonly counters: SharedArrayBuffer;
  /** [0]: nanoseconds() right before the last ring. */
  readonly clock: SharedArrayBuffer;
}

const WAYS = [
  "eventfd stream",
  "pipe stream",
  "socket",
  "postMessage",
  "setImmediate spin",
] as const;
type Way = (typeof WAYS)[number];

const libc = dlopen(process.platform === "linux" ? "libc.so.6" : "libc.so.7", {
  eventfd: { args: ["u32", "i32"], returns: "i32" },
  pipe: { args: ["ptr"], returns: "i32" },
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
  socketpair: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
}).symbols;

const CLOCK_MONOTONIC = process.platform === "linux" ? 1 : 4;
const timespec = new BigInt64Array(2);

function nanoseconds(): number {
  libc.clock_gettime(CLOCK_MONOTONIC, timespec);
  return Number(timespec[0]) * 1e9 + Number(timespec[1]);
}

// The worker ------------------------------------------------------------------------------------------

function ring(job: Job): void {
  const counters = new Int32Array(job.counters);
  const clock = new Float64Array(job.clock);
  const one = new Uint8Array(8);
  one[0] = 1;
  for (let made = 1; made <= job.rings; made++) {
    const until = nanoseconds() + 50_000 + Math.random() * 450_000;
    while (nanoseconds() < until);
    clock[0] = nanoseconds();
    Atomics.store(counters, 1, made);
    if (job.way === "postMessage") parentPort?.postMessage(0);
    else if (job.way !== "setImmediate spin") writeSync(job.fd, one);
    // One at a time: the next ring comes when this one was heard.
    while (Atomics.load(counters, 0) < made);
  }
}

// The main thread -------------------------------------------------------------------------------------

const O_NONBLOCK = 0o4000;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { rings: { type: "string", default: "2000" }, json: { type: "string" } },
  });
  const rows: Record<string, { p50: number; p99: number }> = {};
  for (const way of WAYS) {
    const { p50, p99 } = await measure(way, Number(values.rings));
    rows[way] = { p50, p99 };
    console.log(
      `${way.padEnd(20)} p50 ${p50.toFixed(1).padStart(7)} us   p99 ${p99.toFixed(1).padStart(8)} us`,
    );
  }
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(rows, undefined, 2));
  process.exit(0);
}

async function measure(way: Way, rings: number): Promise<{ p50: number; p99: number }> {
  const counters = new SharedArrayBuffer(8);
  const clock = new SharedArrayBuffer(8);
  const heard = new Int32Array(counters);
  const rungAt = new Float64Array(clock);
  const histogram = build({ lowestDiscernibleValue: 1, highestTrackableValue: 1e9 });
  const { promise, resolve } = Promise.withResolvers<void>();
  const onWake = (): void => {
    if (Atomics.load(heard, 0) === Atomics.load(heard, 1)) return;
    histogram.recordValue(Math.max(1, Math.round(nanoseconds() - (rungAt[0] ?? 0))));
    if (Atomics.add(heard, 0, 1) + 1 === rings) resolve();
  };
  const fd = listen(way, onWake);
  const data: Job = { way, fd, rings, counters, clock };
  const worker = new Worker(import.meta.path, { workerData: data });
  worker.on("message", onWake);
  if (way === "setImmediate spin") {
    const spin = (): void => {
      onWake();
      if (Atomics.load(heard, 0) < rings) setImmediate(spin);
    };
    spin();
  }
  await promise;
  await worker.terminate();
  return {
    p50: histogram.getValueAtPercentile(50) / 1000,
    p99: histogram.getValueAtPercentile(99) / 1000,
  };
}

/** Arranges for `onWake` and returns the descriptor to ring. */
function listen(way: Way, onWake: () => void): number {
  const pair = new Int32Array(2);
  switch (way) {
    case "eventfd stream": {
      const fd = libc.eventfd(0, O_NONBLOCK);
      void readAll(fd, onWake);
      return fd;
    }
    case "pipe stream":
      libc.pipe(pair);
      void readAll(pair[0] ?? -1, onWake);
      return pair[1] ?? -1;
    case "socket":
      libc.socketpair(1, 1, 0, pair);
      void Bun.connect({ fd: pair[0] ?? -1, socket: { data: onWake } } as never);
      return pair[1] ?? -1;
    default:
      return -1;
  }
}

async function readAll(fd: number, onWake: () => void): Promise<void> {
  for await (const _chunk of Bun.file(fd).stream()) onWake();
}

if (isMainThread) await main();
else ring(workerData as Job);
