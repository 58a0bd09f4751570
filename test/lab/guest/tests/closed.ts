// A disk is free when `close` has resolved: on kernels, too, that let go of registered files late.

import { expect, test } from "bun:test";
import { closeSync, constants, openSync } from "node:fs";
import { allocBuffer, BlockDevice, File, Ring } from "../../../../src/index.ts";
import { testUnless } from "../../../support/conditions.ts";
import type { DiskName } from "../../disks.ts";
import { diskPath } from "../find_disk.ts";
import { sh, shQuietly, withoutModule } from "../shell.ts";

/** Opens it as mount(8) does. */
function expectFree(path: string): void {
  expect(() => closeSync(openSync(path, constants.O_RDWR | constants.O_EXCL))).not.toThrow();
}

async function useAndClose(path: string, ring: Ring, direct: boolean): Promise<void> {
  const device = await BlockDevice.open(path, { write: true, direct, ring });
  const reads = [0, 1, 2].map((index) => device.readAt(allocBuffer(4096), index * 4096));
  await Promise.all([...reads, device.writeAt(allocBuffer(4096), 65536)]);
  await device.syncAll();
  await device.close();
}

for (const name of ["nvme-512", "virtio-4096", "ata"] as DiskName[]) {
  test(`${name}: free as soon as it is closed`, async () => {
    const path = diskPath(name);
    await using ring = Ring.open();
    for (let round = 0; round < 40; round++) {
      await useAndClose(path, ring, round % 2 === 0);
      expectFree(path);
    }
  });
}

testUnless(
  withoutModule("null_blk"),
  "free while a slow read of another disk goes on",
  async () => {
    shQuietly("rmmod null_blk");
    // Two seconds for each request.
    sh("modprobe null_blk nr_devices=1 gb=1 irqmode=2 completion_nsec=2000000000");
    try {
      await using ring = Ring.open();
      await using slow = await File.open("/dev/nullb0", { direct: true, ring });
      const path = diskPath("nvme-512");
      const device = await BlockDevice.open(path, { write: true, ring });
      let isReading = true;
      const read = slow.readAt(allocBuffer(4096), 0).finally(() => {
        isReading = false;
      });
      await device.readAt(allocBuffer(4096), 0);
      await device.close();
      expectFree(path);
      expect(isReading).toBe(true);
      expect(await read).toBe(4096);
    } finally {
      sh("rmmod null_blk");
    }
  },
);
