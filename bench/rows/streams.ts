// A file as a web stream: from the disk, and from the page cache.

import { bunAioStream, bunStream } from "../contestants/script.ts";
import { mebibytesPerSecond } from "./metrics.ts";
import type { Row } from "./row.ts";

const LABEL = "once over";

function streams(name: string, what: string, cold: boolean): Row {
  return {
    name,
    title: `file.readable() over ${what}`,
    target: "file",
    metric: mebibytesPerSecond,
    job: {
      direct: false,
      cold,
      pattern: "sequential",
      blockSize: 1024 * 1024,
      probe: "delay",
      probeMilliseconds: 1,
    },
    cases: [{ label: LABEL, depth: 8, contestants: [bunAioStream, bunStream] }],
    bars: [{ case: LABEL, of: "bun-aio", against: "Bun.file().stream()", atLeast: 1 }],
    charted: false,
  };
}

export const uncachedStream: Row = streams("stream", "an uncached file", true);
export const cachedStream: Row = streams("stream-cached", "a cached file", false);
