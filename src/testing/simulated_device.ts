// `simulatedDevice`: a block device in memory that fails when told to, and can lose power. Its kernel side is native
// (zig/device/simulated_device.zig); everything above is the code that real devices use. Each device has a ring of
// its own.

import { types } from "node:util";
import { argumentRange, argumentType } from "../common/argument_errors.ts";
import { type Bytes, checkBoolean, checkInteger, checkOptions } from "../common/arguments.ts";
import type { BlockDevice } from "../device/block_device.ts";
import { checkSectorSize, type DeviceInit, examined } from "../device/open_device.ts";
import { IoError } from "../errors/io_error.ts";
import { openFile } from "../file/open.ts";
import { PathName } from "../file/path.ts";
import * as abi from "../native/abi.gen.ts";
import type { Proactor } from "../ring/proactor.ts";
import { openSimulated, proactorOf } from "../ring/ring.ts";
import {
  type Contents,
  deviceCommand,
  imageOf,
  isGone,
  packed,
  readContents,
  writeContents,
} from "./device_commands.ts";
import { type FaultPlan, type FaultRule, Faults, nativeRule } from "./faults.ts";
import { OwningDevice } from "./owning_device.ts";

/** What a simulated device is like, and how it fails. */
export interface SimulatedDeviceOptions {
  /** Size in bytes, a multiple of `sectorSize`. Default: that of `image`, or 16 MiB. Unused space costs nothing. */
  size?: number | undefined;
  /** Initial contents; copied. Default: zeroes. */
  image?: Uint8Array | undefined;
  /** Bytes of a sector, a power of two from 512 to 65536. Default 512. */
  sectorSize?: number | undefined;
  /** Seed of everything random: 0 to 2^32 - 1, default 0. The same seed and calls give the same run. */
  seed?: number | undefined;
  /**
   * Whether the device requires whole sectors, as with `direct` on a real one. Default true. With false any range
   * can be written, as through the page cache.
   */
  strictAlignment?: boolean | undefined;
  /**
   * Whether a write (and `writeZeroes`, `discard`) that has resolved survives a crash, as with `dsync` of
   * `BlockDevice.open`. Default false: only a sync makes it safe.
   */
  dsync?: boolean | undefined;
  /** As for `BlockDevice.open`. */
  unalignedWrites?: "reject" | "rmw" | undefined;
  /** Initial fault rules. */
  faults?: readonly FaultRule[] | undefined;
}

/** A `BlockDevice` over memory, open for reading and writing. */
export interface SimulatedDevice extends BlockDevice {
  /** The fault rules, in effect for operations called from now on. */
  readonly faults: FaultPlan;
  /**
   * Cuts the power. Operations in flight, and all later ones, reject with `ERR_DEVICE_GONE`. Of the writes that no
   * sync has covered, those in flight included, the seed decides which survive: any of them without any other, and
   * of a write of several sectors perhaps only some.
   *
   * @returns What is on the medium now, in memory of its own: `size` bytes; only what was ever written takes time
   *   and memory. If a rule has crashed or unplugged the device before, what that left.
   */
  crash(): Promise<Bytes>;
  /**
   * Plugs the device in again after a crash: opens a new device with what survived, without fault rules. Rejects
   * with EBUSY while this one is running.
   */
  reopen(): Promise<SimulatedDevice>;
}

const OPTION_NAMES = [
  ...["size", "image", "sectorSize", "seed", "strictAlignment", "dsync"],
  ...["unalignedWrites", "faults"],
];
const SIZE_DEFAULT = 16 * 2 ** 20;
/** Below JavaScriptCore's longest ArrayBuffer, so that an image can be returned. */
const SIZE_MAX = 2 ** 32;
const SECTOR_BYTES_DEFAULT = 512;
const MEMORY_ALIGNMENT = 512;
const SEED_MAX = 2 ** 32 - 1;

interface Settings {
  readonly size: number;
  readonly sectorSize: number;
  readonly seed: number;
  readonly strict: boolean;
  readonly dsync: boolean;
  readonly unalignedWrites: "reject" | "rmw" | undefined;
}

/**
 * A block device in memory, for tests: no root, no files, and the same run for the same seed.
 *
 * Rejects with TypeError or RangeError for wrong options and rules.
 *
 * @example
 * ```ts
 * import { simulatedDevice } from "bun-aio/testing";
 *
 * const faults = [{ operation: "write", nth: 3, error: "EIO" }] as const;
 * await using disk = await simulatedDevice({ size: 1 << 20, seed: 1, faults });
 * const block = new Uint8Array(4096);
 * for (const offset of [0, 4096, 8192])
 *   await disk.writeAt(block, offset).catch(({ code }) => console.log(offset, code)); // 8192 EIO
 * ```
 */
