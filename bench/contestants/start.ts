// How much longer a script takes that imports bun-aio, or also reads with it, than an empty one: pairs, one after the
// other, and the median of their differences.

import { join } from "node:path";

import type { Job, Sample } from "../job.ts";
import { summarize } from "../statistics.ts";
import type { Contestant } from "./contestant.ts";
import { run } from "./process.ts";

const PAIRS = 9;
const children = join(import.meta.dirname, "..", "children");

class Start implements Contestant {
  readonly name: string;
  readonly #script: string;

  constructor(name: string, script: string) {
    this.name = name;
    this.#script = script;
  }

  async prepare(): Promise<undefined> {}

  async measure({ path }: Job): Promise<Sample> {
    const differences: number[] = [];
    let cpuSeconds = 0;
    for (let pair = 0; pair < PAIRS; pair += 1) {
      const empty = await milliseconds("start_empty.ts", path);
      const full = await milliseconds(this.#script, path);
      differences.push(Math.max(0, full.elapsed - empty.elapsed));
      cpuSeconds += full.cpuSeconds - empty.cpuSeconds;
    }
    const median = summarize(differences)?.median ?? Number.NaN;
    return {
      ...{ operations: 0, rssBytes: 0, detail: `${PAIRS} pairs` },
      ...{ seconds: median / 1000, cpuSeconds: cpuSeconds / PAIRS },
    };
  }
}

async function milliseconds(
  script: string,
  path: string,
): Promise<{ elapsed: number; cpuSeconds: number }> {
  const started = performance.now();
  const { cpuSeconds } = await run([process.execPath, join(children, script), path], {
    seconds: 5,
  });
  return { elapsed: performance.now() - started, cpuSeconds };
}

export const startImport: Contestant = new Start("bun-aio, import", "start_import.ts");
export const startRead: Contestant = new Start("bun-aio, import and first read", "start_read.ts");
