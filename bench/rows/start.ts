// What a program's start takes longer for bun-aio.

import { startImport, startRead } from "../contestants/start.ts";
import { cachedRandom } from "./cached_random.ts";
import { startTime } from "./metrics.ts";
import type { Row } from "./row.ts";

const LABEL = "over an empty script";

export const start: Row = {
  name: "start",
  title: "Start of a program",
  target: "file",
  metric: startTime,
  job: cachedRandom.job,
  cases: [{ label: LABEL, depth: 1, contestants: [startImport, startRead] }],
  bars: [
    { case: LABEL, of: "bun-aio, import", below: 20 },
    { case: LABEL, of: "bun-aio, import and first read", below: 32 },
  ],
  charted: false,
};
