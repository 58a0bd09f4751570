// The whole command `bun-aio copy` beside dd, by size and by what is copied: devices in memory, files, a pipe.
//
//   bun scripts/bundle.js && bun bench/programs/command_copy.ts [--rounds 5]
//       the table of docs/performance.md; needs root on Linux, and memory for twice the largest device

import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { run } from "../contestants/process.ts";
import { summarize } from "../statistics.ts";
import { createMemoryDevice } from "../targets/loop_device.ts";
import { inRound } from "./standalone.ts";

const MAIN = join(import.meta.dirname, "..", "..", "dist", "cli", "main.js");
const COPY = `'${process.execPath}' '${MAIN}' copy --yes --quiet`;
const GIB = 2 ** 30;
const DEVICE_BYTES: readonly number[] = [0.25 * GIB, GIB, 4 * GIB, 6 * GIB];
const OTHER_BYTES = GIB;

const { values } = parseArgs({ options: { rounds: { type: "string", default: "5" } } });
const rounds = Number(values.rounds);

/** Lines of the shell, which copy and sync. */
interface Contest {
  readonly name: string;
  readonly bytes: number;
  readonly ours: string;
  readonly dd: string;
}

async function seconds(line: string): Promise<number> {
  const started = performance.now();
  await run(["sh", "-c", line], { seconds: 300 });
  return (performance.now() - started) / 1000;
}

/** A line of the table: medians of interleaved rounds, another contestant first in each. */
async function contest({ name, bytes, ours, dd }: Contest): Promise<void> {
  const times = new Map<string, number[]>([
    [ours, []],
    [dd, []],
  ]);
  // Once before, so that nobody pays for memory that the host has taken back.
  for (const line of times.keys()) await seconds(line);
  for (let round = 0; round < rounds; round++) {
    for (const line of inRound([ours, dd], round)) times.get(line)?.push(await seconds(line));
  }
  const [a = Number.NaN, b = Number.NaN] = [ours, dd].map(
    (line) => summarize(times.get(line) ?? [])?.median,
  );
  const rate = (time: number): string => (bytes / 2 ** 20 / time).toFixed(0);
  console.log(
    `| ${name}, ${bytes / GIB} GiB | ${a.toFixed(2)} s, ${rate(a)} | ${b.toFixed(2)} s, ${rate(b)} | ${(b / a).toFixed(2)} x |`,
  );
}

async function fill(path: string, bytes: number): Promise<void> {
  await using file = await open(path, "w");
  const block = crypto.getRandomValues(new Uint8Array(65_536));
  const mebibyte = Buffer.concat(Array.from({ length: 16 }, () => block));
  for (let at = 0; at < bytes; at += mebibyte.byteLength) await file.write(mebibyte);
}

console.log("| | `bun-aio copy`, MiB/s | `dd bs=1M`, MiB/s | |\n| --- | ---: | ---: | ---: |");
for (const bytes of DEVICE_BYTES) {
  await using source = await createMemoryDevice(bytes);
  await using target = await createMemoryDevice(bytes);
  await contest({
    ...{ name: "device to device", bytes, ours: `${COPY} ${source.path} ${target.path}` },
    dd: `dd if=${source.path} of=${target.path} bs=1M iflag=direct oflag=direct conv=fsync status=none`,
  });
}

const folder = await mkdtemp(join(tmpdir(), "bun-aio-bench-"));
try {
  const bytes = OTHER_BYTES;
  const from = join(folder, "source");
  const to = join(folder, "target");
  await fill(from, bytes);
  await using device = await createMemoryDevice(bytes);
  const onto = `of=${device.path} bs=1M oflag=direct conv=fsync status=none`;
  const read = `cat ${from}`;
  await contest({
    ...{ name: "file to device", bytes, ours: `${COPY} ${from} ${device.path}` },
    dd: `dd if=${from} ${onto}`,
  });
  await contest({
    ...{ name: "pipe to device", bytes, ours: `${read} | ${COPY} - ${device.path}` },
    dd: `${read} | dd ${onto} iflag=fullblock`,
  });
  await contest({
    ...{ name: "file to file", bytes, ours: `${COPY} ${from} ${to}` },
    dd: `dd if=${from} of=${to} bs=1M conv=fsync status=none`,
  });
} finally {
  await rm(folder, { recursive: true, force: true });
}
