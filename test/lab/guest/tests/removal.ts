// Disks that are unplugged with operations in flight. UAS is in removal_uas.ts.

import { test } from "bun:test";
import { BlockDevice } from "../../../../src/index.ts";
import { ioError } from "../../../support/expect.ts";
import type { DiskName } from "../../disks.ts";
import { testRemoval } from "../removal.ts";

const unplugged: DiskName[] = ["nvme-4096", "virtio-512", "scsi-4096n", "usb-stick"];
for (const name of unplugged) testRemoval(name);

test("a disk that was never there", async () => {
  await ioError(BlockDevice.open("/dev/sdzz"), "ENOENT");
});
