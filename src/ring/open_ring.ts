// Opens a native ring: reads `RingInfo` and maps the shared memory.

import { type Refused, refusedError } from "../errors/status.ts";
import * as abi from "../native/abi.gen.ts";
import { library, nativeBuffer } from "../native/library.ts";

export interface OpenedRing {
  readonly ring: number;
  /** Control block, tables and bounce memory. Its finaliser tears the ring down. */
  readonly memory: ArrayBuffer;
  readonly bounceAddress: number;
  /** Offsets in bytes within `memory`. */
  readonly bounceOffset: number;
  readonly submissionsOffset: number;
  readonly completionsOffset: number;
  readonly operationsMax: number;
  readonly wakeFd: number;
  readonly backend: number;
  readonly queueDepth: number;
  readonly features: number;
  /** The backend that was refused before `backend` was chosen. */
  readonly refused: Refused | undefined;
}

/** The device of a simulated ring (zig/device/simulated_device.zig). */
export interface DeviceParameters {
  readonly bytes: number;
  readonly sectorSize: number;
  readonly memoryAlignment: number;
  /** `abi.DeviceFlag`s. */
  readonly flags: number;
  readonly seed: number;
  /** The base that is read where nothing was written, with `DeviceFlag.overlay`; else -1. */
  readonly baseFd: number;
}

/** Throws an IoError when no backend, or not the one named, is available. */
export function openRing(
  backend: number,
  queueDepth: number,
  device?: DeviceParameters | undefined,
): OpenedRing {
  const wanted = new Uint32Array(abi.RingOptions.SIZE / 4);
  wanted[abi.RingOptions.backend / 4] = backend;
  wanted[abi.RingOptions.queueDepth / 4] = queueDepth;
  wanted[abi.RingOptions.windowBytes / 4] = abi.WINDOW_BYTES_DEFAULT;
  injectFaults(wanted);
  if (device !== undefined) describeDevice(wanted, device);
  const answer = new Uint8Array(new ArrayBuffer(abi.RingInfo.SIZE));
  const errno = library().ba_ring_open(wanted, answer);
  const info = new DataView(answer.buffer);
  const f64 = (offset: number): number => info.getFloat64(offset, true);
  const u32 = (offset: number): number => info.getUint32(offset, true);
  const refused: Refused = {
    backend: u32(abi.RingInfo.refusedBackend),
    errno: info.getInt32(abi.RingInfo.refusedErrno, true),
    step: u32(abi.RingInfo.refusedStep),
  };
  if (errno !== 0) throw refusedError(refused);
  const ring = f64(abi.RingInfo.ring);
  // The first buffer of this ring, hence finalised last: when a worker ends, Bun finalises array buffers in reverse
  // order of creation.
  const memory = nativeBuffer(
    f64(abi.RingInfo.memory),
    f64(abi.RingInfo.memoryBytes),
    ring,
    f64(abi.RingInfo.release),
  );
  return {
    ring,
    memory,
    bounceAddress: f64(abi.RingInfo.bounceAddress),
    bounceOffset: u32(abi.RingInfo.bounceOffset),
    submissionsOffset: u32(abi.RingInfo.submissionsOffset),
    completionsOffset: u32(abi.RingInfo.completionsOffset),
    operationsMax: u32(abi.RingInfo.operationsMax),
    wakeFd: info.getInt32(abi.RingInfo.wakeFd, true),
    backend: u32(abi.RingInfo.backend),
    queueDepth: u32(abi.RingInfo.queueDepth),
    features: u32(abi.RingInfo.features),
    refused: refused.errno === 0 ? undefined : refused,
  };
}

function describeDevice(options: Uint32Array<ArrayBuffer>, device: DeviceParameters): void {
  const view = new DataView(options.buffer);
  view.setFloat64(abi.RingOptions.deviceBytes, device.bytes, true);
  view.setUint32(abi.RingOptions.deviceSectorSize, device.sectorSize, true);
  view.setUint32(abi.RingOptions.deviceMemoryAlignment, device.memoryAlignment, true);
  view.setUint32(abi.RingOptions.deviceFlags, device.flags, true);
  view.setUint32(abi.RingOptions.deviceSeed, device.seed, true);
  view.setInt32(abi.RingOptions.deviceBaseFd, device.baseFd, true);
}

/**
 * BUN_AIO_FAULTS ("seed,short,refuse,reorder", rates in 1/65536), for our own tests. Only a library built with
 * `-Dfaults=true` reads these fields.
 */
function injectFaults(options: Uint32Array): void {
  const text = process.env["BUN_AIO_FAULTS"];
  if (text === undefined) return;
  const numbers = text.split(",").map(Number);
  options.set(numbers.slice(0, 4), abi.RingOptions.faultSeed / 4);
}
