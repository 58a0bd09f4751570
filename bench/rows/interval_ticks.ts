// Does a loop of awaited cached reads, each of which may settle without a turn of the event loop,
// starve the timers?

import { bunAio, fsPromises, idle } from "../contestants/script.ts";
import { tickShare } from "./metrics.ts";
import type { Row } from "./row.ts";

export const intervalTicks: Row = {
  name: "ticks",
  title: "A 5 ms interval beside one loop of awaited cached reads",
  target: "file",
  metric: tickShare,
  job: {
    direct: false,
    pattern: "random",
    blockSize: 4096,
    probe: "ticks",
    probeMilliseconds: 5,
  },
  cases: [{ label: "depth 1", depth: 1, contestants: [bunAio, fsPromises, idle] }],
  bars: [
    { case: "depth 1", of: "bun-aio", atLeast: 95 },
    // Of the rate that the same interval has here when nothing is read: what a virtual machine
    // whose CPU time is stolen can do at all.
    { case: "depth 1", of: "bun-aio", against: "idle", atLeast: 0.95 },
  ],
  charted: false,
  // 200 ticks: one of them is half a per cent.
  secondsAtLeast: 1,
};
