// A whole device read in search of bad sectors, beside dd, which reads it one block after the other.

import { dd } from "../contestants/command.ts";
import { bunAioScan } from "../contestants/script.ts";
import { mebibytesPerSecond } from "./metrics.ts";
import type { Row } from "./row.ts";

const LABEL = "once over";

export const deviceScan: Row = {
  name: "scan",
  title: "scan: loop device, O_DIRECT",
  target: "large",
  metric: mebibytesPerSecond,
  job: {
    direct: true,
    pattern: "sequential",
    blockSize: 1024 * 1024,
    probe: "delay",
    probeMilliseconds: 5,
  },
  cases: [{ label: LABEL, depth: 8, contestants: [bunAioScan, dd] }],
  bars: [{ case: LABEL, of: "bun-aio", against: "dd", atLeast: 1 }],
  charted: false,
};
