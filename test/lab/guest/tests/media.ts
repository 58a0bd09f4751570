// Drives whose medium comes and goes.

import { expect, test } from "bun:test";
import { BlockDevice, listBlockDevices } from "../../../../src/index.ts";
import { ioError } from "../../../support/expect.ts";
import { drive } from "../drives.ts";
import { attribute } from "../find_disk.ts";
import { answer, ask, until } from "../host.ts";

const filled = drive("cd-filled");
const empty = drive("cd-empty");

test("a CD is read, and not written to", async () => {
  await using device = await BlockDevice.open(filled);
  expect(device.geometry.logicalSectorSize).toBe(2048);
  expect(device.geometry.size).toBe(8 << 20);
  const bytes = new Uint8Array(4096);
  await device.readExactAt(bytes, 0);
  expect([...bytes.subarray(0, 4)]).toEqual([0x43, 0x44, 0x30, 0x31]);
  // By the drive itself on Linux 5.10, whose `ro` in sysfs is 0.
  await ioError(BlockDevice.open(filled, { write: true }), "EROFS");
});

test("a drive without a medium is refused by name", async () => {
  await ioError(BlockDevice.open(empty), "ENOMEDIUM");
  const listed = (await listBlockDevices()).find(({ path }) => path === empty);
  expect(listed?.hasMedium).toBe(false);
});

test("a medium that is ejected while it is open is gone; the next one can be opened", async () => {
  const device = await BlockDevice.open(filled);
  await device.readExactAt(new Uint8Array(4096), 0);
  answer(ask("eject", "cd-filled"));
  await ioError(device.invalidateCache(), "ERR_DEVICE_GONE");
  await ioError(device.size(), "ERR_DEVICE_GONE");
  await ioError(device.readAt(new Uint8Array(4096), 65536), "ERR_DEVICE_GONE");
  await device.close();
  await ioError(BlockDevice.open(filled), "ENOMEDIUM");
  answer(ask("insert", "cd-filled"));
  await until(() =>
    BlockDevice.open(filled).then(
      (opened) => opened.close().then(() => true),
      () => false,
    ),
  );
  await using again = await BlockDevice.open(filled);
  expect(again.geometry.size).toBe(8 << 20);
  expect(attribute(filled, "size")).toBe(String((8 << 20) / 512));
});
