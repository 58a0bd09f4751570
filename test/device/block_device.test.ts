// `BlockDevice` on images and on real loop devices: geometry, end, discarding, zeroing, misuse.

import { describe, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename } from "node:path";
import {
  allocBuffer,
  BlockDevice,
  File,
  IoError,
  listBlockDevices,
  Ring,
} from "../../src/index.ts";
import { imageDevice } from "../../src/testing/index.ts";
import { describeUnless } from "../support/conditions.ts";
import { Folder, noLoop, pattern, rejection } from "../support/devices.ts";

const MiB = 2 ** 20;

async function ioRejection(promise: Promise<unknown>): Promise<IoError> {
  const error = await rejection(promise);
  expect(error).toBeInstanceOf(IoError);
  return error as IoError;
}

describe("images", () => {
  test("have the sectors that were asked for and nothing that nobody knows", async () => {
    using folder = new Folder();
    await using device = await BlockDevice.open(folder.zeroes("image", 3 * MiB), {
      write: true,
      sectorSize: 4096,
    });
    expect(device.kind).toBe("regular");
    expect(device.alignment.offset).toBe(4096);
    expect(device.alignment.length).toBe(4096);
    expect(device.geometry).toEqual({
      size: 3 * MiB,
      logicalSectorSize: 4096,
      physicalSectorSize: null,
      minimumIoSize: null,
      optimalIoSize: null,
      maximumTransferSize: null,
      alignmentOffset: null,
      rotational: null,
      readOnly: false,
      model: null,
      serial: null,
    });
    expect(Object.isFrozen(device.geometry)).toBe(true);
  });

  test("default to sectors of 512 bytes, also where the file system wants larger units", async () => {
    using folder = new Folder();
    const path = folder.zeroes("image", MiB);
    await using device = await BlockDevice.open(path, { write: true });
    expect(device.geometry.logicalSectorSize).toBe(512);
    const writes = Array.from({ length: 32 }, (_, sector) =>
      device.writeAt(new Uint8Array(512).fill(sector + 1), sector * 512),
    );
    await Promise.all(writes);
    const content = readFileSync(path);
    for (let sector = 0; sector < 32; sector++) {
      expect(content[sector * 512]).toBe(sector + 1);
      expect(content[sector * 512 + 511]).toBe(sector + 1);
    }
    expect(statSync(path).size).toBe(MiB);
  });

  test("end where the file ends, and follow truncate", async () => {
    using folder = new Folder();
    await using device = await BlockDevice.open(folder.zeroes("image", 8192), { write: true });
    expect(await device.readAt(new Uint8Array(1000), 8000)).toBe(192);
    expect(await device.readAt(new Uint8Array(1000), 2 ** 40)).toBe(0);
    const error = await ioRejection(device.writeAt(new Uint8Array(1024), 7680));
    expect(error.code).toBe("ENOSPC");
    expect(error.transferred).toBe(0);
    expect(error.message).toContain("512 bytes past the end of the device (8192 bytes)");
    expect(await device.size()).toBe(8192);
    await device.syncAll();
    await device.truncate(16384);
    expect(device.geometry.size).toBe(16384);
    expect(await device.writeAt(new Uint8Array(1024), 7680)).toBe(1024);
  });

  test("may be made, and are not held exclusively", async () => {
    using folder = new Folder();
    const path = `${folder.path}/new`;
    const options = { write: true, create: true };
    await using device = await BlockDevice.open(path, options);
    await device.truncate(MiB);
    await using again = await BlockDevice.open(path, options);
    expect(again.geometry.size).toBe(MiB);
  });

  test("discard and writeZeroes give space back and say so", async () => {
    using folder = new Folder();
    const path = folder.zeroes("image", 4 * MiB);
    await using device = await BlockDevice.open(path, { write: true });
    await device.writeAt(pattern(4 * MiB, 1), 0);
    await device.syncAll();
    const before = statSync(path).blocks;
    expect(await device.discard(MiB, MiB)).toEqual({ method: "punch" });
    expect(await device.writeZeroes(2 * MiB, MiB)).toEqual({ method: "punch" });
    await device.syncAll();
    expect(statSync(path).blocks).toBeLessThan(before);
    const content = readFileSync(path);
    const expected = pattern(4 * MiB, 1).fill(0, MiB, 3 * MiB);
    expect(Bun.hash(content)).toBe(Bun.hash(expected));
  });

  test("discard and writeZeroes of ranges longer than one call takes", async () => {
    using folder = new Folder();
    const size = 2 ** 31 + 8192;
    const path = folder.zeroes("image", size);
    await using device = await BlockDevice.open(path, { write: true });
    const places = [2 ** 28, 2 ** 30, 2 ** 31, 2 ** 31 + 4096];
    for (const clear of [
      (from: number, length: number) => device.discard(from, length),
      (from: number, length: number) => device.writeZeroes(from, length),
    ]) {
      for (const at of places) await device.writeAt(allocBuffer(4096).fill(1), at);
      await clear(4096, size - 8192);
      const answer = new Uint8Array(4096);
      for (const at of places) {
        await device.readExactAt(answer, at);
        expect([at, answer[0]]).toEqual([at, at + 4096 === size ? 1 : 0]);
      }
    }
  });

  test("writeZeroes of any range with rmw", async () => {
    using folder = new Folder();
    const path = folder.zeroes("image", MiB);
    await using device = await BlockDevice.open(path, { write: true, unalignedWrites: "rmw" });
    const expected = pattern(MiB, 2);
    await device.writeAt(expected, 0);
    for (const [at, length] of [
      [3, 5],
      [510, 4],
      [1000, 100_000],
      [200_000, 312],
      [MiB - 1, 1],
    ] as const) {
      await device.writeZeroes(at, length);
      expected.fill(0, at, at + length);
    }
    expect(Bun.hash(readFileSync(path))).toBe(Bun.hash(expected));
  });

  test("from a descriptor", async () => {
    using folder = new Folder();
    const path = folder.zeroes("image", 8192);
    const handle = await open(path, "r+");
    try {
      await using device = await BlockDevice.fromFd(handle.fd, { path, sectorSize: 4096 });
      expect(device.geometry.logicalSectorSize).toBe(4096);
      expect(device.geometry.size).toBe(8192);
      expect((await ioRejection(device.writeAt(new Uint8Array(512), 0))).code).toBe(
        "ERR_MISALIGNED",
      );
      expect(await device.writeAt(new Uint8Array(4096).fill(7), 4096)).toBe(4096);
    } finally {
      await handle.close();
    }
    expect(readFileSync(path)[4096]).toBe(7);
  });
});

