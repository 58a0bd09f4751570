// 4 KiB random reads of a compressed RAM disk with O_DIRECT: a device that answers at once.

import { readsPerSecond } from "./metrics.ts";
import type { Row } from "./row.ts";
import { deviceBars, directCases } from "./throughput.ts";

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
  cases: directCases(),
  bars: deviceBars(),
  charted: true,
};
