// 4 KiB random reads of a file in the page cache: what a read costs apart from any device.

import { readsPerSecond } from "./metrics.ts";
import type { Row } from "./row.ts";
import { depthLabel, throughputCases } from "./throughput.ts";

export const cachedRandom: Row = {
  name: "cached",
  title: "4 KiB random reads, cached file",
  target: "file",
  metric: readsPerSecond,
  job: {
    direct: false,
    pattern: "random",
    blockSize: 4096,
    probe: "delay",
    probeMilliseconds: 5,
  },
  cases: throughputCases(),
  bars: [
    { case: depthLabel(1), of: "bun-aio", against: "bare loop", atLeast: 0.88 },
    { case: depthLabel(1), of: "bun-aio", against: "fs.readSync", atLeast: 0.88 },
    { case: depthLabel(32), of: "bun-aio", against: "bare loop", atLeast: 0.75 },
  ],
  charted: true,
};
