// A disk that comes over the network: the kernel's NBD client, with a server in the machine whose connection breaks.

import { expect, test } from "bun:test";
import { truncateSync, writeFileSync } from "node:fs";
import { allocBuffer, BlockDevice } from "../../../../src/index.ts";
import { describeUnless, without } from "../../../support/conditions.ts";
import { pattern } from "../../../support/devices.ts";
import { attribute, diskPath } from "../find_disk.ts";
import { answer, ask, until } from "../host.ts";
import { sh, withoutModule } from "../shell.ts";

const MiB = 1 << 20;
const DISK = "/dev/nbd0";
const PORT = 10809;
/** Without a timeout the kernel keeps what is in flight on a dead connection, for ever in some runs. */
const client = `nbd-client -N disk 127.0.0.1 ${PORT} ${DISK} -b 512 -timeout 5`;

/** A server of one disk. Ends with its process. */
class Server implements AsyncDisposable {
  readonly #child: Bun.Subprocess;

  constructor() {
    const shared = ["-f", "raw", "-x", "disk", "-t", "-e", "4", "--discard=unmap"];
    const command = ["qemu-nbd", ...shared, "-p", String(PORT), "-b", "127.0.0.1", "/tmp/nbd"];
    this.#child = Bun.spawn(command, { stdout: "inherit", stderr: "inherit" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

async function connect(): Promise<void> {
  await until(() => Bun.spawnSync(["sh", "-c", client]).exitCode === 0);
  await until(() => Number(attribute(DISK, "size")) * 512 === 32 * MiB);
}

async function expectKept(device: BlockDevice): Promise<void> {
  const data = pattern(256 * 1024, 1);
  await Promise.all(
    Array.from({ length: 16 }, (_, index) =>
      device.writeAt(data.subarray(index * 16384, (index + 1) * 16384), index * 16384),
    ),
  );
  await device.syncAll();
  await device.invalidateCache();
  expect(Buffer.compare(await device.bytes(0, data.length), data)).toBe(0);
}

describeUnless(without("qemu-nbd", "nbd-client") ?? withoutModule("nbd"), "a disk over nbd", () => {
  writeFileSync("/tmp/nbd", "");
  truncateSync("/tmp/nbd", 32 * MiB);

  test("it is a disk as any other", async () => {
    await using _ = new Server();
    await connect();
    try {
      await using device = await BlockDevice.open(DISK, { write: true });
      expect(device.geometry.size).toBe(32 * MiB);
      await expectKept(device);
      expect(await device.discard(0, MiB)).toEqual({ method: "discard" });
      await device.writeZeroes(MiB, MiB);
      const zeroes = await device.bytes(MiB, 2 * MiB);
      expect(zeroes.every((byte) => byte === 0)).toBe(true);
    } finally {
      sh(`nbd-client -d ${DISK}`);
    }
  });

  test("the connection breaks with 128 operations in flight: all settle", async () => {
    const server = new Server();
    await connect();
    const device = await BlockDevice.open(DISK, { write: true });
    const calls = Array.from({ length: 128 }, (_, index) =>
      index % 2 === 0
        ? device.readAt(allocBuffer(65536), index * 65536)
        : device.writeAt(allocBuffer(65536).fill(index), index * 65536),
    );
    await server[Symbol.asyncDispose]();
    const outcomes = await Promise.allSettled(calls);
    for (const outcome of outcomes) {
      if (outcome.status === "fulfilled") expect(outcome.value).toBe(65536);
      else expect(["EIO", "ERR_DEVICE_GONE"]).toContain(outcome.reason.code);
    }
    const sync = await device.syncAll().catch((error: { code: string }) => error.code);
    expect(["EIO", "ERR_DEVICE_GONE"]).toContain(String(sync));
    await device.close().catch(() => {});
    sh(`nbd-client -d ${DISK}`);
  });

  test("connected again after a break, the disk goes on", async () => {
    for (let round = 0; round < 2; round++) {
      const server = new Server();
      await connect();
      const device = await BlockDevice.open(DISK, { write: true });
      await expectKept(device);
      await server[Symbol.asyncDispose]();
      await device.close();
      sh(`nbd-client -d ${DISK}`);
    }
  });
});

test("the connection breaks and is restored with 128 operations in flight: none is lost", async () => {
  const disk = "volatile-virtio";
  await using device = await BlockDevice.open(diskPath(disk), { write: true });
  const blocks = Array.from({ length: 128 }, (_, index) => pattern(32768, index));
  for (let round = 0; round < 5; round++) {
    const writes = blocks.map((block, index) => device.writeAt(block, index * 32768));
    const drops = [1, 2, 3].map(() => ask("drop-connection", disk));
    expect(await Promise.all(writes)).toEqual(blocks.map(({ length }) => length));
    for (const drop of drops) answer(drop);
    await device.syncAll();
    const read = new Uint8Array(128 * 32768);
    const reading = device.readExactAt(read, 0);
    answer(ask("drop-connection", disk));
    await reading;
    expect(Buffer.compare(read, Buffer.concat(blocks))).toBe(0);
    blocks.reverse();
  }
});
