// What io_uring's ways to spare the kernel work would bring: the bare loop with each of them beside the
// bare loop without, interleaved. What the library does of it says docs/performance.md.
//
//   bun bench/programs/ring_features.ts [--rows cached,loop,zram] [--depths 1,32] [--rounds 7] [--seconds 0.7]

import { parseArgs } from "node:util";

import { BareLoop, type Feature } from "../contestants/bare_loop.ts";
import { summarize } from "../statistics.ts";
import { Targets } from "../targets/targets.ts";
import { inRound, jobOf, rowNamed, TARGET_BYTES } from "./standalone.ts";

const WARM_UP_SECONDS = 0.1;
const FEATURES: readonly Feature[] = [
  "plain",
  "registered_file",
  "registered_buffers",
  "submission_polling",
];

const { values } = parseArgs({
  options: {
    rows: { type: "string", default: "cached,loop,zram" },
    depths: { type: "string", default: "1,32" },
    rounds: { type: "string", default: "7" },
    seconds: { type: "string", default: "0.7" },
  },
});

const loops = FEATURES.map((feature) => new BareLoop(feature, feature));
for (const loop of loops) {
  const reason = await loop.prepare();
  if (reason !== undefined) throw new Error(reason);
}

await using targets = new Targets(TARGET_BYTES);
for (const name of values.rows.split(",")) {
  const row = rowNamed(name);
  const reason = await targets.prepare(row.target);
  if (reason !== undefined) {
    console.log(`${name}: skipped: ${reason}`);
    continue;
  }
  for (const depth of values.depths.split(",").map(Number)) {
    const figures = new Map<string, { ns: number[]; cpuNs: number[] }>();
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const loop of inRound(loops, round)) {
        const seconds = Number(values.seconds);
        const seed = 1 + round;
        const job = jobOf(row, targets, { depth, warmUpSeconds: WARM_UP_SECONDS, seconds, seed });
        const sample = await loop.measure(job);
        const seen = figures.get(loop.name) ?? { ns: [], cpuNs: [] };
        seen.ns.push((sample.seconds * 1e9) / sample.operations);
        seen.cpuNs.push((sample.cpuSeconds * 1e9) / sample.operations);
        figures.set(loop.name, seen);
      }
    }
    console.log(`${name}, depth ${depth}:`);
    for (const [feature, { ns, cpuNs }] of figures) {
      const time = summarize(ns);
      const cpu = summarize(cpuNs);
      const range = `${time?.least.toFixed(0)} to ${time?.most.toFixed(0)}`;
      console.log(
        `  ${feature.padEnd(20)} ${time?.median.toFixed(0)} ns a read (${range}), ${cpu?.median.toFixed(0)} ns of processor time`,
      );
    }
  }
}
