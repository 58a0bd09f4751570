// An unplugged device is ERR_DEVICE_GONE for every operation, even if the file is closed meanwhile.

import { expect, test } from "bun:test";
import { truncateSync } from "node:fs";
import { allocBuffer, BlockDevice, copy, File, type IoError } from "../../src/index.ts";
import { simulatedDevice } from "../../src/testing/index.ts";
import { testUnless } from "../support/conditions.ts";
import { Folder, LoopDevice, loopMissing, pattern } from "../support/control.ts";
import { ioError, rejection } from "../support/expect.ts";

const M = 1 << 20;

/** A loop device that can lose bytes, or all: the kernel sets the capacity of an unplugged disk to 0, too. */
class Shrinkable extends LoopDevice {
  readonly #image: string;

  constructor(folder: Folder) {
    const image = folder.file("image", pattern(8 * M));
    super(image);
    this.#image = image;
  }

  unplug(): void {
    this.shrink(0);
  }

  shrink(bytes: number): void {
    truncateSync(this.#image, bytes);
    const { exitCode, stderr } = Bun.spawnSync(["losetup", "--set-capacity", this.path]);
    if (exitCode !== 0) throw new Error(`losetup: ${stderr}`);
  }
}

type Call = (device: BlockDevice) => Promise<unknown>;

const calls: Readonly<Record<string, Call>> = {
  "an unaligned read": (device) => device.readAt(new Uint8Array(100), 7),
  "an unaligned read of all": (device) => device.readExactAt(new Uint8Array(100), 513),
  "an unaligned read into native memory": (device) => device.readAt(allocBuffer(100), 7),
  "a long unaligned read": (device) => device.readAt(new Uint8Array(M), 7),
  "an aligned read": (device) => device.readAt(allocBuffer(4096), 4096),
  "a vector": (device) => device.readvAt([new Uint8Array(100), new Uint8Array(412)], 512),
  "an unaligned write": (device) => device.writeAt(new Uint8Array(100), 7),
  "an aligned write": (device) => device.writeAt(allocBuffer(4096), 0),
  "a discard": (device) => device.discard(0, 4096),
  zeroes: (device) => device.writeZeroes(0, 4096),
  "the size": (device) => device.size(),
  "dropping the cache": (device) => device.invalidateCache(),
};

testUnless(loopMissing, "a close in the same turn hides nothing", async () => {
  for (const [name, call] of Object.entries(calls)) {
    using folder = new Folder();
    using loop = new Shrinkable(folder);
    const device = await BlockDevice.open(loop.path, { write: true, unalignedWrites: "rmw" });
    loop.unplug();
    const called = call(device).then(
      (value) => value,
      (error: IoError) => error.code,
    );
    await device.close();
    expect([name, await called]).toEqual([name, "ERR_DEVICE_GONE"]);
  }
});

testUnless(loopMissing, "what reaches past the end of a disk that shrank says so", async () => {
  using folder = new Folder();
  using loop = new Shrinkable(folder);
  await using device = await BlockDevice.open(loop.path, { write: true, unalignedWrites: "rmw" });
  loop.shrink(4 * M);
  for (const write of [
    () => device.writeAt(allocBuffer(4096), 6 * M),
    () => device.writeAt(new Uint8Array(4096), 4 * M - 2048),
    () => device.writevAt([new Uint8Array(100), new Uint8Array(924)], 5 * M),
  ]) {
    const error = await ioError(write(), "ENOSPC");
    expect(error.hint).toBe(
      `The device has shrunk since it was opened, from ${8 * M} to ${4 * M} bytes`,
    );
  }
  for (const change of [() => device.discard(6 * M, M), () => device.writeZeroes(6 * M, M)]) {
    expect(await rejection(change())).toMatchObject({
      hint: expect.stringMatching(/^The device has shrunk/),
    });
  }
  expect(await device.readAt(allocBuffer(4096), 4 * M)).toBe(0);
  await device.writeAt(allocBuffer(4096), 0);
  expect(await device.size()).toBe(4 * M);
});

testUnless(loopMissing, "a disk that vanishes under a sparse copy", async () => {
  for (const direct of [true, false]) {
    using folder = new Folder();
    using loop = new Shrinkable(folder);
    await using target = await File.open(loop.path, { write: true, direct });
    const source = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          loop.unplug();
          controller.enqueue(new Uint8Array(2 * M));
          controller.close();
        },
      },
      // Nothing is pulled before the copy has looked at the target.
      { highWaterMark: 0 },
    );
    const error = await ioError(copy(source, target, { sparse: true }), "ERR_DEVICE_GONE");
    expect(error).toMatchObject({ syscall: "zeroout", path: loop.path });
    expect(error.cause).toMatchObject({ syscall: "zeroout" });
    await ioError(target.syncAll(), "ERR_DEVICE_GONE");
  }
});

test("a simulated disk that vanishes under a sparse copy", async () => {
  await using device = await simulatedDevice({
    size: 4 * M,
    faults: [{ operation: "any", nth: 1, unplug: true }],
  });
  const source = new ReadableStream<Uint8Array>({
    pull(controller) {
      controller.enqueue(new Uint8Array(M));
      controller.close();
    },
  });
  const error = await ioError(copy(source, device, { sparse: true }), "ERR_DEVICE_GONE");
  expect(error.syscall).toBe("zeroout");
});
