// A device is free when `close` has resolved, whatever else the ring has in flight.

import { expect } from "bun:test";
import { closeSync, constants, openSync } from "node:fs";
import { allocBuffer, BlockDevice, Ring } from "../../src/index.ts";
import { testUnless, times } from "../support/conditions.ts";
import { Folder, LoopDevice, loopMissing, pattern } from "../support/control.ts";
import {
  blockingRead,
  blockingReadMissing,
  letGoUntilSettled,
  openBlocking,
  untilBlocked,
} from "../support/endless.ts";

/** Opens the device as mount(8) does; the kernel refuses while anything of ours still holds it. */
function expectFree(path: string): void {
  expect(() => closeSync(openSync(path, constants.O_RDWR | constants.O_EXCL))).not.toThrow();
}

async function useAndClose(path: string, ring: Ring, round: number): Promise<void> {
  const direct = round % 3 > 0;
  const device = await BlockDevice.open(path, { write: true, direct, ring });
  const reads = Array.from({ length: 1 + (round % 8) }, (_, i) =>
    device.readAt(round % 2 === 0 ? allocBuffer(4096) : new Uint8Array(4096), i * 4096),
  );
  await Promise.all([...reads, device.writeAt(allocBuffer(4096), 65536)]);
  if (round % 4 === 0) await device.syncAll();
  await device.close();
}

testUnless(loopMissing, "closed is free, time and again", async () => {
  using folder = new Folder();
  using loop = new LoopDevice(folder.file("image", pattern(1 << 20)));
  await using ring = Ring.open();
  for (let round = 0; round < times(200); round++) {
    await useAndClose(loop.path, ring, round);
    expectFree(loop.path);
  }
});

testUnless(
  loopMissing ?? blockingReadMissing,
  "closed is free while a read of another file does not end",
  async () => {
    using folder = new Folder();
    using loop = new LoopDevice(folder.file("image", pattern(1 << 20)));
    await using ring = Ring.open();
    await using other = await openBlocking(ring);
    // The device is opened before that read, and after it.
    const device = await BlockDevice.open(loop.path, { write: true, ring });
    const read = blockingRead(other, new Uint8Array(64), {});
    await untilBlocked();
    await device.readAt(allocBuffer(4096), 0);
    await device.close();
    expectFree(loop.path);
    for (let round = 0; round < 8; round++) {
      await useAndClose(loop.path, ring, round);
      expectFree(loop.path);
    }
    await letGoUntilSettled(read);
    expect(await read).toBe(64);
  },
);
