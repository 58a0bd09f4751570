// A device that stands on something of its own, such as a ring or an image.

import { BlockDevice } from "../device/block_device.ts";
import type { DeviceInit } from "../device/open_device.ts";

/** Gives up what it stands on once it is closed. */
export class OwningDevice extends BlockDevice {
  readonly #giveUp: () => Promise<void>;
  #closed: Promise<void> | undefined;

  constructor(init: DeviceInit, giveUp: () => Promise<void>) {
    super(init);
    this.#giveUp = giveUp;
  }

  override close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    try {
      await super.close();
    } finally {
      await this.#giveUp();
    }
  }
}