describe("misuse", () => {
  test("sector sizes that are none", async () => {
    using folder = new Folder();
    const path = folder.zeroes("image", 8192);
    for (const sectorSize of [0, 1, 256, 513, 1000, 131072, -512, 512.5, Number.NaN]) {
      const error = await rejection(BlockDevice.open(path, { sectorSize }));
      expect(error).toBeInstanceOf(RangeError);
      expect(error.message).toContain("options.sectorSize");
    }
    expect(await rejection(BlockDevice.open(path, { sectorSize: "512" as never }))).toBeInstanceOf(
      TypeError,
    );
  });

  test("options that do not exist", async () => {
    const error = await rejection(BlockDevice.open("/dev/null", { sectorsize: 512 } as never));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain("options.sectorsize");
  });

  test("emptying what is not opened for writing", async () => {
    using folder = new Folder();
    const path = folder.zeroes("image", MiB);
    const opening = BlockDevice.open(path, { exclusive: true, truncate: true });
    const plain = File.open(path, { truncate: true });
    expect((await rejection(opening)).message).toBe((await rejection(plain)).message);
    expect(statSync(path).size).toBe(MiB);
  });

  test("what is no device", async () => {
    using folder = new Folder();
    expect((await ioRejection(BlockDevice.open("/dev/zero"))).code).toBe("ENOTBLK");
    // A descriptor that is refused stays its caller's.
    const fd = openSync("/dev/zero", "r");
    const adopting = BlockDevice.fromFd(fd, { ownsFd: true });
    expect((await ioRejection(adopting)).code).toBe("ENOTBLK");
    closeSync(fd);
    expect((await ioRejection(BlockDevice.open(folder.path))).code).toBe("EISDIR");
    const missing = await ioRejection(BlockDevice.open(`${folder.path}/missing`));
    expect(missing.code).toBe("ENOENT");
    expect(missing.path).toBe(`${folder.path}/missing`);
  });

  test("ranges that are not aligned, too long, or nothing", async () => {
    using folder = new Folder();
    await using device = await BlockDevice.open(folder.zeroes("image", 8192), { write: true });
    for (const call of [device.discard, device.writeZeroes]) {
      const run = call.bind(device);
      const misaligned = await ioRejection(run(512, 100));
      expect(misaligned.code).toBe("ERR_MISALIGNED");
      expect(misaligned.message).toContain("length is 100 bytes past a multiple of 512");
      expect((await ioRejection(run(100, 512))).message).toContain("offset is 100 bytes past");
      expect((await ioRejection(run(8192, 512))).code).toBe("ENOSPC");
      expect(await rejection(run(0, 0))).toBeInstanceOf(RangeError);
      expect(await rejection(run(-512, 512))).toBeInstanceOf(RangeError);
      expect(await rejection(run(0, "512" as never))).toBeInstanceOf(TypeError);
    }
    await device.syncAll();
  });

  test("writing what was opened for reading", async () => {
    using folder = new Folder();
    await using device = await BlockDevice.open(folder.zeroes("image", 8192));
    const error = await ioRejection(device.writeAt(new Uint8Array(512), 0));
    expect(error.code).toBe("EBADF");
    expect(error.hint).toContain("write: true");
    expect((await ioRejection(device.writeZeroes(0, 512))).code).toBe("EBADF");
  });

  test("a closed device", async () => {
    using folder = new Folder();
    const device = await BlockDevice.open(folder.zeroes("image", 8192), { write: true });
    const discarding = device.discard(0, 4096);
    await device.close();
    await discarding;
    for (const late of [device.discard(0, 512), device.writeZeroes(0, 512), device.size()]) {
      expect((await ioRejection(late)).code).toBe("EBADF");
    }
    expect((await ioRejection(device.rereadPartitions())).code).toBe("EBADF");
  });

  test("the constructor", () => {
    expect(() => new BlockDevice({} as never)).toThrow(TypeError);
  });
});

