/**
 * Devices for `bun test`: simulated ones that fail and lose their power as a seed says, overlays, images, an NBD server;
 * and `trackLeaks`.
 *
 * @module bun-aio/testing
 */

export type { FaultPlan, FaultRule } from "./faults.ts";
export { type ImageDeviceFunction, type ImageDeviceOptions, imageDevice } from "./image_device.ts";
export { type NbdServer, type ServeNbdOptions, serveNbd } from "./nbd/serve_nbd.ts";
export { type OverlayDevice, type OverlayDeviceOptions, overlayDevice } from "./overlay_device.ts";
export {
  type SimulatedDevice,
  type SimulatedDeviceOptions,
  simulatedDevice,
} from "./simulated_device.ts";
export { LeakError, trackLeaks } from "./track_leaks.ts";
