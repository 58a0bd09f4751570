// A disk that grows and shrinks while it is open.

import { afterAll, expect, test } from "bun:test";
import { BlockDevice } from "../../../../src/index.ts";
import { pattern } from "../../../support/devices.ts";
import { disks } from "../../disks.ts";
import { attribute, diskPath } from "../find_disk.ts";
import { answer, ask, until } from "../host.ts";

const MiB = 1 << 20;
const path = diskPath("virtio-4096");

async function resize(bytes: number): Promise<void> {
  answer(ask("resize", "virtio-4096", { size: bytes }));
  await until(() => Number(attribute(path, "size")) * 512 === bytes);
}

afterAll(() => resize(disks["virtio-4096"].size));

test("the new size is seen, and written to", async () => {
  await using device = await BlockDevice.open(path, { write: true });
  expect(await device.size()).toBe(64 * MiB);
  await resize(80 * MiB);
  expect(await device.size()).toBe(80 * MiB);
  expect(device.geometry.size).toBe(80 * MiB);
  const data = pattern(4096, 1);
  await device.writeAt(data, 70 * MiB);
  const read = new Uint8Array(4096);
  await device.readExactAt(read, 70 * MiB);
  expect(read).toEqual(data);
});

test("behind the end of a disk that shrank is the end", async () => {
  await using device = await BlockDevice.open(path, { write: true });
  const before = device.geometry.size;
  await resize(16 * MiB);
  expect(await device.readAt(new Uint8Array(4096), 20 * MiB)).toBe(0);
  const error = await device.writeAt(new Uint8Array(4096), 20 * MiB).catch((reason) => reason);
  expect(error).toMatchObject({ code: "ENOSPC" });
  expect(error.hint).toBe(
    `The device has shrunk since it was opened, from ${before} to ${16 * MiB} bytes`,
  );
  expect(await device.size()).toBe(16 * MiB);
});
