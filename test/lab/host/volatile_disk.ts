// A disk that QEMU reaches over NBD: a simulated device, which loses what was not flushed when its power is cut.

import {
  type NbdServer,
  type SimulatedDevice,
  serveNbd,
  simulatedDevice,
} from "../../../src/testing/index.ts";

export class VolatileDisk implements AsyncDisposable {
  #device: SimulatedDevice;
  #server: NbdServer | undefined;
  #socket = "";
  #changes: Promise<void> = Promise.resolve();

  private constructor(device: SimulatedDevice) {
    this.#device = device;
  }

  static async make(size: number, seed: number): Promise<VolatileDisk> {
    return new VolatileDisk(await simulatedDevice({ size, seed }));
  }

  /** `stop` it before the next machine. */
  serve(socket: string): void {
    this.#socket = socket;
    this.#server = serveNbd(this.#device, { socket });
  }

  async stop(): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    this.#server = undefined;
  }

  /** Cuts the power when so many further requests have been served. */
  cutAfter(requests: number): void {
    this.#device.faults.add({ operation: "any", nth: requests + 1, crash: true });
  }

  /** Cuts the power now, if it has not been cut; what is on the medium. */
  cut(): Promise<Uint8Array> {
    return this.#device.crash();
  }

  powerUp(): Promise<void> {
    return this.#whileStopped(async () => {
      await this.cut();
      const off = this.#device;
      this.#device = await off.reopen();
      await off.close();
    });
  }

  /** Breaks the connection in the middle of whatever it carries; the client may connect again. */
  drop(): Promise<void> {
    return this.#whileStopped(async () => {});
  }

  /** One after the other: a machine may ask for several at a time. */
  #whileStopped(change: () => Promise<void>): Promise<void> {
    this.#changes = this.#changes.then(async () => {
      await this.stop();
      await change();
      this.serve(this.#socket);
    });
    return this.#changes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.#device.close();
  }
}
