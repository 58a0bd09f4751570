// `overlayDevice`: copy-on-write over a file or device, for trying a tool on real data. Writes stay in native memory
// (zig/device/overlay.zig); the base is only read.

import { types } from "node:util";
import { argumentType, argumentValue } from "../common/argument_errors.ts";
import { checkOptions } from "../common/arguments.ts";
import { BlockDevice } from "../device/block_device.ts";
import { examined } from "../device/open_device.ts";
import { IoError } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import { openFile } from "../file/open.ts";
import { openFileOf } from "../file/open_file.ts";
import { type Path, PathName } from "../file/path.ts";
import * as abi from "../native/abi.gen.ts";
import type { DeviceParameters } from "../ring/open_ring.ts";
import { openSimulated, proactorOf, type Ring } from "../ring/ring.ts";
import { OwningDevice } from "./owning_device.ts";

/** How an overlay is opened. */
export interface OverlayDeviceOptions {
  /** As for `BlockDevice.open`. */
  unalignedWrites?: "reject" | "rmw" | undefined;
}

/** A `BlockDevice` that keeps its writes in memory. */
export interface OverlayDevice extends BlockDevice {
  /** Ranges that were written, zeroed or discarded, in whole sectors: sorted, neighbours merged. In bytes. */
  changes(): {
    /** From the start of the device. */
    offset: number;
    /** A multiple of the sector size. */
    length: number;
  }[];
}

const MEMORY_ALIGNMENT = 512;
const SECTOR_BYTES_MIN = 512;

/**
 * Opens a writable device that reads like `base` until it is written to. Nothing is written to the base. Syncs do
 * nothing, and closing discards the changes. The base is read on the JavaScript thread: for tests, not for speed.
 *
 * @param base A path, opened for reading; or a File, which may be closed afterwards.
 *
 * @example
 * ```ts
 * import { overlayDevice } from "bun-aio/testing";
 *
 * await using device = await overlayDevice("disk.img");
 * await device.writeAt(new Uint8Array(4096), 8192);
 * console.log(device.changes()); // [{ offset: 8192, length: 4096 }]; disk.img is as it was
 * ```
 */
export async function overlayDevice(
  base: File | Path,
  options: OverlayDeviceOptions = {},
): Promise<OverlayDevice> {
  checkOptions("overlayDevice", options, ["unalignedWrites"]);
  if (base instanceof File) return overlay(base, options);
  if (typeof base !== "string" && !(base instanceof URL) && !types.isUint8Array(base)) {
    throw argumentType("base", "a File or a path", base);
  }
  await using opened = await BlockDevice.open(base, { direct: false });
  return await overlay(opened, options);
}

async function overlay(base: File, options: OverlayDeviceOptions): Promise<OverlayDevice> {
  const { kind, fd, path } = base;
  const name = path ?? `fd ${fd}`;
  if (base.ring.backend === "simulated") {
    throw argumentValue(
      "base",
      "must be a file or device of the system, not a simulated one",
      name,
    );
  }
  if (kind !== "regular" && kind !== "disk") {
    throw argumentValue("base", "must be a regular file or a disk", name);
  }
  if (!openFileOf(base).state.readable)
    throw argumentValue("base", "is not open for reading", name);
  const bytes = await base.size();
  if (bytes === 0) {
    throw new IoError("EINVAL", { reason: "the base is empty", syscall: "open", path: name });
  }
  const logical = base instanceof BlockDevice ? base.geometry.logicalSectorSize : null;
  const ring = openRing(name, {
    bytes,
    sectorSize: Math.max(SECTOR_BYTES_MIN, logical ?? 0, base.alignment.offset),
    memoryAlignment: Math.max(MEMORY_ALIGNMENT, base.alignment.memory),
    flags: abi.DeviceFlag.strict | abi.DeviceFlag.overlay,
    seed: 0,
    baseFd: fd,
  });
  try {
    const settings = { write: true, direct: true, ring, unalignedWrites: options.unalignedWrites };
    using path = new PathName("base", `overlay:${name}`);
    const init = await openFile(path, settings, 0);
    return new CopyOnWriteDevice(await examined(init, undefined), () => ring.close());
  } catch (error) {
    await ring.close();
    throw error;
  }
}

function openRing(name: string, device: DeviceParameters): Ring {
  try {
    return openSimulated(device);
  } catch (error) {
    if (!(error instanceof IoError) || error.code !== "ENOMEM") throw error;
    throw new IoError("ENOMEM", {
      reason: "no address space for the changes",
      syscall: "mmap",
      path: name,
      hint: `An overlay needs as many bytes of address space as its base has (${device.bytes})`,
      cause: error,
    });
  }
}

/** Ranges fetched at once. */
const RANGES_MAX = 1024;

class CopyOnWriteDevice extends OwningDevice implements OverlayDevice {
  changes(): { offset: number; length: number }[] {
    const proactor = proactorOf(this.ring);
    const found: { offset: number; length: number }[] = [];
    const ranges = new Float64Array(2 * RANGES_MAX);
    let from = 0;
    let count: number;
    do {
      count = proactor.deviceChanges(from, ranges);
      for (let index = 0; index < count; index++) {
        const offset = ranges[2 * index] ?? 0;
        const length = ranges[2 * index + 1] ?? 0;
        found.push({ offset, length });
        from = offset + length;
      }
    } while (count === RANGES_MAX);
    return found;
  }
}
