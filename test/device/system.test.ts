// Block devices and the rest of the system: mounts, file systems, partitions, full and vanished media.
// All of it needs root and loop devices, and some of it tools of util-linux and e2fsprogs.

import { afterAll, expect, test } from "bun:test";
import { readFileSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { allocBuffer, BlockDevice, File, IoError, listBlockDevices } from "../../src/index.ts";
import { imageDevice } from "../../src/testing/index.ts";
import { describeUnless, testUnless, without } from "../support/conditions.ts";
import { Folder, noLoop, pattern, rejection } from "../support/devices.ts";

const MiB = 2 ** 20;

/** Why there are no loop devices, or not these programs. */
function lacking(...programs: string[]): string | undefined {
  return noLoop ?? without(...programs);
}

/** Runs a command, and gives back what it printed. */
async function run(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe" });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${command.join(" ")} exits with ${code}:\n${out}${err}`);
  return out;
}

/** Something mounted, until it is disposed of. */
class Mounted implements AsyncDisposable {
  readonly path: string;
  readonly #folder: Folder;

  private constructor(folder: Folder, path: string) {
    this.#folder = folder;
    this.path = path;
  }

  static async at(...command: string[]): Promise<Mounted> {
    const folder = new Folder();
    try {
      await run("mount", ...command, folder.path);
    } catch (error) {
      folder[Symbol.dispose]();
      throw error;
    }
    return new Mounted(folder, folder.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("umount", this.path);
    this.#folder[Symbol.dispose]();
  }
}

async function ioRejection(promise: Promise<unknown>): Promise<IoError> {
  const error = await rejection(promise);
  expect(error).toBeInstanceOf(IoError);
  return error as IoError;
}

/** A file system image, made by e2fsprogs. */
async function ext4(folder: Folder, bytes: number): Promise<string> {
  const path = folder.zeroes("ext4", bytes);
  await run("mkfs.ext4", "-q", "-F", "-b", "4096", path);
  return path;
}

async function writeImage(device: BlockDevice, image: string): Promise<Uint8Array> {
  const content = new Uint8Array(await Bun.file(image).arrayBuffer());
  const writes: Promise<number>[] = [];
  // In pieces of odd sizes, as vectors, many at once.
  const chunk = 384 * 4096;
  for (let at = 0; at < content.byteLength; at += chunk) {
    const bytes = content.subarray(at, at + chunk);
    const cut = Math.floor(bytes.byteLength / 3) + 1;
    writes.push(device.writevAt([bytes.subarray(0, cut), bytes.subarray(cut)], at));
  }
  await Promise.all(writes);
  await device.syncAll();
  return content;
}

for (const sectorSize of [512, 4096]) {
  describeUnless(
    lacking("mkfs.ext4", "fsck.ext4", "dd", "sha256sum"),
    `an ext4 image, sectors of ${sectorSize}`,
    () => {
      test("fsck and an independent dd agree", async () => {
        using folder = new Folder();
        const image = await ext4(folder, 32 * MiB);
        await using device = await imageDevice({ size: 32 * MiB, sectorSize });
        const content = await writeImage(device, image);
        const path = device.path ?? "";
        await run("fsck.ext4", "-fn", path);
        const copy = join(folder.path, "copy");
        await run("dd", `if=${path}`, `of=${copy}`, "bs=1M", "iflag=direct", "status=none");
        const [digest] = (await run("sha256sum", copy)).split(" ");
        expect(digest).toBe(new Bun.CryptoHasher("sha256").update(content).digest("hex"));
      });
    },
  );
}

describeUnless(lacking("mkfs.ext4", "mount", "umount"), "a mounted device", () => {
  test("is refused for writing, and the error names the mount point", async () => {
    using folder = new Folder();
    const image = await ext4(folder, 16 * MiB);
    await using device = await imageDevice({ size: 16 * MiB, exclusive: false });
    await writeImage(device, image);
    const path = device.path ?? "";
    await using mounted = await Mounted.at(path);
    const error = await ioRejection(BlockDevice.open(path, { write: true }));
    expect(error.code).toBe("EBUSY");
    expect(error.path).toBe(path);
    expect(error.hint).toBe(`${path} is mounted at ${mounted.path}; unmount it first`);
    // Reading does not disturb anybody.
    await using reader = await BlockDevice.open(path);
    expect(await reader.readAt(new Uint8Array(10), 0)).toBe(10);
    const listed = (await listBlockDevices()).find((entry) => entry.path === path);
    expect(listed?.mounts).toEqual([mounted.path]);
    expect(listed?.system).toBe(false);
  });

  test("cannot be mounted while it is open for writing", async () => {
    using folder = new Folder();
    const image = await ext4(folder, 16 * MiB);
    await using device = await imageDevice({ size: 16 * MiB });
    await writeImage(device, image);
    await expect(Mounted.at(device.path ?? "")).rejects.toThrow("exits with");
  });

  test("an image with smaller sectors than its file system has is written in units of those", async () => {
    using folder = new Folder();
    const options = { size: 16 * MiB, sectorSize: 4096, exclusive: false };
    await using device = await imageDevice(options);
    await writeImage(device, await ext4(folder, 16 * MiB));
    await using mounted = await Mounted.at(device.path ?? "");
    const path = join(mounted.path, "image");
    const contents = pattern(16_384, 1);
    writeFileSync(path, contents);
    await using image = await BlockDevice.open(path, { write: true, sectorSize: 512 });
    expect(image.alignment).toMatchObject({ offset: 512, length: 512 });
    expect(await image.writeAt(allocBuffer(1024).fill(2), 3584)).toBe(1024);
    const found = allocBuffer(512);
    expect(await image.readAt(found, 4096)).toBe(512);
    expect(found).toEqual(allocBuffer(512).fill(2));
    expect(Buffer.compare(readFileSync(path), contents.fill(2, 3584, 4608))).toBe(0);
  });

  test("a direct file that could not grow is no longer than what was asked for", async () => {
    using folder = new Folder();
    await using device = await imageDevice({ size: 16 * MiB, exclusive: false });
    await writeImage(device, await ext4(folder, 16 * MiB));
    await using mounted = await Mounted.at(device.path ?? "");
    const path = join(mounted.path, "file");
    const options = { write: true, create: true, direct: true, unalignedWrites: "rmw" } as const;
    await using file = await File.open(path, options);
    // Only the last half has room: of the two requests the second succeeds, padded to whole sectors.
    const half = 512 * 1024;
    await run("fallocate", "--keep-size", "--offset", `${half}`, "--length", `${half}`, path);
    const rest = Bun.write(join(mounted.path, "rest"), new Uint8Array(32 * MiB));
    await expect(rest).rejects.toThrow("ENOSPC");
    const error = await ioRejection(file.writeAt(new Uint8Array(2 * half - 100), 0));
    expect(error.code).toBe("ENOSPC");
    expect(await file.size()).toBe(2 * half - 100);
  });
});

describeUnless(noLoop, "a device that is held", () => {
  test("by this process", async () => {
    await using device = await imageDevice({ size: MiB });
    const error = await ioRejection(BlockDevice.open(device.path ?? "", { write: true }));
    expect(error.code).toBe("EBUSY");
    expect(error.hint).toContain("is open in this process");
    // O_CREAT would give O_EXCL another meaning: the device is held all the same.
    const created = BlockDevice.open(device.path ?? "", { write: true, create: true });
    expect((await ioRejection(created)).code).toBe("EBUSY");
    // Without claiming it for oneself it can be had.
    const options = { write: true, exclusive: false };
    await using second = await BlockDevice.open(device.path ?? "", options);
    expect(second.geometry.size).toBe(MiB);
  });

  testUnless(lacking("losetup"), "by a loop device, which the kernel does not count", async () => {
    await using device = await imageDevice({ size: MiB, exclusive: false });
    const path = device.path ?? "";
    const upper = (await run("losetup", "--find", "--show", path)).trim();
    try {
      const error = await ioRejection(BlockDevice.open(path, { write: true }));
      expect(error.code).toBe("EBUSY");
      expect(error.errno).toBe(-16);
      expect(error.hint).toBe(`${path} is held by ${upper}`);
      await using reader = await BlockDevice.open(path);
      expect(reader.geometry.size).toBe(MiB);
      await using writer = await BlockDevice.open(path, { write: true, exclusive: false });
      expect(writer.geometry.size).toBe(MiB);
    } finally {
      await run("losetup", "--detach", upper);
    }
    await using again = await BlockDevice.open(path, { write: true });
    expect(again.geometry.size).toBe(MiB);
  });

  testUnless(
    lacking("mkswap", "swapon", "swapoff"),
    "as swap space, also by a node of another name",
    async () => {
      await using device = await imageDevice({ size: MiB, exclusive: false });
      const path = device.path ?? "";
      await run("mkswap", path);
      using folder = new Folder();
      const other = join(folder.path, "node");
      await run("mknod", other, "b", "7", path.replace("/dev/loop", ""));
      for (const node of [path, other]) {
        await run("swapon", node);
        try {
          const error = await ioRejection(BlockDevice.open(path, { write: true }));
          expect(error.code).toBe("EBUSY");
          expect(error.hint).toBe(`${path} is used as swap space; see swapoff(8)`);
          const listed = (await listBlockDevices()).find((entry) => entry.path === path);
          expect(listed?.system).toBe(true);
        } finally {
          await run("swapoff", node);
        }
      }
    },
  );
});

describeUnless(lacking("blockdev"), "a read-only device", () => {
  test("is refused for writing when it is opened", async () => {
    await using device = await imageDevice({ size: MiB, exclusive: false });
    await using stack = new AsyncDisposableStack();
    // The kernel remembers it for the next image of this loop device.
    stack.defer(async () => void (await run("blockdev", "--setrw", device.path ?? "")));
    await run("blockdev", "--setro", device.path ?? "");
    const error = await ioRejection(BlockDevice.open(device.path ?? "", { write: true }));
    expect(["EROFS", "EACCES", "EPERM"]).toContain(error.code);
    expect(error.message).toContain("read-only");
    await using reader = await BlockDevice.open(device.path ?? "");
    expect(reader.geometry.readOnly).toBe(true);
    const late = await ioRejection(device.writeAt(allocBuffer(512), 0));
    expect(["EROFS", "EACCES", "EPERM"]).toContain(late.code);
    expect(late.hint).toContain("read-only");
  });
});

/** An MBR with one Linux partition from 1 MiB on. */
function partitionTable(sectors: number): Uint8Array {
  const table = new Uint8Array(512);
  const view = new DataView(table.buffer);
  view.setUint8(446 + 4, 0x83);
  view.setUint32(446 + 8, 2048, true);
  view.setUint32(446 + 12, sectors, true);
  table.set([0x55, 0xaa], 510);
  return table;
}

describeUnless(lacking("mkfs.ext4", "mount", "umount", "addpart"), "partitions", () => {
  test("appear after rereadPartitions, which a mounted one prevents by name", async () => {
    await using device = await imageDevice({ size: 32 * MiB, exclusive: false });
    const path = device.path ?? "";
    await device.writeAt(partitionTable(32768), 0);
    await device.syncAll();
    await device.rereadPartitions();
    const part = `${path}p1`;
    const list = async () => (await listBlockDevices()).find((entry) => entry.path === path);
    if ((await list())?.partitions.length === 0) {
      console.error("this kernel reads no partition tables: the partition is added by addpart(8)");
      await run("addpart", path, "1", "2048", "32768");
    }
    const listed = await list();
    expect(listed?.partitions.map((entry) => [entry.path, entry.size])).toEqual([
      [part, 32768 * 512],
    ]);
    {
      await using partition = await BlockDevice.open(part, { write: true });
      expect(partition.geometry.size).toBe(32768 * 512);
      expect(partition.geometry.maximumTransferSize).toBe(device.geometry.maximumTransferSize);
      await partition.writeAt(allocBuffer(512).fill(5), 0);
    }
    const answer = new Uint8Array(512);
    await device.readExactAt(answer, MiB);
    expect(answer.every((byte) => byte === 5)).toBe(true);

    await run("mkfs.ext4", "-q", "-F", part);
    {
      await using mounted = await Mounted.at(part);
      const hint = `${part} is mounted at ${mounted.path}; unmount it first`;
      const error = await ioRejection(device.rereadPartitions());
      expect(error.code).toBe("EBUSY");
      expect(error.hint).toBe(hint);
      // By whatever name it was opened, and whether that is still there.
      using folder = new Folder();
      const link = join(folder.path, "link");
      symlinkSync(path, link);
      await using linked = await BlockDevice.open(link);
      unlinkSync(link);
      expect((await ioRejection(linked.rereadPartitions())).hint).toBe(hint);
      // Who has a partition has the disk.
      const disk = await ioRejection(BlockDevice.open(path, { write: true }));
      expect(disk.code).toBe("EBUSY");
      expect(disk.hint).toBe(hint);
    }
    await device.writeAt(new Uint8Array(512), 0);
    await device.rereadPartitions();
    expect((await list())?.partitions).toEqual([]);
  });

  test("are no matter for images", async () => {
    using folder = new Folder();
    await using image = await BlockDevice.open(folder.zeroes("image", 8192), { write: true });
    const error = await ioRejection(image.rereadPartitions());
    expect(error.hint).toContain("An image has no partitions");
  });
});

describeUnless(lacking("mount", "umount"), "a device whose medium is full", () => {
  test("direct: errors on exactly the operations that failed", async () => {
    await using tmpfs = await Mounted.at("-t", "tmpfs", "-o", "size=4m", "none");
    await using device = await imageDevice({ size: 16 * MiB, directory: tmpfs.path });
    const chunk = 256 * 1024;
    const content = (at: number): Uint8Array => {
      const out = allocBuffer(chunk);
      out.set(pattern(chunk, at));
      return out;
    };
    const offsets = Array.from({ length: (8 * MiB) / chunk }, (_, index) => index * chunk);
    const fitting = offsets.filter((at) => at < 4 * MiB);
    // One after the other, so that the medium is full between two of them: where a request fits in part, the
    // loop driver reports a success and loses the rest (lo_complete_rq() in drivers/block/loop.c looks at
    // short reads only; the same with dd).
    for (const at of fitting) expect(await device.writeAt(content(at), at)).toBe(chunk);
    const others = offsets.filter((at) => at >= 4 * MiB);
    const errors = await Promise.all(
      others.map((at) => ioRejection(device.writeAt(content(at), at))),
    );
    errors.forEach((failed, index) => {
      expect(["EIO", "ENOSPC"]).toContain(failed.code);
      expect(failed).toMatchObject({ offset: others[index] as number, length: chunk });
    });
    const answer = new Uint8Array(chunk);
    for (const at of fitting) {
      await device.readExactAt(answer, at);
      expect(Bun.hash(answer)).toBe(Bun.hash(content(at)));
    }
    const error = await ioRejection(device.syncAll());
    expect(error.cause).toBeInstanceOf(IoError);
  });

  test("buffered: the sync rejects, and goes on rejecting", async () => {
    await using tmpfs = await Mounted.at("-t", "tmpfs", "-o", "size=4m", "none");
    const options = { size: 16 * MiB, directory: tmpfs.path, direct: false };
    await using device = await imageDevice(options);
    for (let at = 0; at < 8 * MiB; at += MiB) {
      // Writing back may begin, and fail, before the sync; then a write may say so.
      await device.writeAt(pattern(MiB, at), at).catch((error) => {
        expect(error).toBeInstanceOf(IoError);
      });
    }
    const first = await ioRejection(device.syncAll());
    expect(["EIO", "ENOSPC"]).toContain(first.code);
    expect(["EIO", "ENOSPC"]).toContain((await ioRejection(device.syncData())).code);
  });

  test("writeZeroes writes where the file system can do nothing else", async () => {
    await using ramfs = await Mounted.at("-t", "ramfs", "none");
    const path = join(ramfs.path, "image");
    writeFileSync(path, pattern(3 * MiB, 1));
    await using image = await BlockDevice.open(path, { write: true });
    expect(await image.writeZeroes(512, 2 * MiB + 512)).toEqual({ method: "write" });
    const expected = pattern(3 * MiB, 1).fill(0, 512, 2 * MiB + 1024);
    const content = await Bun.file(path).arrayBuffer();
    expect(Bun.hash(content)).toBe(Bun.hash(expected));
    const error = await ioRejection(image.discard(0, 512));
    expect(error.code).toBe("ENOTSUP");
    // libuv says "on socket", whatever it was.
    expect(error.message).toStartWith("ENOTSUP: operation not supported, discard");
  });
});

testUnless(lacking("losetup"), "after invalidateCache reads come from the medium", async () => {
  using folder = new Folder();
  const image = folder.zeroes("image", MiB);
  const path = (await run("losetup", "--find", "--show", image)).trim();
  try {
    await using device = await BlockDevice.open(path, { direct: false });
    const answer = new Uint8Array(512);
    await device.readExactAt(answer, 0);
    writeFileSync(image, new Uint8Array(MiB).fill(7));
    await device.readExactAt(answer, 0);
    expect(answer[0]).toBe(0);
    await device.invalidateCache();
    await device.readExactAt(answer, 0);
    expect(answer[0]).toBe(7);
  } finally {
    await run("losetup", "-d", path);
  }
});

describeUnless(lacking("losetup"), "a device that vanishes", () => {
  // The kernel sets the capacity of a disk that was unplugged to 0. A loop device does the same when
  // its image has become empty and it looks again.
  async function unplug(path: string): Promise<void> {
    const image = (await run("losetup", "-nO", "BACK-FILE", path)).trim();
    truncateSync(image.replace(" (deleted)", ""), 0);
    await run("losetup", "-c", path);
  }

  const folder = new Folder();
  afterAll(() => folder[Symbol.dispose]());

  /** A loop device over a file that has a name. */
  async function attached(): Promise<{ path: string; detach(): Promise<void> }> {
    const image = folder.zeroes(`image-${crypto.randomUUID()}`, 8 * MiB);
    const path = (await run("losetup", "--find", "--show", image)).trim();
    return { path, detach: async () => void (await run("losetup", "-d", path)) };
  }

  test("makes everything in flight and later settle with ERR_DEVICE_GONE", async () => {
    const loop = await attached();
    try {
      await using device = await BlockDevice.open(loop.path, { write: true });
      await device.writeAt(allocBuffer(4096).fill(1), 0);
      const inFlight = Array.from({ length: 64 }, (_, index) =>
        device.readAt(allocBuffer(65536), index * 65536),
      );
      const settled = Promise.allSettled(inFlight);
      await unplug(loop.path);
      await settled;
      const calls = [
        device.readAt(allocBuffer(4096), 0),
        device.readExactAt(new Uint8Array(4096), 4096),
        device.readAt(new Uint8Array(100), 7),
        device.readvAt([new Uint8Array(100), new Uint8Array(412)], 512),
        device.writeAt(allocBuffer(4096), 0),
        device.writevAt([new Uint8Array(100), new Uint8Array(412)], 512),
        device.discard(0, 4096),
        device.writeZeroes(0, 4096),
        device.size(),
        // Writes have failed: their data is not on the medium.
        device.syncAll(),
      ];
      for (const error of await Promise.all(calls.map(ioRejection))) {
        expect(error.code).toBe("ERR_DEVICE_GONE");
        expect(error.path).toBe(loop.path);
        expect(error.cause).toBeInstanceOf(IoError);
      }
      // Having asked for the size changes nothing about what later calls say.
      expect((await ioRejection(device.writeAt(allocBuffer(4096), 0))).code).toBe(
        "ERR_DEVICE_GONE",
      );
      expect((await ioRejection(device.syncData())).code).toBe("ERR_DEVICE_GONE");
      expect(device.geometry.size).toBe(8 * MiB);
      expect(basename(loop.path)).toStartWith("loop");
    } finally {
      await loop.detach();
    }
  });
});

testUnless(lacking("losetup"), "a device that ends within a sector says so", async () => {
  using folder = new Folder();
  const image = folder.zeroes("image", 9 * 512);
  const path = (await run("losetup", "--find", "--show", "--sector-size", "4096", image)).trim();
  try {
    await using device = await BlockDevice.open(path, { write: true, unalignedWrites: "rmw" });
    expect(device.geometry).toMatchObject({ size: 4608, logicalSectorSize: 4096 });
    expect(await device.writeAt(new Uint8Array(100).fill(7), 3996)).toBe(100);
    const whole = new Uint8Array(4096);
    expect(await device.readAt(whole, 0)).toBe(4096);
    expect(whole.indexOf(7)).toBe(3996);
    const read = await ioRejection(device.readAt(new Uint8Array(4608), 0));
    const write = await ioRejection(device.writeAt(new Uint8Array(1), 4100));
    for (const error of [read, write]) {
      expect(error.code).toBe("EINVAL");
      expect(error.hint).toContain("its last 512 bytes");
    }
  } finally {
    await run("losetup", "-d", path);
  }
});
