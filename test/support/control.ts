// What the tests of abort, timeout, batches, streams and copies share.

import { test } from "bun:test";
import fs from "node:fs";
import { File, IoError, type IoOptions, type OpenOptions, type Ring } from "../../src/index.ts";
import { noRoot, unless } from "./conditions.ts";

export { pattern } from "./random.ts";
export { TempDir as Folder } from "./temp.ts";

/** What a promise rejected with. A test that fails before it asks may leave it behind. */
export function rejection(promise: Promise<unknown>): Promise<IoError> {
  const rejected = promise.then(
    () => {
      throw new Error("expected a rejection");
    },
    (error) => {
      if (error instanceof IoError) return error;
      throw error;
    },
  );
  rejected.catch(() => {});
  return rejected;
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
    for (const path of [KMSG, "/dev/kmsg"]) fs.closeSync(fs.openSync(path, "r"));
    fs.closeSync(fs.openSync("/dev/kmsg", "w"));
  } catch (error) {
    return String(error);
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

/** One such read. A test that fails may leave it behind. */
export function blockingRead(file: File, view: Uint8Array, options: IoOptions): Promise<number> {
  const read = file.readAt(view, 0, options);
  read.catch(() => {});
  return read;
}

/** What this process logs, to tell it from what others do. */
const MARK = `bun-aio test ${process.pid}`;

/** Lets reads of that file go on, once. */
export function logSomething(): void {
  fs.writeFileSync("/dev/kmsg", `<7>${MARK}\n`);
}

/**
 * Runs `use` with nothing in the log to be read. The kernel or another process may log something meanwhile,
 * which ends reads of the log: then all that follow are let go, too, and if `use` fails it is run once more.
 */
export async function unlessOthersLog<T>(use: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    using log = new KernelLog();
    emptyLog();
    const watch = setInterval(() => {
      if (log.hasForeign()) logSomething();
    }, 10);
    try {
      return await use();
    } catch (error) {
      if (!log.hasForeign() || tries === 20) throw error;
      console.error("somebody else has written to the kernel's log: once more");
    } finally {
      clearInterval(watch);
    }
  }
}

/** A test with `openBlocking`. */
export function blockingTest(name: string, run: () => Promise<void>): void {
  test(name, () => unlessOthersLog(run), 60_000);
}

/** Aborts at the end of its block: reads of `openBlocking` that a failed test leaves would keep the file open. */
export class ScopedAbort extends AbortController implements Disposable {
  [Symbol.dispose](): void {
    this.abort();
  }
}

/** Takes what reads of `openBlocking` would get at once. */
function emptyLog(): void {
  const fd = openToRead(KMSG);
  drain(fd);
  fs.closeSync(fd);
}

/** What is logged from now on. */
class KernelLog implements Disposable {
  readonly #fd: number;
  #foreign = false;

  constructor() {
    // Each read gives one record, from the oldest on.
    this.#fd = openToRead("/dev/kmsg");
    drain(this.#fd);
  }

  hasForeign(): boolean {
    this.#foreign ||= drain(this.#fd).some((record) => !record.includes(MARK));
    return this.#foreign;
  }

  [Symbol.dispose](): void {
    fs.closeSync(this.#fd);
  }
}

function openToRead(path: string): number {
  return fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
}

function drain(fd: number): string[] {
  const records: string[] = [];
  const buffer = Buffer.alloc(65_536);
  for (;;) {
    try {
      records.push(buffer.toString("latin1", 0, fs.readSync(fd, buffer)));
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === "EAGAIN") return records;
      // Records that were written over before they were read.
      if (code !== "EPIPE") throw error;
    }
  }
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
