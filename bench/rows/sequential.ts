// 1 MiB sequential reads of a loop device with O_DIRECT: what an imager or a verifier does.

import { mebibytesPerSecond } from "./metrics.ts";
import type { Row } from "./row.ts";
import { depthLabel, directCases } from "./throughput.ts";

export const sequential: Row = {
  name: "sequential",
  title: "1 MiB sequential reads, loop device, O_DIRECT",
  target: "loop",
  metric: mebibytesPerSecond,
  job: {
    direct: true,
    pattern: "sequential",
    blockSize: 1024 * 1024,
    probe: "delay",
    probeMilliseconds: 5,
  },
  cases: directCases(),
  bars: [
    {
      case: depthLabel(8),
      of: "bun-aio",
      against: ["fs.promises", "fio, batch = depth", "fio, batch = 1", "bare loop"],
      atLeast: 1.05,
    },
  ],
  charted: true,
};
