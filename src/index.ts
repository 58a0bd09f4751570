// What `import "bun-aio"` loads; api.ts says what each export is. Importing it opens nothing: the native library is
// loaded, and the default ring opened, at first use. Rooms that not every program enters are loaded when they are: they
// are a third of the text, and of the time of the import.

import type * as api from "./api.ts";

export type * from "./api.ts";
export { RescueMap } from "./copy/rescue_map.ts";
export { BlockDevice } from "./device/block_device.ts";
export { IoError } from "./errors/io_error.ts";
export { File, File as FileHandle, open } from "./file/file.ts";
export { allocBuffer } from "./memory/alloc_buffer.ts";
export { BufferPool } from "./memory/buffer_pool.ts";
export { Ring } from "./ring/ring.ts";

// `require`, not `import()`: arguments are looked at during the call.
export const compare: typeof api.compare = (source, target, ...options) =>
  require("./copy/compare.ts").compare(source, target, ...options);
export const copy: typeof api.copy = (source, target, ...options) =>
  require("./copy/copy.ts").copy(source, target, ...options);
export const copyToAll: typeof api.copyToAll = (source, targets, ...options) =>
  require("./copy/copy_to_all.ts").copyToAll(source, targets, ...options);
export const scan: typeof api.scan = (file, ...options) =>
  require("./copy/scan.ts").scan(file, ...options);
export const listBlockDevices: typeof api.listBlockDevices = (...options) =>
  require("./device/list_devices.ts").listBlockDevices(...options);
export const watchBlockDevices: typeof api.watchBlockDevices = (...options) =>
  require("./device/watch_devices.ts").watchBlockDevices(...options);
