// Disks that are unplugged with operations in flight: everything settles, later calls say that the device is gone,
// and a disk that is plugged in again works.

import { expect, test } from "bun:test";
import { allocBuffer, BlockDevice, listBlockDevices } from "../../../src/index.ts";
import { pattern } from "../../support/devices.ts";
import type { DiskName } from "../disks.ts";
import { diskPath, findDisk } from "./find_disk.ts";
import { answer, ask, until } from "./host.ts";

const IN_FLIGHT = 128;

/** Starts reads and writes; of each, how it settled. */
function start(device: BlockDevice): Promise<string>[] {
  const size = device.geometry.logicalSectorSize ?? 4096;
  return Array.from({ length: IN_FLIGHT }, (_, index) => {
    const at = index * size;
    const call =
      index % 2 === 0
        ? device.readAt(allocBuffer(size), at)
        : device.writeAt(allocBuffer(size).fill(index), at);
    return call.then(
      () => "done",
      (error: { code: string }) => error.code,
    );
  });
}

const later: Record<string, (device: BlockDevice) => Promise<unknown>> = {
  "a read": (device) => device.readAt(allocBuffer(4096), 0),
  "a read at the end": (device) => device.readAt(allocBuffer(4096), device.geometry.size - 4096),
  "an unaligned read": (device) => device.readAt(new Uint8Array(100), 7),
  "a write": (device) => device.writeAt(allocBuffer(4096), 0),
  "the size": (device) => device.size(),
  "a discard": (device) => device.discard(0, 65536),
  zeroes: (device) => device.writeZeroes(0, 65536),
  "a sync": (device) => device.syncAll(),
  "dropping the cache": (device) => device.invalidateCache(),
};

/** Whatever is asked of the disk, it says that it is gone. */
export async function expectGone(device: BlockDevice): Promise<void> {
  for (const [call, run] of Object.entries(later)) {
    const outcome = await run(device).then(
      (value) => `resolved with ${value}`,
      (error: { code: string }) => error.code,
    );
    expect([call, outcome]).toEqual([call, "ERR_DEVICE_GONE"]);
  }
}

/** Defines the test of a disk that can be unplugged. */
export function testRemoval(name: DiskName): void {
  test(`${name} is unplugged with ${IN_FLIGHT} operations in flight, and plugged in again`, async () => {
    const path = diskPath(name);
    const device = await BlockDevice.open(path, { write: true });
    answer(ask("throttle", name, { operations: 100 }));
    const operations = start(device);
    const removal = ask("unplug", name);
    const outcomes = new Set(await Promise.all(operations));
    answer(removal);
    outcomes.delete("done");
    // UAS fails what is in flight before the kernel takes the disk for gone.
    expect([...outcomes].filter((code) => !["ERR_DEVICE_GONE", "EIO"].includes(code))).toEqual([]);
    await until(() => findDisk(name) === undefined);
    await expectGone(device);
    expect((await listBlockDevices()).map((listed) => listed.path)).not.toContain(path);
    await device
      .close()
      .catch((error: { code: string }) => expect(error.code).toBe("ERR_DEVICE_GONE"));
    answer(ask("throttle", name, { operations: 0 }));
    answer(ask("plug", name));
    await until(() => findDisk(name) !== undefined);
    await using again = await BlockDevice.open(diskPath(name), { write: true });
    const data = pattern(65536, 1);
    await again.writeAt(data, 0);
    await again.syncAll();
    const read = new Uint8Array(data.length);
    await again.readExactAt(read, 0);
    expect(Buffer.compare(read, data)).toBe(0);
  });
}
