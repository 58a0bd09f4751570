// A serial port to the host (virtio-console), over which lines of JSON go in both directions.

import { openSync, readdirSync, readFileSync, readSync, writeSync } from "node:fs";

const PORTS = "/sys/class/virtio-ports";

export class Port {
  readonly #path: string;
  readonly #fd: number;
  #rest = "";

  constructor(name: string) {
    const found = readdirSync(PORTS).find(
      (port) => readFileSync(`${PORTS}/${port}/name`, "utf8").trim() === name,
    );
    if (found === undefined) throw new Error(`no serial port is named ${name}`);
    this.#path = `/dev/${found}`;
    // By one process at a time: another is told EBUSY.
    this.#fd = openSync(this.#path, "r+");
  }

  send(message: unknown): void {
    writeSync(this.#fd, `${JSON.stringify(message)}\n`);
  }

  /** The next message; waits for it in the thread itself. */
  receive(): Record<string, unknown> {
    const bytes = new Uint8Array(4096);
    while (!this.#rest.includes("\n"))
      this.#rest += Buffer.from(bytes.subarray(0, readSync(this.#fd, bytes))).toString("latin1");
    const [line = "", ...rest] = this.#rest.split("\n");
    this.#rest = rest.join("\n");
    return JSON.parse(line) as Record<string, unknown>;
  }
}
