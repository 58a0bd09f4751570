// Shared by the tests of abort, timeout, batches, streams and copies.

import { IoError } from "../../src/index.ts";
import { noRoot, without } from "./conditions.ts";

export {
  blockingRead,
  blockingReadMissing,
  blockingTest,
  letGo,
  letGoUntilSettled,
  openBlocking,
  ScopedAbort,
  untilBlocked,
} from "./endless.ts";
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

/** Looks once a turn of the event loop; the test's own timeout ends it. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

/** Some turns of the event loop: what is due without a wait for anything outside happens meanwhile. */
export async function turns(count = 5): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
}

/** Only where time itself is what a test is about, or nothing is to happen for a while. */
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

/** Why there are no loop devices here, or undefined. */
export const loopMissing: string | undefined = noRoot ?? without("losetup");

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
