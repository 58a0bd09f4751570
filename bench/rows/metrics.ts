// The figures that rows are about.

import type { Metric } from "./row.ts";

const MIB = 1024 * 1024;

export const readsPerSecond: Metric = {
  name: "reads/s",
  higherIsBetter: true,
  of: (sample) => sample.operations / sample.seconds,
  format: (value) =>
    value < 100_000 ? `${(value / 1000).toFixed(1)} k` : `${(value / 1000).toFixed(0)} k`,
};

/** For reads of 1 MiB each. */
export const mebibytesPerSecond: Metric = {
  name: "MiB/s",
  higherIsBetter: true,
  of: (sample) => sample.operations / sample.seconds,
  format: (value) => value.toFixed(0),
};

export const loopDelay: Metric = {
  name: "event-loop delay p99",
  higherIsBetter: false,
  of: (sample) => needed(sample.loopDelayP99Ms, "loopDelayP99Ms"),
  format: (value) => `${value.toFixed(2)} ms`,
};

export const startTime: Metric = {
  name: "time",
  higherIsBetter: false,
  of: (sample) => sample.seconds * 1000,
  format: (value) => `${value.toFixed(1)} ms`,
};

export const readP99: Metric = {
  name: "time of a read p99",
  higherIsBetter: false,
  of: (sample) => needed(sample.readP99Ms, "readP99Ms"),
  format: (value) => `${value.toFixed(2)} ms`,
};

export const tickShare: Metric = {
  name: "ticks of the interval",
  higherIsBetter: true,
  of: (sample) => 100 * needed(sample.tickShare, "tickShare"),
  format: (value) => `${value.toFixed(1)} %`,
};

export const rssGrowth: Metric = {
  name: "RSS growth",
  higherIsBetter: false,
  // A heap that shrank has not grown; the raw figure stands in the JSON.
  of: (sample) => Math.max(0, needed(sample.rssGrowthBytes, "rssGrowthBytes") / MIB),
  format: (value) => `${value.toFixed(2)} MiB`,
};

function needed(value: number | undefined, name: string): number {
  if (value === undefined) throw new TypeError(`the sample has no ${name}`);
  return value;
}
