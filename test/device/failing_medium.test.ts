// A medium whose bad places the kernel reports, beside what GNU ddrescue finds on it: a file of FUSE, served by nbdkit,
// whose reads fail where they touch certain ranges.

import { expect } from "bun:test";
import fs from "node:fs";
import { join } from "node:path";
import { copy, File, RescueMap, scan } from "../../src/index.ts";
import { noRoot, testUnless, unless, without } from "../support/conditions.ts";
import { until } from "../support/control.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const PAGE = 4096;
const SIZE = 128 * PAGE;
/** Pages: one alone, some, the last. */
const BAD: readonly [number, number][] = [
  [10, 1],
  [32, 8],
  [127, 1],
];

const missing =
  noRoot ??
  without("ddrescue", "nbdkit", "nbdfuse", "umount") ??
  unless(fs.existsSync("/dev/fuse"), "there is no /dev/fuse");

/** The plugin: nbdkit calls it for each request. */
function plugin(image: string): string {
  const fails = BAD.map(([first, count]) => {
    const [begin, end] = [first * PAGE, (first + count) * PAGE];
    return `[ $4 -lt ${end} ] && [ $(($3 + $4)) -gt ${begin} ] && { echo EIO >&2; exit 1; }`;
  });
  return [
    "#!/bin/sh",
    'case "$1" in',
    `get_size) echo ${SIZE} ;;`,
    "pread)",
    ...fails,
    `exec dd if='${image}' iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none ;;`,
    "*) exit 2 ;;",
    "esac",
  ].join("\n");
}

/** Serves the image at `path` until it is disposed of. */
async function served(folder: TempDir, image: string): Promise<AsyncDisposable & { path: string }> {
  const script = folder.file("plugin", plugin(image));
  fs.chmodSync(script, 0o700);
  const mount = join(folder.path, "mount");
  fs.mkdirSync(mount);
  const path = join(mount, "medium");
  const command = ["nbdfuse", path, "--command", "nbdkit", "-s", "--exit-with-parent"];
  const server = Bun.spawn([...command, "sh", script], { stdio: ["ignore", "ignore", "ignore"] });
  await until(() => server.exitCode !== null || fs.existsSync(path));
  if (server.exitCode !== null) throw new Error(`nbdfuse ended with ${server.exitCode}`);
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      Bun.spawnSync(["umount", mount]);
      await server.exited;
    },
  };
}

testUnless(missing, "scan and copy find what ddrescue finds, and rescue the same", async () => {
  using folder = new TempDir();
  const contents = pattern(SIZE, 3);
  await using medium = await served(folder, folder.file("image", contents));
  const [path, theirs] = [folder.file("map"), folder.file("theirs", new Uint8Array(SIZE))];
  const ddrescue = Bun.spawnSync(["ddrescue", "-q", `-b${PAGE}`, medium.path, theirs, path]);
  expect(`${ddrescue.stderr}${ddrescue.exitCode}`).toBe("0");
  const expected = [...RescueMap.parse(fs.readFileSync(path, "utf8")).ranges()];

  await using source = await File.open(medium.path);
  const ours = folder.file("ours", "");
  await using target = await File.open(ours, { write: true });
  const map = new RescueMap();
  const options = { onReadError: "skip", map, chunkSize: 16 * PAGE, verify: true } as const;
  const { readErrors } = await copy(source, target, options);
  expect([...map.ranges()]).toEqual(expected);
  expect(Buffer.compare(fs.readFileSync(ours), fs.readFileSync(theirs))).toBe(0);
  const { bad, bytesRead } = await scan(source, { chunkSize: 16 * PAGE });
  const lost = BAD.map(([first, count]) => {
    return { offset: first * PAGE, length: count * PAGE, code: "EIO" };
  });
  expect([readErrors, bad]).toEqual([lost, lost]);
  expect(bytesRead).toBe(SIZE - 10 * PAGE);
});
