// Conditions of this run, and tests that say why they are skipped: the only place that skips tests
// (test/once/suite.ts).
//
// A condition asks the system, never the feature under test: otherwise a broken feature would skip its own tests.
// `npm test` ends with the reasons and their counts. CI accepts only the reasons in .ci/expected_skips.txt.

import { describe, test } from "bun:test";
import fs from "node:fs";
import { release, tmpdir } from "node:os";
import { Ring } from "../../src/index.ts";

/** linux/magic.h */
const TMPFS_MAGIC = 0x01021994;
const OVERLAYFS_MAGIC = 0x794c7630;

/** The backend under test. */
export const backend: string = Ring.default().backend;

/** Whether the library injects faults (scripts/test.ts, the steps named *-faults). */
export const faulty: boolean = (process.env["BUN_AIO_FAULTS"] ?? "") !== "";

/** Repetitions: fewer over injected faults, where each takes longer and the same code has run before. */
export function times(count: number): number {
  return faulty ? Math.ceil(count / 5) : count;
}

/** Whether the kernel is of this version or later. */
export function isSince(major: number, minor: number): boolean {
  const [isMajor = 0, isMinor = 0] = release().split(".").map(Number);
  return isMajor > major || (isMajor === major && isMinor >= minor);
}

export function unless(condition: boolean, reason: string): string | undefined {
  return condition ? undefined : reason;
}

/** The package that a missing program is in (Debian's name). */
const PACKAGES: Record<string, string> = {
  addpart: "util-linux",
  blockdev: "util-linux",
  bmaptool: "bmap-tools",
  btrfs: "btrfs-progs",
  bzip2: "bzip2",
  ddrescue: "gddrescue",
  ddrescuelog: "gddrescue",
  fsfreeze: "util-linux",
  jq: "jq",
  "fsck.ext4": "e2fsprogs",
  losetup: "util-linux",
  "mkfs.btrfs": "btrfs-progs",
  "mkfs.ext4": "e2fsprogs",
  "mkfs.xfs": "xfsprogs",
  nbdcopy: "libnbd-bin",
  nbdinfo: "libnbd-bin",
  "qemu-img": "qemu-utils",
  "qemu-io": "qemu-utils",
  mkswap: "util-linux",
  mount: "util-linux",
  nbdfuse: "libnbd-bin",
  nbdkit: "nbdkit",
  strace: "strace",
  swapon: "util-linux",
  umount: "util-linux",
  unshare: "util-linux",
  valgrind: "valgrind",
  xz: "xz-utils",
  zip: "zip",
  zstd: "zstd",
};

/** Why programs cannot be used, or undefined. */
export function without(...programs: string[]): string | undefined {
  const missing = programs.find((program) => Bun.which(program) === null);
  if (missing === undefined) return undefined;
  const name = PACKAGES[missing];
  return `${missing} is not installed${name === undefined ? "" : `: apt install ${name}`}`;
}

export const noLinux: string | undefined = unless(process.platform === "linux", "Linux only");
export const noRoot: string | undefined = noLinux ?? unless(process.getuid?.() === 0, "needs root");
export const noStrace: string | undefined = noLinux ?? without("strace");
export const noIoUring: string | undefined = unless(backend === "io_uring", "io_uring only");
/** Completions that come by io_uring_enter alone (IORING_SETUP_DEFER_TASKRUN). */
export const noDeferred: string | undefined =
  noLinux ?? noIoUring ?? unless(isSince(6, 1), "Linux 6.1 or later only");
export const noThreads: string | undefined = unless(backend === "threads", "threads only");
/** Whether files in the folder for temporary files can be read without waiting (preadv2(2), RWF_NOWAIT). */
export const noNowait: string | undefined =
  noLinux ??
  unless(
    ![TMPFS_MAGIC, OVERLAYFS_MAGIC].includes(fs.statfsSync(tmpdir()).type),
    "tmpfs and overlayfs know no RWF_NOWAIT: set TMPDIR",
  );
/** Where files of a tmpfs say what is in memory (cachestat(2)). */
export const noCachestat: string | undefined =
  noLinux ??
  unless(isSince(6, 5), "Linux 6.5 or later only") ??
  unless(
    fs.existsSync("/dev/shm") && fs.statfsSync("/dev/shm").type === TMPFS_MAGIC,
    "/dev/shm is no tmpfs",
  );
export const noFaultFree: string | undefined = unless(!faulty, "exact only without faults");

/** `test`, or a skipped test whose name says why. */
export function testUnless(
  reason: string | undefined,
  name: string,
  run: () => void | Promise<void>,
  timeoutMs = 60_000,
): void {
  if (reason === undefined) test(name, run, timeoutMs);
  else test.skip(skipped(name, reason), run);
}

/** `describe`, or a skipped group whose name says why. */
export function describeUnless(reason: string | undefined, name: string, define: () => void): void {
  if (reason === undefined) describe(name, define);
  else describe.skip(skipped(name, reason), define);
}

/** What scripts/suite/junit.ts looks for. */
function skipped(name: string, reason: string): string {
  return `${name} [skipped: ${reason.replaceAll("[", "(").replaceAll("]", ")")}]`;
}
