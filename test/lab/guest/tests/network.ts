// Disks that come over the network, whose connection breaks.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { allocBuffer, BlockDevice, type IoError, listBlockDevices } from "../../../../src/index.ts";
import { describeUnless, isSince, testUnless } from "../../../support/conditions.ts";
import { pattern } from "../../../support/devices.ts";
import { expectDisk } from "../expect_disk.ts";
import { diskPath, requestsInFlight } from "../find_disk.ts";
import { answer, ask, until } from "../host.ts";
import { nbd } from "../nbd.ts";
import { Connection, type NetworkDisk, Server } from "../network_disk.ts";
import { findController, nvmeTcp } from "../nvme_tcp.ts";
import { expectGone } from "../removal.ts";

const MiB = 1 << 20;
const BLOCK = 65536;
const IN_FLIGHT = 128;
/** Where operations in flight write; what is below was synced before. */
const AT = IN_FLIGHT * BLOCK;
/** Seconds. A server on a busy machine may take some, too. */
const SHORT_PATIENCE = 6;
const PATIENCE = 600;

/** Writes the first 8 MiB, as `seed` says, and syncs. */
async function fill(device: BlockDevice, seed: number): Promise<Uint8Array> {
  const data = pattern(AT, seed);
  await device.writeAt(data, 0);
  await device.syncAll();
  return data;
}

interface Started {
  /** The first half reads what `fill` wrote, the second writes. */
  calls: Promise<number>[];
  buffers: Uint8Array[];
}

function start(device: BlockDevice): Started {
  const buffers = Array.from({ length: IN_FLIGHT }, (_, index) => allocBuffer(BLOCK).fill(index));
  const calls = buffers.map((buffer, index) =>
    index < IN_FLIGHT / 2
      ? device.readAt(buffer, index * BLOCK)
      : device.writeAt(buffer, AT + index * BLOCK),
  );
  return { calls, buffers };
}

/** The codes of those that failed; the others are complete. */
async function failures(calls: Promise<number>[]): Promise<string[]> {
  const outcomes = await Promise.allSettled(calls);
  for (const outcome of outcomes)
    if (outcome.status === "fulfilled") expect(outcome.value).toBe(BLOCK);
  return outcomes.flatMap((outcome) =>
    outcome.status === "rejected" ? [(outcome.reason as IoError).code] : [],
  );
}

function expectLost(codes: readonly string[]): void {
  expect(codes.filter((code) => !["EIO", "ERR_DEVICE_GONE"].includes(code))).toEqual([]);
}

/** Reads from the server, past the caches. */
async function expectBytes(device: BlockDevice, bytes: Uint8Array, offset: number): Promise<void> {
  await device.invalidateCache();
  const found = await device.bytes(offset, offset + bytes.length);
  expect(Buffer.compare(found, bytes)).toBe(0);
}

const describeDisk = (disk: NetworkDisk, define: () => void): void =>
  describeUnless(disk.missing, disk.name, define);

for (const disk of [nbd, nvmeTcp]) {
  describeDisk(disk, () => {
    test("it is a disk as any other", async () => {
      await using _ = new Server(disk);
      await using connection = await Connection.open(disk, PATIENCE);
      const { path } = connection;
      await expectDisk(path);
      const listed = (await listBlockDevices()).find((device) => device.path === path);
      expect(listed?.transport).toBe(disk.transport);
      await using device = await BlockDevice.open(path, { write: true });
      expect(device.geometry.size).toBe(disk.size);
      await fill(device, 1);
      expect(await device.discard(0, MiB)).toEqual({ method: "discard" });
      await device.writeZeroes(MiB, MiB);
      await expectBytes(device, new Uint8Array(MiB), MiB);
    });

    testUnless(
      disk.fragile,
      `the connection is lost with ${IN_FLIGHT} operations in flight: all fail, and what was synced is there`,
      async () => {
        const synced = await loseConnection(disk);
        await using _ = new Server(disk);
        await using connection = await Connection.open(disk, PATIENCE);
        await using device = await BlockDevice.open(connection.path, { write: true });
        await expectBytes(device, synced, 0);
        await fill(device, 3);
      },
    );
  });
}

/** The bytes that were synced before. */
async function loseConnection(disk: NetworkDisk): Promise<Uint8Array> {
  await using server = new Server(disk);
  await using connection = await Connection.open(disk, SHORT_PATIENCE);
  const { path } = connection;
  const device = await BlockDevice.open(path, { write: true });
  const synced = await fill(device, 2);
  server.hang();
  const { calls } = start(device);
  await until(() => requestsInFlight(path) > 0);
  await server.end();
  const codes = await failures(calls);
  expect(codes.length).toBe(IN_FLIGHT);
  expectLost(codes);
  expectLost([await device.syncAll().then(String, ({ code }: IoError) => code)]);
  await device.close().catch(({ code }: IoError) => expectLost([code]));
  return synced;
}

describeDisk(nvmeTcp, () => {
  test(`the connection breaks and is restored with ${IN_FLIGHT} operations in flight: none is lost`, async () => {
    await using server = new Server(nvmeTcp);
    await using connection = await Connection.open(nvmeTcp, PATIENCE);
    const { path } = connection;
    for (const isHanging of [true, false]) {
      await using device = await BlockDevice.open(path, { write: true });
      const synced = await fill(device, 4);
      if (isHanging) server.hang();
      const { calls, buffers } = start(device);
      if (isHanging) await until(() => requestsInFlight(path) > 0);
      await server.restart();
      expect(await failures(calls)).toEqual([]);
      const half = IN_FLIGHT / 2;
      const read = Buffer.concat(buffers.slice(0, half));
      expect(Buffer.compare(read, synced.subarray(0, read.length))).toBe(0);
      await device.syncAll();
      const written = Buffer.concat(buffers.slice(half));
      await expectBytes(device, synced, 0);
      await expectBytes(device, written, AT + half * BLOCK);
      const file = readFileSync(nvmeTcp.file);
      expect(Buffer.compare(file.subarray(0, AT), synced)).toBe(0);
      expect(Buffer.compare(file.subarray(AT + half * BLOCK, 2 * AT), written)).toBe(0);
    }
  });

  test(`the controller is deleted with ${IN_FLIGHT} operations in flight: all settle, and the disk is gone`, async () => {
    await using server = new Server(nvmeTcp);
    await using connection = await Connection.open(nvmeTcp, PATIENCE);
    const { path } = connection;
    const device = await BlockDevice.open(path, { write: true });
    await fill(device, 5);
    server.hang();
    const { calls } = start(device);
    await until(() => requestsInFlight(path) > 0);
    const controller = findController();
    const deletion = Bun.spawn(["sh", "-c", `echo 1 > ${controller}/delete_controller`]);
    await until(() => readFileSync(`${controller}/state`, "latin1").startsWith("deleting"));
    server.goOn();
    expectLost(await failures(calls));
    await deletion.exited;
    expect(await failures([device.readAt(allocBuffer(BLOCK), 0)])).toHaveLength(1);
    // Linux 5.10 keeps a disk without paths as long as it is open.
    if (isSince(6, 1)) await expectGone(device);
    await device.close().catch(({ code }: IoError) => expect(code).toBe("ERR_DEVICE_GONE"));
  });
});

describeDisk(nbd, () => {
  test("connected again after a break, the disk goes on", async () => {
    for (let round = 0; round < 2; round++) {
      await using server = new Server(nbd);
      await using connection = await Connection.open(nbd, PATIENCE);
      const device = await BlockDevice.open(connection.path, { write: true });
      await expectBytes(device, await fill(device, 6 + round), 0);
      await server.end();
      await device.close();
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
