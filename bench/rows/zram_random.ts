// 4 KiB random reads of a compressed RAM disk with O_DIRECT: a device that answers at once.

import { readsPerSecond } from "./metrics.ts";
import type { Row } from "./row.ts";
import { depthLabel, throughputCases } from "./throughput.ts";

export const zramRandom: Row = {
  name: "zram",
  title: "4 KiB random reads, zram device, O_DIRECT",
  target: "zram",
  metric: readsPerSecond,
  job: {
    direct: true,
    pattern: "random",
    blockSize: 4096,
    probe: "delay",
    probeMilliseconds: 5,
  },
  cases: throughputCases(),
  bars: [
    { case: depthLabel(32), of: "bun-aio", against: "fio, batch = depth", atLeast: 0.9 },
    { case: depthLabel(32), of: "bun-aio", against: "fio, batch = 1", atLeast: 0.9 },
  ],
  charted: true,
};
