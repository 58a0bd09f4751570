// Loop devices. The one that is read lies over the image file. Reads go through io-wq (the driver knows no NOWAIT) and a
// kernel thread that reads the image from the page cache: the disk below has no say, which makes
// the figures repeatable.

import { access, type FileHandle, mkdtemp, open, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { command } from "./command.ts";
import { type Target, Unavailable } from "./target.ts";

const MEMORY = "/dev/shm";

export async function attachLoopDevice(imagePath: string): Promise<Target> {
  return attach(imagePath, "--read-only");
}

/**
 * One over an image in memory, where the system has a folder for that. Every page is written before anyone is measured:
 * a virtual machine may take idle memory back, and who writes a page first would fetch it again.
 */
export async function createMemoryDevice(
  size: number,
  write: (handle: FileHandle, size: number) => Promise<void> = writeZeroes,
): Promise<Target> {
  const parent = await access(MEMORY).then(
    () => MEMORY,
    () => tmpdir(),
  );
  const { bavail, bsize } = await statfs(parent);
  if (bavail * bsize < 2 * size) {
    throw new Unavailable(`${parent} has no room for twice ${size / 2 ** 30} GiB`);
  }
  const folder = await mkdtemp(join(parent, "bun-aio-bench-"));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const image = join(folder, "scratch");
    await using handle = await open(image, "wx", 0o600);
    await write(handle, size);
    const device = await attach(image);
    return {
      path: device.path,
      [Symbol.asyncDispose]: async () => {
        await device[Symbol.asyncDispose]();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function writeZeroes(handle: FileHandle, size: number): Promise<void> {
  const zeroes = new Uint8Array(2 ** 20);
  for (let offset = 0; offset < size; offset += zeroes.byteLength) {
    const length = Math.min(zeroes.byteLength, size - offset);
    const { bytesWritten } = await handle.write(zeroes, 0, length, offset);
    if (bytesWritten !== length) throw new Error(`a write took ${bytesWritten} bytes`);
  }
}

async function attach(imagePath: string, ...options: string[]): Promise<Target> {
  if (process.platform !== "linux") throw new Unavailable("loop devices are Linux only");
  if (process.getuid?.() !== 0) throw new Unavailable("attaching a loop device needs root");
  let path: string;
  try {
    path = await command("losetup", "--find", "--show", ...options, imagePath);
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
