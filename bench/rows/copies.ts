// The main job: a whole image or device onto a device, synced; beside dd, and beside what fio reads and
// writes there at the depth that `copy` has by default. A copy reads and writes: it cannot be faster than
// the slower of the two, and where both are the work of the same processors it cannot be as fast.

import { bunAioCommand, cp, dd, zcat } from "../contestants/command.ts";
import { fioBatch, fioWrite } from "../contestants/fio.ts";
import {
  bunAioCopies,
  bunAioCopy,
  bunAioCopySparse,
  bunAioCopyToAll,
} from "../contestants/script.ts";
import type { TargetName } from "../targets/targets.ts";
import { mebibytesPerSecond } from "./metrics.ts";
import type { Bar, Row } from "./row.ts";

const LABEL = "once over";
const DEPTH = 8;

const bars: readonly Bar[] = [
  { case: LABEL, of: "bun-aio", against: "dd", atLeast: 1.5 },
  { case: LABEL, of: "bun-aio", against: "fio, batch = depth", atLeast: 0.95 },
  { case: LABEL, of: "bun-aio", against: "fio, writing", atLeast: 0.95 },
];

function copies(name: string, title: string, target: TargetName, onto: TargetName): Row {
  return {
    name,
    title,
    target,
    onto,
    metric: mebibytesPerSecond,
    job: {
      direct: true,
      pattern: "sequential",
      blockSize: 1024 * 1024,
      probe: "delay",
      probeMilliseconds: 5,
    },
    cases: [{ label: LABEL, depth: DEPTH, contestants: [bunAioCopy, dd, fioBatch, fioWrite] }],
    bars,
    charted: false,
  };
}

export const fileCopy: Row = copies(
  "copy-file",
  "copy: file to loop device, O_DIRECT",
  "file",
  "scratch",
);
export const copyToFour: Row = {
  name: "copy-to-all",
  title: "copyToAll: file to four loop devices, O_DIRECT",
  target: "file",
  onto: "scratches",
  metric: mebibytesPerSecond,
  job: fileCopy.job,
  cases: [{ label: LABEL, depth: DEPTH, contestants: [bunAioCopyToAll, bunAioCopies] }],
  bars: [{ case: LABEL, of: "bun-aio", against: "bun-aio, four copies", atLeast: 2 }],
  charted: false,
};
/** The rate is that of the whole image, holes included. */
export const sparseCopy: Row = {
  name: "copy-sparse",
  title: "copy: a sparse image to a new file, in the page cache",
  target: "sparse",
  onto: "fresh",
  metric: mebibytesPerSecond,
  job: { ...fileCopy.job, direct: false },
  cases: [{ label: LABEL, depth: DEPTH, contestants: [bunAioCopySparse, cp] }],
  bars: [{ case: LABEL, of: "bun-aio", against: "cp --sparse=always", atLeast: 0.5 }],
  charted: false,
};
/** The rate is that of the unpacked image. */
export const flash: Row = {
  name: "flash",
  title: "the command copy: a .gz image onto a loop device, O_DIRECT",
  target: "compressed",
  onto: "scratch",
  metric: mebibytesPerSecond,
  job: fileCopy.job,
  cases: [{ label: LABEL, depth: DEPTH, contestants: [bunAioCommand, zcat] }],
  bars: [{ case: LABEL, of: "bun-aio copy", against: "zcat | dd", atLeast: 1.2 }],
  charted: false,
};
export const deviceCopy: Row = copies(
  "copy-device",
  "copy: loop device to loop device, O_DIRECT",
  "large",
  "largeScratch",
);

function commands(
  name: string,
  what: string,
  target: TargetName,
  onto: TargetName,
  bar: number,
): Row {
  return {
    name,
    title: `the command copy: ${what} of a loop device to another, O_DIRECT`,
    target,
    onto,
    metric: mebibytesPerSecond,
    job: fileCopy.job,
    cases: [{ label: LABEL, depth: DEPTH, contestants: [bunAioCommand, dd] }],
    bars: [{ case: LABEL, of: "bun-aio copy", against: "dd", atLeast: bar }],
    charted: false,
  };
}

/** Its start counts. */
export const shortCommand: Row = commands("command", "256 MiB", "filled", "scratch", 1);
export const longCommand: Row = commands("command-long", "4 GiB", "large", "largeScratch", 1.5);
