// `bun-aio scan`: reads a disk or file from end to end and finds the sectors that cannot be read.

import { writeFile } from "node:fs/promises";
import { totalLength } from "../common/byte_range.ts";
import { mapOf } from "../copy/bad_ranges.ts";
import { type ScanResult, scan } from "../copy/scan.ts";
import type { ReadError } from "../errors/copy_result.ts";
import type { File } from "../file/file.ts";
import { Arguments, type Spec } from "./arguments.ts";
import { Exit, refused } from "./exit.ts";
import { Interrupts } from "./interrupts.ts";
import { lookAtFileOrDisk, openForReading } from "./places.ts";
import { Progress } from "./progress.ts";
import { pathOf, statOf } from "./raw_words.ts";
import { print, printable, say } from "./terminal.ts";
import { formatExactSize, grouped, pace } from "./units.ts";
import { refuseUnwritable } from "./writing.ts";

const SCAN_OPTIONS: Spec = {
  values: ["bs", "depth", "from", "length", "map"],
  flags: ["hash", "json", "quiet", "yes"],
};

export async function scanCommand(argv: readonly string[]): Promise<number> {
  const args = new Arguments("scan", SCAN_OPTIONS, argv);
  const [path = ""] = args.operands(["DEV"]);
  const map = args.text("map");
  if (map !== undefined) await refuseMap(map, args.flag("yes"));
  using interrupts = new Interrupts();
  await using file = await openForReading(await lookAtFileOrDisk(path));
  const result = await scanShown(args, file, interrupts);
  if (map !== undefined) await writeFile(pathOf(map), result.map.toString());
  if (args.flag("json")) print(JSON.stringify({ path, ...result, map: undefined }));
  else show(args, path, result);
  if (map !== undefined && !args.flag("quiet")) say(`map for copy --rescue, or ddrescue: ${map}`);
  if (interrupts.signal.aborted) return interrupts.code;
  return result.bad.length === 0 ? Exit.done : Exit.failed;
}

/** A map may hold what a rescue has done. */
async function refuseMap(map: string, yes: boolean): Promise<void> {
  if (!yes && (await statOf(map)) !== undefined) {
    throw refused(`--map: ${printable(map)} already exists`, "Pass --yes to replace it");
  }
  await refuseUnwritable("--map", map);
}

/** What was found until the signal, if there was one. */
async function scanShown(
  args: Arguments,
  file: File,
  { signal }: Interrupts,
): Promise<Omit<ScanResult, "digest"> & { digest?: string | undefined }> {
  using progress = await Progress.begin(args.flag("quiet"), signal);
  const start = args.size("from") ?? 0;
  const length = args.size("length");
  const bad: ReadError[] = [];
  const started = performance.now();
  let bytesRead = 0;
  try {
    return await scan(file, {
      ...{ start, end: length === undefined ? undefined : start + length, signal },
      chunkSize: args.size("bs", 1),
      concurrency: args.integer("depth", 1, 1024),
      hash: args.flag("hash") ? "sha256" : undefined,
      onBad: (error) => bad.push(error),
      onProgress: (step) => {
        bytesRead = step.bytes;
        progress.update(step);
      },
    });
  } catch (error) {
    if (!signal.aborted) throw error;
    bad.sort((a, b) => a.offset - b.offset);
    const map = mapOf(bad, await file.size());
    return { bytesRead, bad, map, durationMs: performance.now() - started };
  }
}

function show(
  args: Arguments,
  path: string,
  { bytesRead, bad, digest, durationMs }: Awaited<ReturnType<typeof scanShown>>,
): void {
  for (const { offset, length, code } of bad) {
    print(`unreadable: ${grouped(length)} bytes at ${grouped(offset)} (${code})`);
  }
  if (digest !== undefined) print(`${digest}  ${printable(path)}`);
  if (args.flag("quiet")) return;
  say(`read ${formatExactSize(bytesRead)} in ${pace(bytesRead, durationMs)}`);
  const total = totalLength(bad);
  const ranges = bad.length === 1 ? "1 range" : `${grouped(bad.length)} ranges`;
  say(
    total === 0 ? "everything can be read" : `unreadable: ${formatExactSize(total)} in ${ranges}`,
  );
}
