// What a test in the machine may ask of the host: to unplug a disk, to plug it in again, and the like.

import type { Disk } from "./disks.ts";
import type { Machine } from "./machine.ts";
import type { VolatileDisk } from "./volatile_disk.ts";

type Answer = Promise<unknown>;

export class Commands {
  /** The number of the last record that a writer in the machine has acknowledged. */
  acknowledged = 0;
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
        const { unplugged } = this.#disk(name);
        const gone = monitor.event("DEVICE_DELETED", unplugged);
        await monitor.call("device_del", { id: unplugged });
        return gone;
      }
      case "plug":
        return this.#plug(this.#disk(name));
      case "throttle": {
        const limits = { "iops-total": Number(message["operations"]) };
        const path = `/objects/limits-${name}`;
        return monitor.call("qom-set", { path, property: "limits", value: limits });
      }
      case "resize":
        return monitor.call("block_resize", { "node-name": name, size: message["size"] });
      case "cut-after":
        return this.#volatile(name).cutAfter(Number(message["requests"]));
      case "acknowledge":
        this.acknowledged = Number(message["number"]);
        return undefined;
      case "drop-connection":
        return this.#volatile(name).drop();
      case "power-up":
        return this.#volatile(name).powerUp();
      case "eject":
        return monitor
          .call("blockdev-open-tray", { id: name, force: true })
          .then(() => monitor.call("blockdev-remove-medium", { id: name }));
      case "insert":
        await monitor.call("blockdev-insert-medium", { id: name, "node-name": "cd-medium" });
        return monitor.call("blockdev-close-tray", { id: name });
      default:
        throw new Error(`the host knows no ${command}`);
    }
  }

  /** A bridge is shown to the machine once its disk is on it. */
  async #plug({ devices }: Disk): Answer {
    const { monitor } = this.#machine();
    const [carrier] = devices.length > 1 ? devices : [];
    for (const device of devices) {
      const hidden = device === carrier ? { attached: false } : {};
      await monitor.call("device_add", { ...device, ...hidden });
    }
    if (carrier === undefined) return undefined;
    const path = `/machine/peripheral/${carrier["id"]}`;
    return monitor.call("qom-set", { path, property: "attached", value: true });
  }

  #volatile(name: string): VolatileDisk {
    const { volatile } = this.#disk(name);
    if (volatile === undefined) throw new Error(`${name} is not volatile`);
    return volatile;
  }

  #disk(name: string): Disk {
    const disk = this.#disks.find((candidate) => candidate.name === name);
    if (disk === undefined) throw new Error(`no disk is named ${name}`);
    return disk;
  }
}
