// What a read pays that begins and ends within sectors: widened, and trimmed.

import { bunAio, bunAioUnaligned } from "../contestants/script.ts";
import { readsPerSecond } from "./metrics.ts";
import type { Row } from "./row.ts";
import { depthLabel } from "./throughput.ts";

const DEPTHS = [1, 32] as const;

export const unalignedReads: Row = {
  name: "unaligned",
  title: "4 KiB + 1 reads anywhere instead of aligned 4 KiB reads, loop device, O_DIRECT",
  target: "loop",
  metric: readsPerSecond,
  job: {
    direct: true,
    pattern: "random",
    blockSize: 4096,
    probe: "delay",
    probeMilliseconds: 5,
  },
  cases: DEPTHS.map((depth) => ({
    label: depthLabel(depth),
    depth,
    contestants: [bunAio, bunAioUnaligned],
  })),
  bars: DEPTHS.map((depth) => ({
    case: depthLabel(depth),
    of: "bun-aio, unaligned",
    against: "bun-aio",
    atLeast: 0.6,
  })),
  charted: false,
};
