// Does memory stay flat? Resident memory from read 500,000 to read 5,500,000.

import { bunAioLong } from "../contestants/script.ts";
import { rssGrowth } from "./metrics.ts";
import type { Row } from "./row.ts";

export const rssGrowthRow: Row = {
  name: "memory",
  title: "RSS growth from read 500,000 to read 5,500,000",
  target: "file",
  metric: rssGrowth,
  job: {
    direct: false,
    pattern: "random",
    blockSize: 4096,
    probe: "delay",
    probeMilliseconds: 5,
  },
  cases: [{ label: "depth 32", depth: 32, contestants: [bunAioLong] }],
  bars: [{ case: "depth 32", of: "bun-aio", below: 4 }],
  charted: false,
};
