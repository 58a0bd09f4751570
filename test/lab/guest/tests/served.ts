// A simulated disk that `serveNbd` exports, behind the kernel's NBD client: a file system on it, and a power cut under
// the file system. The server is in this process, so commands must not block it.

import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { type NbdServer, serveNbd, simulatedDevice } from "../../../../src/testing/index.ts";
import { describeUnless, without } from "../../../support/conditions.ts";
import { attribute } from "../find_disk.ts";
import { withoutModule } from "../shell.ts";

const MiB = 1 << 20;
const BYTES = 64 * MiB;
const DISK = "/dev/nbd1";
const SOCKET = "/tmp/served";
const FOLDER = "/mnt/served";

/** Runs a command and returns its exit code. */
async function run(command: string): Promise<number> {
  const child = Bun.spawn(["sh", "-c", command], { stdout: "inherit", stderr: "inherit" });
  return await child.exited;
}

async function succeed(command: string): Promise<void> {
  expect([command, await run(command)]).toEqual([command, 0]);
}

async function connect(): Promise<void> {
  await succeed(`nbd-client -unix ${SOCKET} ${DISK} -b 512 -timeout 30`);
  while (Number(attribute(DISK, "size")) * 512 !== BYTES) await Bun.sleep(20);
}

async function disconnect(server: NbdServer): Promise<void> {
  await run(`nbd-client -d ${DISK}`);
  await server[Symbol.asyncDispose]();
}

const missing = without("nbd-client", "e2fsck", "mkfs.ext4") ?? withoutModule("nbd");

describeUnless(missing, "a simulated disk behind the kernel's client", () => {
  mkdirSync(FOLDER, { recursive: true });

  test("it carries a file system", async () => {
    await using device = await simulatedDevice({ size: BYTES });
    const server = serveNbd(device, { socket: SOCKET });
    await connect();
    await succeed(`mkfs.ext4 -q -F ${DISK} && mount ${DISK} ${FOLDER}`);
    await succeed(`cp $(command -v e2fsck) ${FOLDER}/copy && sync && umount ${FOLDER}`);
    await succeed(`e2fsck -fn ${DISK}`);
    await disconnect(server);
  });

  test("after a power cut under a file system, fsck finds what was synced", async () => {
    for (const seed of [1, 2, 3]) {
      await using device = await simulatedDevice({ size: BYTES, seed });
      const server = serveNbd(device, { socket: SOCKET });
      await connect();
      await succeed(`mkfs.ext4 -q -F ${DISK} && mount ${DISK} ${FOLDER}`);
      await succeed(`cp $(command -v e2fsck) ${FOLDER}/kept && sync`);
      await succeed(`dd if=/dev/urandom of=${FOLDER}/lost bs=64k count=64 2>/dev/null`);
      await device.crash();
      await run(`umount ${FOLDER}`);
      await disconnect(server);
      await using again = await device.reopen();
      const next = serveNbd(again, { socket: SOCKET });
      await connect();
      // 1: errors were corrected.
      expect(await run(`e2fsck -fy ${DISK}`)).toBeLessThanOrEqual(1);
      await succeed(`mount ${DISK} ${FOLDER} && cmp $(command -v e2fsck) ${FOLDER}/kept`);
      await succeed(`umount ${FOLDER}`);
      await disconnect(next);
    }
  });
});
