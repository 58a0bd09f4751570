// What the lock of unaligned writes costs with many of them: as many small ranges before a long one that waits as
// after it, and the long one gives up. Nodes visited depend on nothing but the code; times on the machine, too.
//
//   bun bench/programs/range_lock.ts         the table of docs/performance.md

import { type Lease, RangeLock } from "../../src/locks/range_lock.ts";

const COUNTS: readonly number[] = [10, 100, 1000, 10_000];
const ROUNDS = 9;

interface Costs {
  readonly nodes: number;
  readonly us: number;
}

/** Of the long one that gives up, and of each of the others from coming to going. */
function measure(count: number): { readonly giving: Costs; readonly each: Costs } {
  const lock = new RangeLock();
  const small = (_: unknown, index: number): Lease =>
    lock.acquire({ start: index * 4096 + 512, end: index * 4096 + 1024, exclusive: true });
  const began = Bun.nanoseconds();
  const before = Array.from({ length: count }, small);
  const long = lock.acquire({ start: 0, end: count * 4096, exclusive: true });
  const after = Array.from({ length: count }, small);
  const nodes = lock.steps;
  const gives = Bun.nanoseconds();
  lock.release(long);
  const given = Bun.nanoseconds();
  const giving = { nodes: lock.steps - nodes, us: (given - gives) / 1000 };
  for (const lease of [...before, ...after]) lock.release(lease);
  const us = (Bun.nanoseconds() - began) / 1000 - giving.us;
  const others = { nodes: (lock.steps - giving.nodes) / (2 * count), us: us / (2 * count) };
  return { giving, each: others };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

for (let round = 0; round < ROUNDS; round++) measure(1000);
console.log("| on either side | the long one gives up | each of the others |");
console.log("| -: | -: | -: |");
for (const count of COUNTS) {
  const rounds = Array.from({ length: ROUNDS }, () => measure(count));
  const cell = (of: (costs: (typeof rounds)[number]) => Costs): string => {
    const us = median(rounds.map((costs) => of(costs).us));
    return `${(of(rounds[0] as (typeof rounds)[number]).nodes).toFixed(0)} nodes, ${us.toFixed(1)} us`;
  };
  console.log(
    `| ${count.toLocaleString("en")} | ${cell((costs) => costs.giving)} | ${cell((costs) => costs.each)} |`,
  );
}
