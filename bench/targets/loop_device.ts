// A loop device over the image file. Reads go through io-wq (the driver knows no NOWAIT) and a
// kernel thread that reads the image from the page cache: the disk below has no say, which makes
// the figures repeatable.

import { command } from "./command.ts";
import { type Target, Unavailable } from "./target.ts";

export async function attachLoopDevice(imagePath: string): Promise<Target> {
  if (process.platform !== "linux") throw new Unavailable("loop devices are Linux only");
  if (process.getuid?.() !== 0) throw new Unavailable("attaching a loop device needs root");
  let path: string;
  try {
    path = await command("losetup", "--find", "--show", "--read-only", imagePath);
  } catch (error) {
    throw new Unavailable(`no loop device: ${error instanceof Error ? error.message : error}`);
  }
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      await command("losetup", "--detach", path);
    },
  };
}
