// What a vectored write pays whose buffers begin and end within sectors: gathered in one aligned buffer.

import { bunAioGathered, bunAioWritev } from "../contestants/script.ts";
import { mebibytesPerSecond } from "./metrics.ts";
import type { Row } from "./row.ts";
import { depthLabel } from "./throughput.ts";

const DEPTH = 8;

export const gatheredWrites: Row = {
  name: "gathered",
  title:
    "1 MiB vectored writes, 3584 unaligned pieces instead of 256 aligned ones, loop device, O_DIRECT",
  target: "scratch",
  onto: "scratch",
  metric: mebibytesPerSecond,
  job: {
    direct: true,
    pattern: "sequential",
    blockSize: 1024 * 1024,
    probe: "delay",
    probeMilliseconds: 5,
  },
  cases: [{ label: depthLabel(DEPTH), depth: DEPTH, contestants: [bunAioWritev, bunAioGathered] }],
  bars: [
    {
      case: depthLabel(DEPTH),
      of: "bun-aio, unaligned pieces",
      against: "bun-aio",
      atLeast: 0.8,
    },
  ],
  charted: false,
};
