// Does a flood of large cached reads, which io_uring copies on the submitting thread, keep the
// event loop waiting?

import { bunAio, fsPromises, idle } from "../contestants/script.ts";
import { loopDelay } from "./metrics.ts";
import type { Row } from "./row.ts";

export const eventLoopDelay: Row = {
  name: "delay",
  title: "Event-loop delay p99 beside 1 MiB cached reads",
  target: "file",
  metric: loopDelay,
  job: {
    direct: false,
    pattern: "random",
    blockSize: 1024 * 1024,
    probe: "delay",
    probeMilliseconds: 1,
  },
  cases: [{ label: "depth 128", depth: 128, contestants: [bunAio, fsPromises, idle] }],
  bars: [{ case: "depth 128", of: "bun-aio", below: 5 }],
  charted: false,
};
