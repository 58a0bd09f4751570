// Disks that fail: bad sectors, refused writes, a flush that fails, write protection.

import { expect, test } from "bun:test";
import { BlockDevice, copy, File } from "../../../../src/index.ts";
import { pattern } from "../../../support/devices.ts";
import { ioError } from "../../../support/expect.ts";
import { diskPath } from "../find_disk.ts";

const SECTOR = 512;
/** As test/lab/host/disks.ts injects them. */
const BAD = { read: 2048, write: 4096, full: 8192, zeroes: 6144 };

test("a bad sector fails the read that touches it, and says where", async () => {
  await using device = await BlockDevice.open(diskPath("scsi-bad"));
  const offset = BAD.read * SECTOR - 32768;
  const error = await ioError(device.readAt(new Uint8Array(65536), offset), "EIO");
  expect(error).toMatchObject({ syscall: "read", path: device.path, offset, length: 65536 });
  for (let sector = BAD.read - 4; sector < BAD.read + 4; sector++) {
    const read = device.readAt(new Uint8Array(SECTOR), sector * SECTOR);
    if (sector === BAD.read) await ioError(read, "EIO");
    else expect(await read).toBe(SECTOR);
  }
});

test("a failed write makes the sync fail, until the disk is opened again", async () => {
  {
    await using device = await BlockDevice.open(diskPath("scsi-bad"), { write: true });
    const data = pattern(65536, 1);
    const write = await ioError(device.writeAt(data, BAD.write * SECTOR - 32768), "EIO");
    const sync = await ioError(device.syncAll(), "EIO");
    expect(sync.cause).toBe(write);
    await ioError(device.syncData(), "EIO");
    await ioError(device.writeAt(data.subarray(0, 4096), BAD.full * SECTOR), "ENOSPC");
    // Kernels before 6.10 or so write zeroes where the disk fails to make them.
    const zeroed = device.writeZeroes(BAD.zeroes * SECTOR, 65536);
    const outcome = await zeroed.then(
      ({ method }) => method,
      ({ code }) => code,
    );
    expect(["zeroout", "EIO"]).toContain(outcome);
  }
  await using again = await BlockDevice.open(diskPath("scsi-bad"), { write: true });
  await again.writeAt(pattern(4096, 2), 0);
  await again.syncAll();
});

test("a copy leaves out a bad sector, and says which", async () => {
  await using source = await BlockDevice.open(diskPath("scsi-bad"));
  await using target = await File.open("/tmp/rescued", {
    write: true,
    create: true,
    truncate: true,
  });
  await ioError(copy(source, target, { length: 2 << 20 }), "EIO");
  const result = await copy(source, target, { length: 2 << 20, onReadError: "skip" });
  expect(result.readErrors).toMatchObject([
    { offset: BAD.read * SECTOR, length: SECTOR, code: "EIO" },
  ]);
});

test("a flush that fails rejects the sync and every later one", async () => {
  {
    await using device = await BlockDevice.open(diskPath("scsi-no-flush"), { write: true });
    await device.writeAt(pattern(4096, 1), 0);
    await ioError(device.syncAll(), "EIO");
    await ioError(device.syncData(), "EIO");
    await ioError(device.syncAll(), "EIO");
  }
  const options = { write: true, dsync: true };
  await using device = await BlockDevice.open(diskPath("scsi-no-flush"), options);
  await ioError(device.writeAt(pattern(4096, 1), 0), "EIO");
});

test("a copy to a disk that cannot flush fails", async () => {
  await using source = await BlockDevice.open(diskPath("nvme-512"));
  await using target = await BlockDevice.open(diskPath("scsi-no-flush"), { write: true });
  await ioError(copy(source, target, { length: 1 << 20 }), "EIO");
});

test("a write-protected disk is refused for writing at once", async () => {
  const path = diskPath("scsi-read-only");
  await ioError(BlockDevice.open(path, { write: true }), "EROFS");
  await ioError(File.open(path, { write: true }), "EROFS");
  await using device = await BlockDevice.open(path);
  expect(device.geometry.readOnly).toBe(true);
  await ioError(device.writeAt(new Uint8Array(SECTOR), 0), "EBADF");
  await ioError(device.discard(0, 4096), "EBADF");
});
