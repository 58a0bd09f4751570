// A compressed RAM disk of our own: hot-added, so that nobody else's zram is touched.

import { access, open, readFile, writeFile } from "node:fs/promises";

import { fill } from "./image_file.ts";
import { type Target, Unavailable } from "./target.ts";

const CONTROL = "/sys/class/zram-control";

export async function createZramDevice(size: number): Promise<Target> {
  if (process.platform !== "linux") throw new Unavailable("zram is Linux only");
  if (process.getuid?.() !== 0) throw new Unavailable("making a zram device needs root");
  let index: string;
  try {
    // Reading this file is what adds the device.
    index = (await readFile(`${CONTROL}/hot_add`, "utf8")).trim();
  } catch {
    throw new Unavailable("the kernel has no zram, or the module is not loaded");
  }
  const path = `/dev/zram${index}`;
  const dispose = async (): Promise<void> => {
    await writeFile(`/sys/block/zram${index}/reset`, "1");
    await writeFile(`${CONTROL}/hot_remove`, index);
  };
  try {
    await access(path).catch(() => {
      throw new Unavailable(`${path} did not appear: /dev is not kept by the kernel here`);
    });
    await writeFile(`/sys/block/zram${index}/disksize`, String(size));
    const handle = await open(path, "r+");
    try {
      await fill(handle, size);
    } finally {
      await handle.close();
    }
  } catch (error) {
    await dispose();
    throw error;
  }
  return { path, [Symbol.asyncDispose]: dispose };
}
