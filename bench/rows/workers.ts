// Two threads, each with a ring of its own, beside one: what a second processor brings.

import { bunAioWorker, bunAioWorkers } from "../contestants/script.ts";
import { cachedRandom } from "./cached_random.ts";
import { loopRandom } from "./loop_random.ts";
import type { Row } from "./row.ts";
import { depthLabel } from "./throughput.ts";

function workers(name: string, of: Row): Row {
  return {
    ...of,
    name,
    title: `${of.title}, on two threads`,
    cases: [{ label: depthLabel(32), depth: 32, contestants: [bunAioWorkers, bunAioWorker] }],
    bars: [
      {
        case: depthLabel(32),
        of: "bun-aio, two workers",
        against: "bun-aio, one worker",
        atLeast: 1.8,
      },
    ],
    charted: false,
  };
}

export const cachedWorkers: Row = workers("workers", cachedRandom);
export const loopWorkers: Row = workers("workers-loop", loopRandom);