for (const sectorSize of [512, 4096]) {
  describeUnless(noLoop, `loop device, sectors of ${sectorSize}`, () => {
    test("geometry", async () => {
      await using device = await imageDevice({ size: 8 * MiB, sectorSize });
      expect(device).toBeInstanceOf(BlockDevice);
      expect(device.kind).toBe("disk");
      expect(device.alignment.offset).toBe(sectorSize);
      const { geometry } = device;
      expect(geometry.size).toBe(8 * MiB);
      expect(geometry.logicalSectorSize).toBe(sectorSize);
      expect(geometry.physicalSectorSize).toBe(sectorSize);
      expect(geometry.minimumIoSize).toBe(sectorSize);
      expect(geometry.optimalIoSize).toBeNull();
      expect(geometry.alignmentOffset).toBe(0);
      expect(geometry.readOnly).toBe(false);
      expect(geometry.model).toBeNull();
      expect(geometry.serial).toBeNull();
      const name = basename(device.path ?? "");
      const kilobytes = readFileSync(`/sys/block/${name}/queue/max_sectors_kb`, "utf8");
      expect(geometry.maximumTransferSize).toBe(Number(kilobytes) * 1024);
      expect(await device.size()).toBe(8 * MiB);
      const listed = (await listBlockDevices()).find(({ path }) => path === device.path);
      expect(listed).toMatchObject({ size: 8 * MiB, logicalSectorSize: sectorSize });
      expect(listed).toMatchObject({ removable: false, transport: null, system: false });
      expect(listed).toMatchObject({ mounts: [], holders: [], partitions: [] });
    });

    test("ends where it ends", async () => {
      await using device = await imageDevice({ size: MiB, sectorSize });
      expect(await device.readAt(new Uint8Array(3 * sectorSize), MiB - sectorSize - 7)).toBe(
        sectorSize + 7,
      );
      expect(await device.readAt(new Uint8Array(10), MiB)).toBe(0);
      expect(await device.readAt(new Uint8Array(10), 2n ** 62n)).toBe(0);
      expect((await ioRejection(device.readExactAt(new Uint8Array(10), MiB - 9))).code).toBe(
        "ERR_END_OF_FILE",
      );
      const bytes = allocBuffer(2 * sectorSize).fill(1);
      for (const write of [
        device.writeAt(bytes, MiB - sectorSize),
        device.writeAt(bytes, MiB),
        device.writevAt([bytes.subarray(0, 100), bytes.subarray(100)], MiB - sectorSize),
      ]) {
        const error = await ioRejection(write);
        expect(error.code).toBe("ENOSPC");
        expect(error.transferred).toBe(0);
      }
      const last = new Uint8Array(sectorSize);
      await device.readExactAt(last, MiB - sectorSize);
      expect(last.every((byte) => byte === 0)).toBe(true);
      await device.syncAll();
    });

    test("discard and writeZeroes", async () => {
      await using device = await imageDevice({ size: 4 * MiB, sectorSize });
      const expected = pattern(4 * MiB, 3);
      await device.writeAt(expected, 0);
      expect(await device.discard(MiB, MiB)).toEqual({ method: "discard" });
      const { method } = await device.writeZeroes(2 * MiB + sectorSize, sectorSize * 3);
      expect(["zeroout", "punch", "write"]).toContain(method);
      await device.syncAll();
      await device.invalidateCache();
      const content = new Uint8Array(4 * MiB);
      await device.readExactAt(content, 0);
      expected.fill(0, MiB, 2 * MiB);
      expected.fill(0, 2 * MiB + sectorSize, 2 * MiB + 4 * sectorSize);
      // A loop device punches holes: discarded ranges read as zeroes.
      expect(Bun.hash(content)).toBe(Bun.hash(expected));
    });

    test("requests above the maximum transfer are split", async () => {
      await using device = await imageDevice({ size: 8 * MiB, sectorSize });
      const limit = `/sys/block/${basename(device.path ?? "")}/queue/max_sectors_kb`;
      const before = readFileSync(limit, "utf8");
      using stack = new DisposableStack();
      // The next image of this loop device would inherit it.
      stack.defer(() => writeFileSync(limit, before));
      writeFileSync(limit, "64");
      await using again = await BlockDevice.open(device.path ?? "", { direct: true });
      expect(again.geometry.maximumTransferSize).toBe(64 * 1024);
      const content = allocBuffer(5 * MiB);
      content.set(pattern(5 * MiB, 4));
      expect(await device.writeAt(content, sectorSize)).toBe(5 * MiB);
      const answer = allocBuffer(5 * MiB);
      expect(await again.readAt(answer, sectorSize)).toBe(5 * MiB);
      expect(Bun.hash(answer)).toBe(Bun.hash(content));
    });

    test("the sector size may be named if it is right", async () => {
      await using device = await imageDevice({ size: MiB, sectorSize });
      await using same = await BlockDevice.open(device.path ?? "", { sectorSize });
      expect(same.geometry.logicalSectorSize).toBe(sectorSize);
      const error = await rejection(BlockDevice.open(device.path ?? "", { sectorSize: 1024 }));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toContain(`sectors of this device have ${sectorSize} bytes`);
    });

    test("buffered, nothing has to be aligned", async () => {
      await using device = await imageDevice({ size: MiB, sectorSize, direct: false });
      expect(device.alignment).toEqual({ memory: 1, offset: 1, length: 1 });
      expect(await device.writeAt(new Uint8Array([1, 2, 3]), 1001)).toBe(3);
      expect((await ioRejection(device.writeAt(new Uint8Array(10), MiB - 5))).transferred).toBe(0);
      await device.syncAll();
      await device.invalidateCache();
      const answer = new Uint8Array(5);
      await device.readExactAt(answer, 1000);
      expect([...answer]).toEqual([0, 1, 2, 3, 0]);
    });

    test("an open with dsync", async () => {
      await using device = await imageDevice({ size: MiB, sectorSize, exclusive: false });
      await using synced = await BlockDevice.open(device.path ?? "", { write: true, dsync: true });
      expect(await synced.writeAt(new Uint8Array(sectorSize).fill(9), 0)).toBe(sectorSize);
    });
  });
}

