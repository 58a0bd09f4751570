// What the tests of abort, timeout, batches, streams and copies share.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { File, IoError, type OpenOptions, type Ring } from "../src/index.ts";

/** A folder of its own, gone when the test ends. */
export class Folder implements Disposable {
  readonly path: string = mkdtempSync(join(tmpdir(), "bun-aio-"));

  file(name: string, contents?: Uint8Array | string): string {
    const path = join(this.path, name);
    if (contents !== undefined) writeFileSync(path, contents);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Bytes that differ from place to place; the same for the same seed. */
export function pattern(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let state = seed | 1;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

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
