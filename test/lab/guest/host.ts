// Asks the host, from within a test: to unplug a disk, and what else test/lab/host/commands.ts knows.

import { Port } from "./port.ts";

let port: Port | undefined;
let lastId = 0;

/** Sends a request without waiting for its answer, which is what {@link answer} takes. */
export function ask(command: string, disk: string, rest: object = {}): number {
  port ??= new Port("test");
  const id = ++lastId;
  port.send({ id, command, disk, ...rest });
  return id;
}

/** Waits for the answer to the request, in the thread itself. */
export function answer(id: number): unknown {
  for (;;) {
    const message = port?.receive();
    if (message?.["id"] !== id) continue;
    if (message["error"] !== undefined) throw new Error(`the host: ${message["error"]}`);
    return message["result"];
  }
}

/** Waits for what comes by itself, as a node that the kernel makes. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 30_000;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`it is not so after 30 s: ${condition}`);
    await Bun.sleep(20);
  }
}