describeUnless(noLoop, "imageDevice", () => {
  test("detaches when it is closed, also after a failure", async () => {
    let backingFile = "";
    let image = "";
    const failed = (async () => {
      await using device = await imageDevice({ size: MiB });
      backingFile = `/sys/block/${basename(device.path ?? "")}/loop/backing_file`;
      image = await Bun.file(backingFile).text();
      throw new Error("the test has failed");
    })();
    await expect(failed).rejects.toThrow("the test has failed");
    // Somebody else may have got the number since; then its image is another one.
    expect(image).toContain("bun-aio-image-");
    const backing = await Bun.file(backingFile)
      .text()
      .catch(() => "");
    expect(backing).not.toBe(image);
    const closed = await imageDevice({ size: MiB });
    await closed.close();
    await closed.close();
  });

  test("two have nothing in common", async () => {
    await using first = await imageDevice({ size: MiB });
    await using second = await imageDevice({ size: MiB });
    expect(first.path).not.toBe(second.path);
    await first.writeAt(new Uint8Array(512).fill(1), 0);
    const answer = new Uint8Array(512);
    await second.readExactAt(answer, 0);
    expect(answer.every((byte) => byte === 0)).toBe(true);
  });

  test("refuses what cannot be", async () => {
    expect(await rejection(imageDevice({ size: 1000 }))).toBeInstanceOf(RangeError);
    expect(await rejection(imageDevice({ size: MiB, sectorSize: 1000 }))).toBeInstanceOf(
      RangeError,
    );
    expect(await rejection(imageDevice({ size: MiB, sector: 512 } as never))).toBeInstanceOf(
      TypeError,
    );
    expect(await rejection(imageDevice(undefined as never))).toBeInstanceOf(TypeError);
    const missing = await rejection(imageDevice({ size: MiB, directory: "/no/such/folder" }));
    expect(missing.code).toBe("ENOENT");
  });
});

test("the ring is the one that was asked for", async () => {
  using folder = new Folder();
  await using ring = Ring.open();
  await using device = await BlockDevice.open(folder.zeroes("image", 8192), { ring });
  expect(device.ring).toBe(ring);
  expect(device).toBeInstanceOf(File);
});
