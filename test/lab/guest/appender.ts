// Appends records to a disk, and tells the host of each that a sync has covered, until the machine loses its power.

import { BlockDevice } from "../../../src/index.ts";
import { diskPath } from "./find_disk.ts";
import { ask } from "./host.ts";
import { record } from "./records.ts";

const disk = "volatile-scsi";
await using device = await BlockDevice.open(diskPath(disk), { write: true });
await device.writeZeroes(0, device.geometry.size);
await device.syncAll();
for (let at = 0, number = 1; ; number++) {
  const bytes = record(number, 1 + (number % 16));
  if (at + bytes.length > device.geometry.size) break;
  await Promise.all([device.writeAt(bytes, at), device.syncData()]);
  ask("acknowledge", disk, { number });
  at += bytes.length;
}
