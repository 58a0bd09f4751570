// Two or more builds of the native library beside each other, interleaved: what did a change bring?
//
//   bun bench/programs/compare.ts [--row cached] [--depth 32] [--rounds 7] [--seconds 0.7] A.so B.so ...

import { resolve } from "node:path";
import { parseArgs } from "node:util";

import { run } from "../contestants/process.ts";
import { parseSample } from "../job.ts";
import { summarize } from "../statistics.ts";
import { Targets } from "../targets/targets.ts";
import { inRound, jobOf, rowNamed, TARGET_BYTES } from "./standalone.ts";

const WARM_UP_SECONDS = 0.4;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    row: { type: "string", default: "cached" },
    depth: { type: "string", default: "32" },
    rounds: { type: "string", default: "7" },
    seconds: { type: "string", default: "0.7" },
  },
});
const row = rowNamed(values.row);
const seconds = Number(values.seconds);

await using targets = new Targets(TARGET_BYTES);
const reason = await targets.prepare(row.target);
if (reason !== undefined) throw new Error(reason);

const figures = new Map<string, { value: number; cpuUs: number }[]>();
for (let round = 0; round < Number(values.rounds); round++) {
  for (const library of inRound(positionals, round)) {
    const job = jobOf(row, targets, {
      depth: Number(values.depth),
      warmUpSeconds: WARM_UP_SECONDS,
      seconds,
      seed: 1 + round,
    });
    const child = resolve(import.meta.dirname, "..", "children", "bun_aio.ts");
    const { stdout } = await run(
      ["env", `BUN_AIO_LIBRARY=${resolve(library)}`, process.execPath, child, JSON.stringify(job)],
      { seconds: seconds + WARM_UP_SECONDS },
    );
    const sample = parseSample(stdout);
    const cpuUs = (sample.cpuSeconds * 1e6) / sample.operations;
    const seen = figures.get(library) ?? [];
    figures.set(library, [...seen, { value: row.metric.of(sample), cpuUs }]);
  }
}
for (const [library, seen] of figures) {
  const value = summarize(seen.map((one) => one.value));
  const cpu = summarize(seen.map((one) => one.cpuUs));
  if (value === undefined || cpu === undefined) continue;
  const { format } = row.metric;
  console.log(
    `${library}: ${format(value.median)} ${row.metric.name} ` +
      `(${format(value.least)} - ${format(value.most)}), CPU ${cpu.median.toFixed(2)} us/read`,
  );
}
