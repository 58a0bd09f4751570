// What a test in the machine may ask of the host: to unplug a disk, to plug it in again, and the like.

import type { Disk } from "./disks.ts";
import type { Machine } from "./machine.ts";

type Answer = Promise<unknown>;

export class Commands {
  readonly #disks: readonly Disk[];
  readonly #machine: () => Machine;

  constructor(disks: readonly Disk[], machine: () => Machine) {
    this.#disks = disks;
    this.#machine = machine;
  }

  /** Answers every message, in the order of their ends. */
  obey(message: Record<string, unknown>): void {
    const { id, command } = message;
    const answer = (rest: object): void => {
      // A machine that has ended listens no more.
      this.#machine()
        .tellTest({ id, ...rest })
        .catch(() => {});
    };
    this.#do(String(command), message).then(
      (result) => answer({ result: result ?? null }),
      (error: unknown) => answer({ error: String(error) }),
    );
  }

  async #do(command: string, message: Record<string, unknown>): Answer {
    const name = String(message["disk"] ?? "");
    const { monitor } = this.#machine();
    switch (command) {
      case "unplug": {
        const gone = monitor.event("DEVICE_DELETED", `disk-${name}`);
        await monitor.call("device_del", { id: `disk-${name}` });
        return gone;
      }
      case "plug":
        return monitor.call("device_add", this.#disk(name).device);
      case "resize":
        return monitor.call("block_resize", { "node-name": name, size: message["size"] });
      case "eject":
        return monitor.call("eject", { id: `disk-${name}`, force: true });
      default:
        throw new Error(`the host knows no ${command}`);
    }
  }

  #disk(name: string): Disk {
    const disk = this.#disks.find((candidate) => candidate.name === name);
    if (disk === undefined) throw new Error(`no disk is named ${name}`);
    return disk;
  }
}
