// `watchBlockDevices`, with disks that are unplugged and plugged in again.

import { expect, test } from "bun:test";
import {
  type BlockDeviceEvent,
  type BlockDeviceWatch,
  listBlockDevices,
  watchBlockDevices,
} from "../../../../src/index.ts";
import type { DiskName } from "../../disks.ts";
import { diskPath, findDisk } from "../find_disk.ts";
import { answer, ask, until } from "../host.ts";

async function next(
  watch: BlockDeviceWatch,
  type: BlockDeviceEvent["type"],
  path?: string,
): Promise<BlockDeviceEvent> {
  for await (const event of { [Symbol.asyncIterator]: () => ({ next: () => watch.next() }) }) {
    if (event.type === type && event.device.path === (path ?? event.device.path)) return event;
  }
  throw new Error("the watch has ended");
}

const unplugged: DiskName[] = ["nvme-4096", "virtio-512", "scsi-4096n", "usb-stick", "uas"];

for (const name of unplugged) {
  test(`${name} is unplugged, and plugged in again`, async () => {
    const path = diskPath(name);
    const since = await listBlockDevices();
    const before = since.find((device) => device.path === path);
    await using watch = watchBlockDevices({ since });
    answer(ask("unplug", name));
    const removed = await next(watch, "remove", path);
    // As it was last.
    expect(removed.device.size).toBe(before?.size ?? 0);
    expect(removed.device.serial).toBe(before?.serial ?? null);
    await until(() => findDisk(name) === undefined);
    answer(ask("plug", name));
    const added = await next(watch, "add");
    await until(() => findDisk(name) !== undefined);
    expect(added.device).toEqual({ ...(before as typeof added.device), path: diskPath(name) });
  });
}
