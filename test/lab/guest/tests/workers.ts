// Workers that are terminated with operations in flight on a disk: the disk is free again, and nothing else breaks.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { BlockDevice } from "../../../../src/index.ts";
import { pattern } from "../../../support/devices.ts";
import type { DiskName } from "../../disks.ts";
import { diskPath } from "../find_disk.ts";
import { until } from "../host.ts";

const WORKER = join(import.meta.dir, "../writing_worker.ts");

async function isFree(path: string): Promise<boolean> {
  try {
    await (await BlockDevice.open(path, { write: true })).close();
    return true;
  } catch {
    return false;
  }
}

for (const name of ["nvme-512", "scsi-4096n", "virtio-512"] as DiskName[]) {
  test(`${name}: terminated in flight, three times`, async () => {
    const path = diskPath(name);
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(WORKER, { env: { ...process.env, LAB_DISK: path } as never });
      await new Promise((resolve, reject) => {
        worker.onmessage = resolve;
        worker.onerror = (event) => reject(new Error(event.message));
      });
      worker.terminate();
      await until(() => isFree(path));
    }
    await using device = await BlockDevice.open(path, { write: true });
    const data = pattern(65536, 1);
    await device.writeAt(data, 1 << 20);
    const read = new Uint8Array(data.length);
    await device.readExactAt(read, 1 << 20);
    expect(Buffer.compare(read, data)).toBe(0);
  });
}
