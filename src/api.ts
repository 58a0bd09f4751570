/**
 * Asynchronous positioned I/O on files and block devices. `open` a `File`, or a `BlockDevice`; `copy`, `compare` and
 * `scan` whole ones; find disks with `listBlockDevices`. What fails rejects with an `IoError`.
 *
 * @module bun-aio
 */

// The public API, as editors, the declarations of the package and the reference read it. Programs load index.ts, which
// exports the same.

export type { Bytes, IoData, IoOptions, Offset } from "./common/arguments.ts";
export type { ByteRange } from "./common/byte_range.ts";
export type { HashName } from "./common/digest.ts";
export { type CompareOptions, type CompareResult, compare } from "./copy/compare.ts";
export { copy } from "./copy/copy.ts";
export type { CopyOptions } from "./copy/copy_options.ts";
export {
  type CopyToAllOptions,
  type CopyToAllProgress,
  copyToAll,
} from "./copy/copy_to_all.ts";
export type { CopyRange } from "./copy/ranges.ts";
export { RescueMap } from "./copy/rescue_map.ts";
export { type ScanOptions, type ScanProgress, type ScanResult, scan } from "./copy/scan.ts";
export type { RescueStatus } from "./copy/status_ranges.ts";
export { BlockDevice } from "./device/block_device.ts";
export { type ListBlockDevicesOptions, listBlockDevices } from "./device/list_devices.ts";
export type { BlockDeviceFromFdOptions, BlockDeviceOptions } from "./device/open_device.ts";
export {
  type BlockDeviceEvent,
  type BlockDeviceWatch,
  type WatchBlockDevicesOptions,
  watchBlockDevices,
} from "./device/watch_devices.ts";
export type { IoErrorCode } from "./errors/codes.ts";
export type { CopyMethod, CopyResult, ReadError } from "./errors/copy_result.ts";
export { IoError } from "./errors/io_error.ts";
export type { HashOptions } from "./file/contents.ts";
export type { DataRangesOptions } from "./file/data_ranges.ts";
export { File, File as FileHandle, type FileKind, open } from "./file/file.ts";
export type { FromFdOptions, OpenOptions } from "./file/open.ts";
export type { Path } from "./file/path.ts";
export type { CopyProgress, Progress } from "./file/progress.ts";
export type { ReadableOptions } from "./file/readable.ts";
export type { WritableOptions } from "./file/writable.ts";
export { allocBuffer } from "./memory/alloc_buffer.ts";
export { BufferPool, type BufferPoolOptions } from "./memory/buffer_pool.ts";
export type { Operation } from "./ring/batch.ts";
export type { Alignment } from "./ring/file_state.ts";
export { type BackendName, Ring, type RingOptions } from "./ring/ring.ts";
export type { LatencyHistogram, RingStats } from "./ring/statistics.ts";
export type { BlockDeviceInfo, Geometry } from "./system/device_info.ts";
