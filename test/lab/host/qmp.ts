// The monitor of a machine: QEMU Machine Protocol (docs/interop/qmp-spec.txt of QEMU).

import { Channel } from "./channel.ts";

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class Monitor implements Disposable {
  readonly #channel: Channel;
  readonly #waiting = new Map<number, Waiting>();
  readonly #events: { name: string; device: string; heard: () => void }[] = [];
  #ready: Promise<unknown> = Promise.resolve();
  #id = 0;

  constructor(path: string) {
    this.#channel = new Channel(path, (message) => this.#hear(message));
    this.#ready = this.#call("qmp_capabilities", {});
    // Of a machine that never started nobody waits for it.
    this.#ready.catch(() => {});
  }

  async call(command: string, arguments_: object = {}): Promise<unknown> {
    await this.#ready;
    return this.#call(command, arguments_);
  }

  /** Resolves at the next event of this name about `device`. */
  event(name: string, device: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#events.push({ name, device, heard: resolve });
    return promise;
  }

  #call(command: string, arguments_: object): Promise<unknown> {
    const id = ++this.#id;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiting.set(id, { resolve, reject });
    this.#channel.send({ execute: command, arguments: arguments_, id }).catch(reject);
    return promise;
  }

  #hear(message: Record<string, unknown>): void {
    const waiting = this.#waiting.get(message["id"] as number);
    if (waiting !== undefined) {
      this.#waiting.delete(message["id"] as number);
      const { error } = message as { error?: { desc?: string } };
      if (error === undefined) waiting.resolve(message["return"]);
      else waiting.reject(new Error(`the monitor says: ${error.desc}`));
      return;
    }
    const { event, data } = message as { event?: string; data?: { device?: string } };
    const index = this.#events.findIndex(
      ({ name, device }) => name === event && device === data?.device,
    );
    if (index !== -1) this.#events.splice(index, 1)[0]?.heard();
  }

  [Symbol.dispose](): void {
    this.#channel[Symbol.dispose]();
  }
}
