// Everything public. Importing this opens nothing: the native library loads and the default ring opens
// at first use.

export { allocBuffer } from "./alloc_buffer.ts";
export type { Bytes, IoData, IoOptions, Offset } from "./arguments.ts";
export type { Operation } from "./batch.ts";
export {
  BlockDevice,
  type BlockDeviceFromFdOptions,
  type BlockDeviceOptions,
} from "./block_device.ts";
export { BufferPool, type BufferPoolOptions } from "./buffer_pool.ts";
export { copy } from "./copy.ts";
export type { CopyOptions } from "./copy_plan.ts";
export type { CopyResult, ReadError } from "./copy_result.ts";
export type { BlockDeviceInfo, Geometry } from "./device_info.ts";
export { IoError } from "./errors.ts";
export { File, type FileKind } from "./file.ts";
export type { Alignment } from "./file_state.ts";
export { listBlockDevices } from "./list_devices.ts";
export type { CopyProgress } from "./meter.ts";
export type { FromFdOptions, OpenOptions } from "./open.ts";
export type { Path } from "./path.ts";
export { type BackendName, Ring, type RingOptions } from "./ring.ts";
export type { LatencyHistogram, RingStats } from "./stats.ts";
export type { ReadableOptions, WritableOptions } from "./stream.ts";
