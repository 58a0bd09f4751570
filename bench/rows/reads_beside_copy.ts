// Does a copy keep others waiting? test/promises/fairness.test.ts counts what it may move before a small read; here is how long
// that takes.

import { bunAioAlone, bunAioBeside } from "../contestants/script.ts";
import { readP99 } from "./metrics.ts";
import type { Row } from "./row.ts";

export const readsBesideCopy: Row = {
  name: "beside",
  title: "4 KiB reads of a loop device, one at a time, beside a copy of it at depth 32",
  target: "large",
  onto: "largeScratch",
  metric: readP99,
  job: {
    direct: true,
    pattern: "random",
    blockSize: 4096,
    probe: "delay",
    probeMilliseconds: 5,
  },
  cases: [{ label: "depth 32", depth: 32, contestants: [bunAioBeside, bunAioAlone] }],
  bars: [{ case: "depth 32", of: "bun-aio", below: 10 }],
  charted: false,
};
