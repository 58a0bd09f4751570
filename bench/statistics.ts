// Median and range of a handful of figures, by hdr-histogram-js.

import { build } from "hdr-histogram-js";

export interface Summary {
  /** Of an even number of figures the lower middle one. */
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** A histogram holds whole numbers: thousandths keep what a table shows. */
const SCALE = 1000;

export function summarize(values: readonly number[]): Summary | undefined {
  if (values.length === 0) return undefined;
  // 5 digits, the most there are: the error of the binning is below 0.001 %.
  const histogram = build({ numberOfSignificantValueDigits: 5 });
  for (const value of values) histogram.recordValue(Math.round(value * SCALE));
  return {
    median: histogram.getValueAtPercentile(50) / SCALE,
    least: histogram.getValueAtPercentile(0) / SCALE,
    most: histogram.getValueAtPercentile(100) / SCALE,
  };
}
