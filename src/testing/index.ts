// `bun-aio/testing`: devices for `bun test`.

export { type ImageDeviceFunction, type ImageDeviceOptions, imageDevice } from "./image_device.ts";
