// What the bounce through native memory costs when a user brings a plain Uint8Array.

import { bunAio, bunAioForeign } from "../contestants/script.ts";
import { readsPerSecond } from "./metrics.ts";
import type { Row } from "./row.ts";
import { depthLabel } from "./throughput.ts";

export const foreignViews: Row = {
  name: "foreign",
  title: "4 KiB cached reads into plain Uint8Arrays instead of allocBuffer",
  target: "file",
  metric: readsPerSecond,
  job: {
    direct: false,
    pattern: "random",
    blockSize: 4096,
    probe: "delay",
    probeMilliseconds: 5,
  },
  cases: [1, 32].map((depth) => ({
    label: depthLabel(depth),
    depth,
    contestants: [bunAio, bunAioForeign],
  })),
  bars: [1, 32].map((depth) => ({
    case: depthLabel(depth),
    of: "bun-aio, foreign views",
    against: "bun-aio",
    atLeast: 0.85,
  })),
  charted: false,
};
