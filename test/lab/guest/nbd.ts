// The kernel's NBD client, and qemu-nbd.

import { truncateSync, writeFileSync } from "node:fs";
import { without } from "../../support/conditions.ts";
import { attribute } from "./find_disk.ts";
import { until } from "./host.ts";
import type { NetworkDisk } from "./network_disk.ts";
import { sh, withoutModule } from "./shell.ts";

const DISK = "/dev/nbd0";
const FILE = "/tmp/nbd";
const SIZE = 32 << 20;
const ADDRESS = { host: "127.0.0.1", port: "10809" };

async function connect(patience: number): Promise<string> {
  // Without a timeout the kernel keeps what is in flight on a dead connection, for ever in some runs.
  const { host, port } = ADDRESS;
  const client = `nbd-client -N disk ${host} ${port} ${DISK} -b 512 -timeout ${patience}`;
  await until(() => Bun.spawnSync(["sh", "-c", client]).exitCode === 0);
  await until(() => Number(attribute(DISK, "size")) * 512 === SIZE);
  return DISK;
}

const missing = without("qemu-nbd", "nbd-client") ?? withoutModule("nbd");
if (missing === undefined) {
  writeFileSync(FILE, "");
  truncateSync(FILE, SIZE);
}

export const nbd: NetworkDisk = {
  name: "nbd",
  missing,
  fragile: undefined,
  transport: null,
  size: SIZE,
  file: FILE,
  server: [
    ...["qemu-nbd", "-f", "raw", "-x", "disk", "-t", "-e", "4", "--discard=unmap"],
    ...["-p", ADDRESS.port, "-b", ADDRESS.host, FILE],
  ],
  connect,
  disconnect: async () => void sh(`nbd-client -d ${DISK}`),
};
