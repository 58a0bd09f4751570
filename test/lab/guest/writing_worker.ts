// A worker that writes to the disk LAB_DISK, and is terminated while it does.

import { allocBuffer, BlockDevice } from "../../../src/index.ts";

const device = await BlockDevice.open(process.env["LAB_DISK"] ?? "", { write: true });
for (let index = 0; index < 100; index++)
  device.writeAt(allocBuffer(4096).fill(index), index * 4096).catch(() => {});
postMessage("writing");
