// What the tests of abort, timeout, batches, streams and copies share.

import { readFileSync, writeFileSync } from "node:fs";
import { File, IoError, type OpenOptions, type Ring } from "../../src/index.ts";
import { noRoot, unless } from "./conditions.ts";

export { pattern } from "./random.ts";
export { TempDir as Folder } from "./temp.ts";

/** What a promise rejected with. */
export async function rejection(promise: Promise<unknown>): Promise<IoError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof IoError) return error;
    throw error;
  }
  throw new Error("expected a rejection");
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Whether it settles within `ms`. */
export async function settles(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const settled = promise.then(
    () => true,
    () => true,
  );
  return Promise.race([settled, sleep(ms).then(() => false)]);
}

const KMSG = "/proc/kmsg";

/** Why there is no read here that really blocks in the kernel, or undefined. */
export const blockingReadMissing: string | undefined = (() => {
  if (process.platform !== "linux") return "needs Linux's /proc/kmsg";
  try {
    readFileSync("/dev/kmsg", { flag: "w" });
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "EACCES" || code === "EPERM" || code === "ENOENT") return `/dev/kmsg: ${code}`;
  }
  return undefined;
})();

/**
 * A file on which reads end only when the kernel logs something: they block in the kernel,
 * interruptibly. Needs root.
 */
export function openBlocking(ring: Ring, options: OpenOptions = {}): Promise<File> {
  return File.open(KMSG, { ...options, ring });
}

/** Lets reads of that file go on, once. */
export function logSomething(): void {
  writeFileSync("/dev/kmsg", "<7>bun-aio test\n");
}

/** Logs until `promise` settles: another process may be reading the same log. */
export async function logUntilSettled(promise: Promise<unknown>): Promise<void> {
  do logSomething();
  while (!(await settles(promise, 20)));
}

/** Why there are no loop devices here, or undefined. */
export const loopMissing: string | undefined =
  noRoot ?? unless(Bun.which("losetup") !== null, "losetup is not installed (util-linux)");

/** A block device over a file, gone when the test ends. */
export class LoopDevice implements Disposable {
  readonly path: string;

  constructor(image: string, sectorSize = 512) {
    const command = ["losetup", "--find", "--show", "--sector-size", `${sectorSize}`, image];
    const { exitCode, stdout, stderr } = Bun.spawnSync(command);
    if (exitCode !== 0) throw new Error(`losetup: ${stderr}`);
    this.path = stdout.toString().trim();
  }

  [Symbol.dispose](): void {
    Bun.spawnSync(["losetup", "--detach", this.path]);
  }
}
