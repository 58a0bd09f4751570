// Everything public. Importing this opens nothing: the native library loads and the default ring opens
// at first use.

import "./batch.ts";

export type { Bytes, IoData, IoOptions, Offset } from "./arguments.ts";
export type { Operation } from "./batch.ts";
export {
  BlockDevice,
  type BlockDeviceFromFdOptions,
  type BlockDeviceOptions,
} from "./block_device.ts";
export { allocBuffer, BufferPool, type BufferPoolOptions } from "./buffer.ts";
export { type CopyOptions, type CopyProgress, type CopyResult, copy } from "./copy.ts";
export { IoError } from "./errors.ts";
export { File, type FileKind } from "./file.ts";
export type { Alignment } from "./file_state.ts";
export type { Geometry } from "./geometry.ts";
export { type BlockDeviceInfo, listBlockDevices } from "./list_devices.ts";
export type { FromFdOptions, OpenOptions } from "./open.ts";
export { type BackendName, Ring, type RingOptions } from "./ring.ts";
export type { ReadError } from "./salvage.ts";
export type { LatencyHistogram, RingStats } from "./stats.ts";
export type { ReadableOptions, WritableOptions } from "./stream.ts";
