// `bun-aio watch`: prints disks as they come, go and change.

import { type BlockDeviceEvent, watchBlockDevices } from "../device/watch_devices.ts";
import { Arguments } from "./arguments.ts";
import { Exit } from "./exit.ts";
import { Interrupts } from "./interrupts.ts";
import { sizeAndTraitsOf } from "./places.ts";
import { print, say } from "./terminal.ts";

export async function watchCommand(argv: readonly string[]): Promise<number> {
  const args = new Arguments("watch", { flags: ["json", "quiet"] }, argv);
  args.operands([]);
  using interrupts = new Interrupts();
  // A reader of stdout has seen enough.
  const closed = new AbortController();
  process.stdout.once("error", () => closed.abort());
  const signal = AbortSignal.any([interrupts.signal, closed.signal]);
  const isJson = args.flag("json");
  try {
    await using events = watchBlockDevices({ signal });
    if (!args.flag("quiet")) say("watching the disks; Ctrl-C ends it");
    for await (const event of events) print(isJson ? JSON.stringify(event) : line(event));
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return interrupts.signal.aborted ? interrupts.code : Exit.done;
}

function line({ type, device }: BlockDeviceEvent): string {
  return `${type.padEnd("remove".length)}  ${device.path}  ${sizeAndTraitsOf(device)}`;
}
