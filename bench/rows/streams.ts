// A file that is not in the page cache, as a web stream.

import { bunAioStream, bunStream } from "../contestants/script.ts";
import { mebibytesPerSecond } from "./metrics.ts";
import type { Row } from "./row.ts";

const LABEL = "once over";

export const streams: Row = {
  name: "stream",
  title: "file.readable() over an uncached file",
  target: "file",
  metric: mebibytesPerSecond,
  job: {
    direct: false,
    pattern: "sequential",
    blockSize: 1024 * 1024,
    probe: "delay",
    probeMilliseconds: 1,
  },
  cases: [{ label: LABEL, depth: 8, contestants: [bunAioStream, bunStream] }],
  bars: [{ case: LABEL, of: "bun-aio", against: "Bun.file().stream()", atLeast: 2 }],
  charted: false,
};
