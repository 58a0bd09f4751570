// Is a batch of 64 as fast as 64 calls of one turn?

import { bunAioBatch, bunAioTurn } from "../contestants/script.ts";
import { readsPerSecond } from "./metrics.ts";
import type { Row } from "./row.ts";

const LABEL = "64 at a time";

export const batches: Row = {
  name: "batch",
  title: "ring.batch of 64 cached 4 KiB reads",
  target: "file",
  metric: readsPerSecond,
  job: {
    direct: false,
    pattern: "random",
    blockSize: 4096,
    probe: "delay",
    probeMilliseconds: 5,
  },
  cases: [{ label: LABEL, depth: 64, contestants: [bunAioBatch, bunAioTurn] }],
  bars: [{ case: LABEL, of: "bun-aio", against: "bun-aio, 64 calls of one turn", atLeast: 1.25 }],
  charted: false,
};
