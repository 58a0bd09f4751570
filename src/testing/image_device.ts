// `imageDevice`: a real kernel block device for tests, over a temporary file that is unlinked at once. On Linux a
// loop device that detaches itself when its last descriptor is closed, however the test ends. On FreeBSD a memory
// disk, which has no such mode: `close` detaches it.

import { accessSync, constants, existsSync } from "node:fs";
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { argumentRange, argumentType } from "../common/argument_errors.ts";
import { checkInteger, checkOptions } from "../common/arguments.ts";
import { BlockDevice } from "../device/block_device.ts";
import { type BlockDeviceOptions, openInit } from "../device/open_device.ts";
import { IoError } from "../errors/io_error.ts";
import { statusError } from "../errors/status.ts";
import * as abi from "../native/abi.gen.ts";
import type { Proactor } from "../ring/proactor.ts";
import { proactorOf, Ring } from "../ring/ring.ts";
import { type AttachedImage, attachMd, MDCONFIG } from "./md_device.ts";
import { OwningDevice } from "./owning_device.ts";

/** Size, sectors and place of an image device, and how it is opened. */
export interface ImageDeviceOptions {
  /** Size in bytes; a multiple of `sectorSize`. */
  size: number;
  /** Bytes of a logical sector: 512 (the default), 1024, 2048 or 4096. */
  sectorSize?: number | undefined;
  /** Folder for the image. Default: the system's folder for temporary files. */
  directory?: string | undefined;
  /** As for `BlockDevice.open`. Default true. */
  direct?: boolean | undefined;
  /** As for `BlockDevice.open`. Default true; pass false if something else must mount the device. */
  exclusive?: boolean | undefined;
  /** As for `BlockDevice.open`. */
  unalignedWrites?: "reject" | "rmw" | undefined;
}

const OPTION_NAMES = ["size", "sectorSize", "directory", "direct", "exclusive", "unalignedWrites"];
const CONTROL = "/dev/loop-control";

/** The type of `imageDevice`. */
export interface ImageDeviceFunction {
  (options: ImageDeviceOptions): Promise<BlockDevice>;
  /** Why no image device can be made here; undefined if one can. */
  unavailable(): string | undefined;
}

/**
 * A block device of the kernel, full of zeroes, open for reading and writing; it disappears when it is closed.
 * Needs root. For `test.skipIf(imageDevice.unavailable() !== undefined)`:
 *
 * @example
 * ```ts root
 * import { allocBuffer } from "bun-aio";
 * import { imageDevice } from "bun-aio/testing";
 *
 * await using device = await imageDevice({ size: 64 << 20, sectorSize: 4096 });
 * await device.writeAt(allocBuffer(4096).fill(1), 0);
 * ```
 */
export const imageDevice: ImageDeviceFunction = Object.assign(makeImageDevice, { unavailable });

async function makeImageDevice(options: ImageDeviceOptions): Promise<BlockDevice> {
  checkOptions("imageDevice", options, OPTION_NAMES);
  if (options === undefined) throw argumentType("options", "an object with size", options);
  const { directory, size: wanted, sectorSize, ...rest } = options;
  const sector = checkInteger("options.sectorSize", sectorSize ?? 512, 512, 4096);
  if (!Number.isInteger(Math.log2(sector))) {
    throw argumentRange("options.sectorSize", "512, 1024, 2048 or 4096", sectorSize);
  }
  const size = checkInteger("options.size", wanted, sector, Number.MAX_SAFE_INTEGER);
  if (size % sector !== 0) {
    throw argumentRange("options.size", `a multiple of the sector size (${sector})`, size);
  }
  const reason = unavailable();
  if (reason !== undefined) {
    throw new IoError("ENOTSUP", { reason: `no image device: ${reason}`, syscall: "ioctl" });
  }
  const open = { ...rest, read: true, write: true };
  if (process.platform === "freebsd") return mdDevice(directory ?? tmpdir(), size, sector, open);
  const image = await temporaryImage(directory ?? tmpdir(), size);
  try {
    await image.unlink();
    const proactor = proactorOf(Ring.default());
    const attached = await attach(proactor, image.handle.fd, sector);
    try {
      return await BlockDevice.open(attached.path, open);
    } finally {
      // From here on the device is kept by the descriptor just opened, or removed if that failed.
      await proactor.start({ kind: abi.Kind.close, fd: attached.fd, file: undefined });
    }
  } finally {
    await image.handle.close();
  }
}

async function mdDevice(
  directory: string,
  size: number,
  sectorSize: number,
  options: BlockDeviceOptions,
): Promise<BlockDevice> {
  const image = await temporaryImage(directory, size);
  let attached: AttachedImage;
  try {
    attached = await attachMd(image.path, sectorSize);
  } finally {
    await image.handle.close();
    await image.unlink();
  }
  try {
    return new OwningDevice(await openInit(attached.path, options), attached.detach);
  } catch (error) {
    await attached.detach();
    throw error;
  }
}

function unavailable(): string | undefined {
  const freebsd = process.platform === "freebsd";
  if (process.platform !== "linux" && !freebsd) return `${process.platform} is not supported`;
  const kind = freebsd ? "memory disk" : "loop device";
  if (process.getuid?.() !== 0) return `attaching a ${kind} needs root`;
  if (freebsd) return existsSync(MDCONFIG) ? undefined : `${MDCONFIG} is missing`;
  try {
    accessSync(CONTROL, constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return `${CONTROL} cannot be opened: no loop driver, or a container without devices`;
  }
}

interface TemporaryImage {
  readonly handle: FileHandle;
  readonly path: string;
  /** Removes the name: nothing else can open the file, and nothing is left of it. */
  unlink(): Promise<void>;
}

/** A file of zeroes. */
async function temporaryImage(directory: string, size: number): Promise<TemporaryImage> {
  const folder = await mkdtemp(join(directory, "bun-aio-image-"));
  const path = join(folder, "image");
  const unlink = (): Promise<void> => rm(folder, { recursive: true, force: true });
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, "wx+", 0o600);
    await handle.truncate(size);
    return { handle, path, unlink };
  } catch (error) {
    await handle?.close();
    await unlink();
    throw error;
  }
}

async function attach(
  proactor: Proactor,
  fd: number,
  sectorSize: number,
): Promise<{ path: string; fd: number }> {
  const outcome = await proactor.start({
    kind: abi.Kind.attachImage,
    fd,
    file: undefined,
    argument: sectorSize,
    blockBytes: abi.ImageInfo.SIZE,
  });
  try {
    if (outcome.status !== abi.Status.ok) {
      throw statusError(outcome.status, outcome.errno, {
        kind: abi.Kind.attachImage,
        file: undefined,
        syscall: "LOOP_CONFIGURE",
        path: CONTROL,
      });
    }
    const memory = proactor.bounce.memoryOf(outcome.block, abi.ImageInfo.SIZE);
    const info = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    return {
      fd: info.getInt32(abi.ImageInfo.fd, true),
      path: `/dev/loop${info.getUint32(abi.ImageInfo.number, true)}`,
    };
  } finally {
    proactor.releaseBlock(outcome.block);
  }
}
