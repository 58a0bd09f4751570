// 4 KiB random reads of a loop device with O_DIRECT.

import { readsPerSecond } from "./metrics.ts";
import type { Row } from "./row.ts";
import { depthLabel, deviceBars, directCases } from "./throughput.ts";

export const loopRandom: Row = {
  name: "loop",
  title: "4 KiB random reads, loop device, O_DIRECT",
  target: "loop",
  metric: readsPerSecond,
  job: {
    direct: true,
    pattern: "random",
    blockSize: 4096,
    probe: "delay",
    probeMilliseconds: 5,
  },
  cases: directCases(),
  bars: [{ case: depthLabel(1), of: "bun-aio", against: "bare loop", atLeast: 1 }, ...deviceBars()],
  charted: true,
};