export async function simulatedDevice(
  options: SimulatedDeviceOptions = {},
): Promise<SimulatedDevice> {
  checkOptions("simulatedDevice", options, OPTION_NAMES);
  const { image, faults = [] } = options;
  if (image !== undefined && !types.isUint8Array(image)) {
    throw argumentType("options.image", "a Uint8Array", image);
  }
  if (!Array.isArray(faults)) throw argumentType("options.faults", "an array of rules", faults);
  const sectorSize = checkSectorSize(options.sectorSize) ?? SECTOR_BYTES_DEFAULT;
  const settings: Settings = {
    size: checkSize(options.size, image, sectorSize),
    sectorSize,
    seed: checkInteger("options.seed", options.seed ?? 0, 0, SEED_MAX),
    strict: checkBoolean("options.strictAlignment", options.strictAlignment ?? true),
    dsync: checkBoolean("options.dsync", options.dsync ?? false),
    unalignedWrites: options.unalignedWrites,
  };
  // Before anything is opened.
  const limits = limitsOf(settings);
  const rules = faults.map((rule, index) => nativeRule(`options.faults[${index}]`, rule, limits));
  const device = await start(settings, image === undefined ? [] : packed(image));
  for (const rule of rules) device.faults.addNative(rule);
  return device;
}

function checkSize(size: unknown, image: Uint8Array | undefined, sectorSize: number): number {
  const fallback = image?.byteLength ?? SIZE_DEFAULT;
  const least = Math.max(sectorSize, image?.byteLength ?? 0);
  const name = size === undefined && image !== undefined ? "options.image" : "options.size";
  const checked = checkInteger(name, size ?? fallback, least, SIZE_MAX);
  if (checked % sectorSize === 0) return checked;
  throw argumentRange(name, `a multiple of the sector size (${sectorSize})`, checked);
}

function limitsOf(settings: Settings): { size: number; alignment: number } {
  const { size, sectorSize, strict } = settings;
  return { size, alignment: strict ? sectorSize : 1 };
}

async function start(settings: Settings, contents: Contents): Promise<MemoryDevice> {
  const { size, sectorSize, seed, strict, dsync, unalignedWrites } = settings;
  const ring = openSimulated({
    bytes: size,
    sectorSize,
    memoryAlignment: MEMORY_ALIGNMENT,
    flags: (strict ? abi.DeviceFlag.strict : 0) | (dsync ? abi.DeviceFlag.dsync : 0),
    seed,
    baseFd: -1,
  });
  try {
    await writeContents(proactorOf(ring), contents);
    const options = { write: true, direct: strict, unalignedWrites, ring };
    using path = new PathName("seed", `simulated:${seed}`);
    const init = await openFile(path, options, 0);
    return new MemoryDevice(await examined(init, undefined), settings, () => ring.close());
  } catch (error) {
    await ring.close();
    throw error;
  }
}

class MemoryDevice extends OwningDevice implements SimulatedDevice {
  readonly faults: Faults;
  readonly #proactor: Proactor;
  readonly #settings: Settings;
  /** What survived, once it has been requested. */
  #survived: Promise<readonly Bytes[]> | undefined;
  #closed: Promise<void> | undefined;

  constructor(init: DeviceInit, settings: Settings, giveUp: () => Promise<void>) {
    super(init, giveUp);
    this.#proactor = proactorOf(this.ring);
    this.#settings = settings;
    this.faults = new Faults(this.#proactor, limitsOf(settings));
  }

  async crash(): Promise<Bytes> {
    if (this.#survived === undefined && this.#closed !== undefined) throw this.#closedError();
    this.#survived ??= this.#crash();
    return imageOf(await this.#survived, this.#settings.size);
  }

  async #crash(): Promise<readonly Bytes[]> {
    const proactor = this.#proactor;
    await deviceCommand(proactor, { argument: abi.DeviceCommand.crash });
    return readContents(proactor);
  }

  async reopen(): Promise<SimulatedDevice> {
    if (this.#survived === undefined) {
      if (this.#closed !== undefined) throw this.#closedError();
      if (!(await isGone(this.#proactor))) {
        throw new IoError("EBUSY", {
          reason: "the device is running",
          syscall: "open",
          path: this.path,
          hint: "Call crash() first",
        });
      }
      this.#survived ??= this.#crash();
    }
    const settings = { ...this.#settings, seed: nextSeed(this.#settings.seed) };
    return start(settings, await this.#survived);
  }

  /** A test that ends must not wait for a request that hangs. */
  override [Symbol.asyncDispose](): Promise<void> {
    this.faults.lift();
    return this.close();
  }

  override close(): Promise<void> {
    this.#closed ??= this.#keepSurvived().then(() => super.close());
    return this.#closed;
  }

  /** The memory is freed with the ring: what a crash has left is kept for `reopen`. */
  async #keepSurvived(): Promise<void> {
    if (this.#survived === undefined && !this.#proactor.closing && (await isGone(this.#proactor))) {
      this.#survived ??= this.#crash();
    }
    await this.#survived?.catch(() => {});
  }

  #closedError(): IoError {
    return new IoError("EBADF", {
      reason: "the device is closed",
      path: this.path,
      hint: "Call crash() before close()",
    });
  }
}

/** The next seed, deterministic (the generator of Numerical Recipes). */
function nextSeed(seed: number): number {
  return (Math.imul(seed, 1664525) + 1013904223) >>> 0;
}
