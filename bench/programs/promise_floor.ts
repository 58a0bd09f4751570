// What JavaScript takes for an awaited operation that does nothing: a promise made by the call, resolved
// by the flush of its turn, and awaited by a loop. No library that answers with promises can be cheaper.
//
//   bun bench/programs/promise_floor.ts [--rounds 7]

import { parseArgs } from "node:util";

import { summarize } from "../statistics.ts";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "7" } } });
const ROUNDS = Number(values.rounds);
const OPERATIONS = 2_000_000;
const BYTES = 4096;

type Resolve = (bytes: number) => void;
let captured: Resolve = () => {};
function capture(resolve: Resolve): void {
  captured = resolve;
}

const waiting: Resolve[] = [];
let scheduled = false;

function flush(): void {
  scheduled = false;
  const count = waiting.length;
  for (let index = 0; index < count; index++) waiting[index]?.(BYTES);
  waiting.length = 0;
}

function wait(resolve: Resolve): void {
  waiting.push(resolve);
  if (scheduled) return;
  scheduled = true;
  queueMicrotask(flush);
}

/** One executor for all, as in src/ring/proactor.ts. */
function byExecutor(): Promise<number> {
  const promise = new Promise<number>(capture);
  wait(captured);
  return promise;
}

function byWithResolvers(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  wait(resolve);
  return promise;
}

async function nanoseconds(depth: number, operation: () => Promise<number>): Promise<number> {
  let count = 0;
  const started = performance.now();
  const loop = async (): Promise<void> => {
    while (count < OPERATIONS) {
      count += 1;
      await operation();
    }
  };
  await Promise.all(Array.from({ length: depth }, loop));
  return ((performance.now() - started) * 1e6) / OPERATIONS;
}

const ways = { "new Promise(capture)": byExecutor, "Promise.withResolvers()": byWithResolvers };
for (const depth of [1, 32]) {
  const seen = new Map<string, number[]>();
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [name, way] of Object.entries(ways)) {
      const figure = await nanoseconds(depth, way);
      // The first round is the JIT's.
      if (round > 0) seen.set(name, [...(seen.get(name) ?? []), figure]);
    }
  }
  for (const [name, figures] of seen) {
    const summary = summarize(figures);
    console.log(
      `depth ${depth}, ${name}: ${summary?.median.toFixed(0)} ns ` +
        `(${summary?.least.toFixed(0)} - ${summary?.most.toFixed(0)})`,
    );
  }
}
