// What the four rows about throughput share: the same contestants at the same depths.

import { bareLoop } from "../contestants/bare_loop.ts";
import type { Contestant } from "../contestants/contestant.ts";
import { fioBatch, fioSingle } from "../contestants/fio.ts";
import { bunAio, fsPromises, readSync } from "../contestants/script.ts";
import type { Case } from "./row.ts";

const DEPTHS = [1, 8, 32, 128] as const;

export function throughputCases(): Case[] {
  return DEPTHS.map((depth) => ({
    label: depthLabel(depth),
    depth,
    contestants: contestantsAt(depth),
  }));
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
