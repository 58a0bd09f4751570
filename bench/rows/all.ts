// Every row, in the order of the report.

import { batches } from "./batches.ts";
import { cachedRandom } from "./cached_random.ts";
import {
  copyToFour,
  deviceCopy,
  fileCopy,
  flash,
  longCommand,
  shortCommand,
  sparseCopy,
} from "./copies.ts";
import { eventLoopDelay } from "./event_loop_delay.ts";
import { foreignViews } from "./foreign_views.ts";
import { gatheredWrites } from "./gathered_writes.ts";
import { intervalTicks } from "./interval_ticks.ts";
import { loopRandom } from "./loop_random.ts";
import { readsBesideCopy } from "./reads_beside_copy.ts";
import type { Row } from "./row.ts";
import { rssGrowthRow } from "./rss_growth.ts";
import { deviceScan } from "./scans.ts";
import { sequential } from "./sequential.ts";
import { start } from "./start.ts";
import { cachedStream, uncachedStream } from "./streams.ts";
import { unalignedReads } from "./unaligned_reads.ts";
import { cachedWorkers, loopWorkers } from "./workers.ts";
import { zramRandom } from "./zram_random.ts";

export const allRows: readonly Row[] = [
  cachedRandom,
  loopRandom,
  zramRandom,
  sequential,
  eventLoopDelay,
  intervalTicks,
  foreignViews,
  unalignedReads,
  gatheredWrites,
  fileCopy,
  deviceCopy,
  copyToFour,
  deviceScan,
  sparseCopy,
  flash,
  shortCommand,
  longCommand,
  readsBesideCopy,
  uncachedStream,
  cachedStream,
  batches,
  cachedWorkers,
  loopWorkers,
  start,
  rssGrowthRow,
];
