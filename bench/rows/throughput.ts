// What the four rows about throughput share: the same contestants at the same depths, the same bars.

import { bareLoop } from "../contestants/bare_loop.ts";
import type { Contestant } from "../contestants/contestant.ts";
import { fioBatch, fioSingle } from "../contestants/fio.ts";
import { bunAio, bunAioPool, fsPromises, readSync } from "../contestants/script.ts";
import type { Bar, Case } from "./row.ts";

const DEPTHS = [1, 8, 32, 128] as const;

export function throughputCases(): Case[] {
  return DEPTHS.map((depth) => ({
    label: depthLabel(depth),
    depth,
    contestants: contestantsAt(depth),
  }));
}

/** The same with registered buffers. */
export function directCases(): Case[] {
  return throughputCases().map((one) => ({
    ...one,
    contestants: [...one.contestants, bunAioPool],
  }));
}

/** What the random reads of a device have to reach, against fio at its fastest or at its default, and a bare loop. */
export function deviceBars(): Bar[] {
  const fio = ["fio, batch = depth", "fio, batch = 1"];
  return [32, 128].flatMap((depth) => [
    { case: depthLabel(depth), of: "bun-aio", against: "bare loop", atLeast: 0.85 },
    { case: depthLabel(depth), of: "bun-aio", against: fio, atLeast: 1 },
  ]);
}

export function depthLabel(depth: number): string {
  return `depth ${depth}`;
}

function contestantsAt(depth: number): Contestant[] {
  // At depth 1 the two ways of fio are one, and a blocking read cannot go deeper.
  return depth === 1
    ? [bunAio, fsPromises, readSync, bareLoop, fioBatch]
    : [bunAio, fsPromises, bareLoop, fioBatch, fioSingle];
}
