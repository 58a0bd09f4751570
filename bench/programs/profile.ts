// Where the time goes: runs the bun-aio child of one row under perf and prints the shares by
// library and by symbol. For a row that missed its bar.
//
// usage: bun bench/programs/profile.ts [--row cached] [--depth 1] [--child bun_aio.ts] [--foreign]

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { command } from "../targets/command.ts";
import { Targets } from "../targets/targets.ts";
import { jobOf, rowNamed, TARGET_BYTES } from "./standalone.ts";

const SAMPLES_PER_SECOND = 2000;
const SECONDS = 2;
const LINES = 30;

const { values } = parseArgs({
  options: {
    row: { type: "string", default: "cached" },
    depth: { type: "string", default: "1" },
    child: { type: "string", default: "bun_aio.ts" },
    foreign: { type: "boolean", default: false },
  },
});
if (Bun.which("perf") === null) throw new Error("perf is not installed");
const row = rowNamed(values.row);

await using targets = new Targets(TARGET_BYTES);
const reason = await targets.prepare(row.target);
if (reason !== undefined) throw new Error(reason);

const job = jobOf(row, targets, {
  depth: Number(values.depth),
  warmUpSeconds: 0.4,
  seconds: SECONDS,
  seed: 1,
  buffers: values.foreign ? "foreign" : "own",
});
const folder = await mkdtemp(join(tmpdir(), "bun-aio-profile-"));
try {
  const data = join(folder, "perf.data");
  const child = join(import.meta.dirname, "..", "children", values.child);
  const perf = ["perf", "record", "-q", "-o", data, "-F", String(SAMPLES_PER_SECOND), "--"];
  console.log(await command(...perf, process.execPath, child, JSON.stringify(job)));
  for (const sort of ["comm,dso", "dso,symbol"]) {
    const shares = await command("perf", "report", "-i", data, "--stdio", "--sort", sort);
    const lines = shares.split("\n").filter((line) => /^\s+\d/.test(line));
    console.log(`\nby ${sort}\n${lines.slice(0, LINES).join("\n")}`);
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
