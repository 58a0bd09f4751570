// `serveNbd`: other programs are the witnesses, and a client of our own for what they never say.

import { expect, test } from "bun:test";
import fs from "node:fs";
import fc from "fast-check";
import { allocBuffer, BlockDevice } from "../../src/index.ts";
import {
  imageDevice,
  type NbdServer,
  overlayDevice,
  serveNbd,
  simulatedDevice,
  trackLeaks,
} from "../../src/testing/index.ts";
import { run } from "../support/child.ts";
import { faulty, testUnless, without } from "../support/conditions.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const MiB = 2 ** 20;
const noPrograms = without("nbdinfo", "nbdcopy", "qemu-io", "qemu-img");

async function out(...command: string[]): Promise<string> {
  const { stdout, stderr, end } = await run(command);
  if (end !== 0) throw new Error(`${command.join(" ")}: ${end}\n${stdout}${stderr}`);
  return stdout;
}

/** qemu-io's words about each command. */
async function io(server: NbdServer, ...commands: string[]): Promise<string> {
  const words = commands.flatMap((command) => ["-c", command]);
  const { stdout, stderr } = await run(["qemu-io", "-f", "raw", ...words, server.uri]);
  return stdout + stderr;
}

testUnless(noPrograms, "nbdinfo sees what is exported", async () => {
  await using device = await simulatedDevice({ size: 4 * MiB, sectorSize: 4096 });
  await using server = serveNbd(device, { port: 0 });
  const info = JSON.parse(await out("nbdinfo", "--json", server.uri));
  expect(info).toMatchObject({ protocol: "newstyle-fixed", structured: true });
  expect(info.exports[0]).toMatchObject({
    "export-size": 4 * MiB,
    is_read_only: false,
    can_flush: true,
    can_fua: true,
    can_trim: true,
    can_zero: true,
    can_df: true,
    can_multi_conn: true,
    block_size_minimum: 4096,
    block_size_maximum: 32 * MiB,
    contexts: ["base:allocation"],
  });
  expect(await out("nbdinfo", "--list", server.uri)).toContain("export");
  expect(await out("nbdinfo", "--size", server.uri)).toBe(`${4 * MiB}\n`);
});

testUnless(noPrograms, "nbdcopy and qemu-img copy whole devices both ways", async () => {
  using dir = new TempDir();
  const bytes = pattern(8 * MiB);
  await using device = await simulatedDevice({ size: bytes.length });
  const socket = dir.file("nbd socket");
  await using server = serveNbd(device, { socket });
  await out("nbdcopy", "--flush", dir.file("in", bytes), server.uri);
  const back = allocBuffer(bytes.length);
  await device.readExactAt(back, 0);
  expect(Buffer.compare(back, bytes)).toBe(0);
  // Flushed: it survives.
  expect(Buffer.compare(await device.crash(), bytes)).toBe(0);
  await using again = await device.reopen();
  await server[Symbol.asyncDispose]();
  await using second = serveNbd(again, { socket });
  await out("nbdcopy", second.uri, dir.file("out"));
  expect(Buffer.compare(fs.readFileSync(dir.file("out")), bytes)).toBe(0);
  await out("qemu-img", "convert", "-f", "raw", "-O", "qcow2", second.uri, dir.file("q"));
  const compared = await out("qemu-img", "compare", dir.file("q"), dir.file("in"));
  expect(compared).toContain("identical");
});

testUnless(
  noPrograms,
  "qemu-io: patterns, zeroes, trim, FUA, flush, unaligned ranges",
  async () => {
    await using device = await simulatedDevice({ size: 4 * MiB, seed: 1 });
    await using server = serveNbd(device, { port: 0 });
    const said = await io(
      server,
      "write -P 7 0 1M",
      "write -P 9 777 4000",
      "read -P 7 0 777",
      "read -P 9 777 4000",
      "read -P 7 4777 4000",
      "write -z 100k 200k",
      "read -P 0 100k 200k",
      "write -z 1000001 17",
      "read -P 0 1000001 17",
      "discard 512k 64k",
      "read -P 0 512k 64k",
      "write -f -P 5 2M 64k",
    );
    expect(said).not.toMatch(/fail|error|mismatch/i);
    // FUA: that write survives, whatever else does.
    const survivor = await device.crash();
    expect(survivor.subarray(2 * MiB, 2 * MiB + 65_536).every((byte) => byte === 5)).toBe(true);
  },
);

testUnless(noPrograms, "holes of an image are told of, and stay holes", async () => {
  using dir = new TempDir();
  const path = dir.file("image", new Uint8Array(16 * MiB));
  fs.truncateSync(path, 0);
  fs.truncateSync(path, 16 * MiB);
  await using device = await BlockDevice.open(path, { write: true });
  await device.writeAt(allocBuffer(65_536).fill(1), 8 * MiB);
  await using server = serveNbd(device, { port: 0 });
  const map = JSON.parse(await out("nbdinfo", "--map", "--json", server.uri)) as {
    offset: number;
    length: number;
    type: number;
  }[];
  expect(map.map(({ offset, length, type }) => [offset, length, type])).toEqual([
    [0, 8 * MiB, 3],
    [8 * MiB, 65_536, 0],
    [8 * MiB + 65_536, 8 * MiB - 65_536, 3],
  ]);
});

testUnless(noPrograms, "faults, ends and read-only devices reach the client by name", async () => {
  await using device = await simulatedDevice({
    size: MiB,
    faults: [{ operation: "read", offset: 65_536, length: 512, error: "EIO" }],
  });
  await using server = serveNbd(device, { port: 0 });
  expect(await io(server, "read 0 64k", "read 64k 512")).toContain("Input/output error");
  device.faults.add({ operation: "write", error: "ENOSPC" });
  expect(await io(server, "write 0 512")).toContain("No space left on device");
  using dir = new TempDir();
  await using readOnly = await BlockDevice.open(dir.file("image", new Uint8Array(MiB)));
  await using other = serveNbd(readOnly, { port: 0 });
  expect(JSON.parse(await out("nbdinfo", "--json", other.uri)).exports[0].is_read_only).toBe(true);
  expect((await run(["qemu-io", "-f", "raw", "-c", "write 0 512", other.uri])).stderr).toMatch(
    /permi/i,
  );
  await using base = await overlayDevice(readOnly);
  await using third = serveNbd(base, { port: 0 });
  expect(await io(third, "write -P 3 0 512", "read -P 3 0 512")).not.toMatch(/fail|error/i);
  expect(base.changes()).toEqual([{ offset: 0, length: 512 }]);
});

testUnless(
  noPrograms ?? imageDevice.unavailable(),
  "a device of the kernel is served like any other",
  async () => {
    await using device = await imageDevice({ size: 4 * MiB });
    await using server = serveNbd(device, { port: 0 });
    expect(await io(server, "write -P 3 1M 1M", "flush", "read -P 3 1M 1M")).not.toMatch(/fail/i);
  },
);

// A client of our own ------------------------------------------------------------------------------

class Client implements AsyncDisposable {
  readonly #socket: Bun.Socket;
  #bytes = Buffer.alloc(0);
  #changed: () => void = () => {};
  closed = false;

  private constructor(socket: Bun.Socket) {
    this.#socket = socket;
  }

  static async connect(port: number): Promise<Client> {
    let client: Client | undefined;
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, data) => client?.receive(data),
        close: () => client?.over(),
        open: (opened) => {
          client = new Client(opened);
        },
      },
    });
    return client ?? new Client(socket);
  }

  receive(data: Uint8Array): void {
    this.#bytes = Buffer.concat([this.#bytes, data]);
    this.#changed();
  }

  over(): void {
    this.closed = true;
    this.#changed();
  }

  send(...parts: Uint8Array[]): void {
    this.#socket.write(Buffer.concat(parts));
  }

  async read(count: number): Promise<Buffer> {
    while (this.#bytes.length < count && !this.closed) await this.#change();
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return taken;
  }

  async untilClosed(): Promise<void> {
    while (!this.closed) await this.#change();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#changed = resolve;
    });
  }

  /** Up to the requests, in the oldest way: simple replies. */
  async begin(): Promise<void> {
    await this.read(18);
    const name = Buffer.alloc(20);
    name.writeUInt32BE(3, 0);
    name.write("IHAVEOPT", 4);
    name.writeUInt32BE(1, 12);
    this.send(name);
    await this.read(10);
  }

  request(command: number, offset: bigint, length: number, flags = 0, cookie = 1n): void {
    const head = Buffer.alloc(28);
    head.writeUInt32BE(0x2560_9513, 0);
    head.writeUInt16BE(flags, 4);
    head.writeUInt16BE(command, 6);
    head.writeBigUInt64BE(cookie, 8);
    head.writeBigUInt64BE(offset, 16);
    head.writeUInt32BE(length, 24);
    this.send(head);
  }

  async error(): Promise<number> {
    return (await this.read(16)).readUInt32BE(4);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.terminate();
  }
}

test("requests that make no sense are answered with errors, and the next one is served", async () => {
  await using device = await simulatedDevice({ size: MiB });
  await using server = serveNbd(device, { port: 0 });
  await using client = await Client.connect(server.port ?? 0);
  await client.begin();
  const [EINVAL, ENOSPC, EOVERFLOW] = [22, 28, 75];
  const wrong: [number, bigint, number, number, number][] = [
    [0, BigInt(MiB), 1, 0, EINVAL],
    [0, 2n ** 64n - 1n, 512, 0, EINVAL],
    [4, BigInt(MiB), 512, 0, EINVAL],
    [6, BigInt(MiB - 512), 1024, 0, ENOSPC],
    [5, 0n, 512, 0, EINVAL],
    [7, 0n, 512, 0, EINVAL],
    [99, 0n, 0, 0, EINVAL],
    [0, 0n, 512, 0xffff, EINVAL],
    [3, 0n, 0, 2, EINVAL],
  ];
  for (const [command, offset, length, flags, error] of wrong) {
    client.request(command, offset, length, flags);
    expect([command, await client.error()]).toEqual([command, error]);
  }
  await using large = await simulatedDevice({ size: 64 * MiB });
  await using other = serveNbd(large, { port: 0 });
  await using second = await Client.connect(other.port ?? 0);
  await second.begin();
  second.request(0, 0n, 33 * MiB);
  expect(await second.error()).toBe(EOVERFLOW);
  client.request(1, BigInt(MiB - 1), 2);
  client.send(Buffer.from([1, 2]));
  expect(await client.error()).toBe(ENOSPC);
  client.request(1, 5n, 3);
  client.send(Buffer.from([7, 8, 9]));
  expect(await client.error()).toBe(0);
  client.request(0, 4n, 5);
  expect(await client.error()).toBe(0);
  expect([...(await client.read(5))]).toEqual([0, 7, 8, 9, 0]);
  client.request(2, 0n, 0);
  await client.untilClosed();
});

test("requests are answered as they end, and one that goes away leaves the others alone", async () => {
  await using device = await simulatedDevice({
    size: MiB,
    faults: [{ operation: "read", offset: 0, length: 512, latency: 200 }],
  });
  await using server = serveNbd(device, { port: 0 });
  await using client = await Client.connect(server.port ?? 0);
  await client.begin();
  client.request(0, 0n, 512, 0, 1n);
  client.request(0, 4096n, 512, 0, 2n);
  expect((await client.read(16)).readBigUInt64BE(8)).toBe(2n);
  const gone = await Client.connect(server.port ?? 0);
  await gone.begin();
  gone.request(0, 0n, 512, 0, 3n);
  await gone[Symbol.asyncDispose]();
  await client.read(512);
  expect((await client.read(16)).readBigUInt64BE(8)).toBe(1n);
});

test("an option of 64 KiB is answered; a longer one ends the conversation", async () => {
  await using device = await simulatedDevice({ size: MiB });
  await using server = serveNbd(device, { port: 0 });
  await using client = await Client.connect(server.port ?? 0);
  await client.read(18);
  client.send(Buffer.from([0, 0, 0, 3]));
  const option = (length: number): Buffer => {
    const words = Buffer.alloc(16 + length);
    words.write("IHAVEOPT", 0);
    words.writeUInt32BE(99, 8);
    words.writeUInt32BE(length, 12);
    return words;
  };
  client.send(option(65_536));
  const UNSUPPORTED = 0x8000_0001;
  expect((await client.read(20)).readUInt32BE(12)).toBe(UNSUPPORTED);
  client.send(option(65_537));
  expect((await client.read(20)).length).toBe(0);
});

test("requests beyond 128 or 64 MiB wait in the socket until others are answered", async () => {
  const [READ, TRIM] = [0, 4];
  await using device = await simulatedDevice({ size: 96 * MiB });
  await using server = serveNbd(device, { port: 0 });
  const port = server.port ?? 0;
  for (const { command, count, length, taken } of [
    { command: READ, count: 150, length: 512, taken: 128 },
    { command: TRIM, count: 3, length: 32 * MiB, taken: 2 },
  ]) {
    using hang = device.faults.add({ operation: "any", hang: true });
    await using client = await Client.connect(port);
    await client.begin();
    for (let index = 0; index < count; index++) {
      client.request(command, BigInt(index * length), length);
    }
    while (device.ring.stats().inFlight < taken) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    // Whole conversations with somebody else, during which the server could have taken more.
    for (let round = 0; round < 20; round++) {
      await using other = await Client.connect(port);
      await other.begin();
      other.request(99, 0n, 0);
      expect(await other.error()).toBe(22);
    }
    expect(device.ring.stats().inFlight).toBe(taken);
    hang[Symbol.dispose]();
    for (let answer = 1; answer <= count; answer++) {
      expect(await client.error()).toBe(0);
      if (command === READ) await client.read(length);
    }
  }
});

test("what was written or zeroed with FUA is on the medium when it is answered", async () => {
  const FUA = 1;
  const image = new Uint8Array(64 * 1024).fill(5);
  const isKept = async (seed: number, command: number, flags: number): Promise<boolean> => {
    await using device = await simulatedDevice({ image, seed });
    await using server = serveNbd(device, { port: 0 });
    await using client = await Client.connect(server.port ?? 0);
    await client.begin();
    client.request(command, 4096n, 8192, flags);
    if (command === 1) client.send(Buffer.alloc(8192, 7));
    expect(await client.error()).toBe(0);
    const survivor = (await device.crash()).subarray(4096, 12_288);
    return survivor.every((byte) => byte === (command === 1 ? 7 : 0));
  };
  const seeds = [1, 2, 3, 4, 5, 6, 7, 8];
  for (const command of [1, 6]) {
    expect(await Promise.all(seeds.map((seed) => isKept(seed, command, FUA)))).not.toContain(false);
    expect(await Promise.all(seeds.map((seed) => isKept(seed, command, 0)))).toContain(false);
  }
});

test("clients that break the protocol are disconnected; the server and its device live on", async () => {
  await using leaks = trackLeaks();
  void leaks;
  await using device = await simulatedDevice({ size: MiB });
  await using server = serveNbd(device, { port: 0 });
  const port = server.port ?? 0;
  const head = Buffer.alloc(28);
  head.writeUInt32BE(0x2560_9513, 0);
  // Random bytes, some of which begin as they should.
  const option = fc
    .tuple(fc.integer({ min: 0, max: 12 }), fc.uint8Array({ maxLength: 64 }), fc.integer())
    .map(([kind, data, lie]) => {
      const words = Buffer.alloc(16);
      words.write("IHAVEOPT", 0);
      words.writeUInt32BE(kind, 8);
      words.writeUInt32BE(lie % 4 === 0 ? lie >>> 0 : data.length, 12);
      return Buffer.concat([words, data]);
    });
  const request = fc
    .tuple(fc.integer({ min: 0, max: 9 }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat())
    .map(([command, offset, length]) => {
      const words = Buffer.from(head);
      words.writeUInt16BE(command, 6);
      words.writeBigUInt64BE(offset >> (offset & 63n), 16);
      words.writeUInt32BE(length, 24);
      return words;
    });
  const noise = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
  const flags = fc.constantFrom(
    Buffer.from([0, 0, 0, 3]),
    Buffer.from([0, 0, 0, 1]),
    Buffer.alloc(3),
  );
  const talk = fc.tuple(
    flags,
    fc.array(fc.oneof(option, option, request, noise), { maxLength: 8 }),
  );
  await fc.assert(
    fc.asyncProperty(talk, fc.boolean(), async ([first, rest], begins) => {
      await using client = await Client.connect(port);
      if (begins) await client.begin();
      client.send(first, ...rest);
    }),
    { numRuns: faulty ? 20 : 100 },
  );
  await using client = await Client.connect(port);
  await client.begin();
  client.request(0, 0n, 512);
  expect(await client.error()).toBe(0);
});

test("a server ends with its clients' requests, and leaves nothing behind", async () => {
  using dir = new TempDir();
  const leaks = trackLeaks();
  {
    await using device = await simulatedDevice({
      size: MiB,
      faults: [{ operation: "write", latency: 20 }],
    });
    const server = serveNbd(device, { port: 0 });
    await using client = await Client.connect(server.port ?? 0);
    await client.begin();
    client.request(1, 0n, 512);
    client.send(Buffer.alloc(512, 9));
    while (device.ring.stats().inFlight === 0)
      await new Promise((resolve) => setImmediate(resolve));
    const first = server[Symbol.asyncDispose]();
    expect(server[Symbol.asyncDispose]()).toBe(first);
    await first;
    expect(device.ring.stats().inFlight).toBe(0);
    await client.untilClosed();
    const data = allocBuffer(1);
    await device.readAt(data, 0);
    expect(data[0]).toBe(9);
    const socket = dir.file("socket");
    await serveNbd(device, { socket })[Symbol.asyncDispose]();
    expect(fs.existsSync(socket)).toBe(false);
    await using other = serveNbd(device, { port: 0 });
    expect(() => serveNbd(device, { port: other.port })).toThrow("Failed to listen");
  }
  await leaks[Symbol.asyncDispose]();
});

test("a server that is forgotten is a leak; wrong arguments are refused by name", async () => {
  await using device = await simulatedDevice({ size: MiB });
  const leaks = trackLeaks();
  const server = serveNbd(device, { port: 0 });
  await expect(leaks[Symbol.asyncDispose]()).rejects.toThrow("server");
  await server[Symbol.asyncDispose]();
  const wrong = (options: unknown, of: unknown = device): unknown => {
    try {
      return serveNbd(of as BlockDevice, options as { port: number });
    } catch (error) {
      return `${(error as Error).name} ${(error as { code?: string }).code} ${(error as Error).message}`;
    }
  };
  expect(wrong({ port: 0 }, {})).toContain(
    'TypeError ERR_INVALID_ARG_TYPE "device" must be a BlockDevice',
  );
  for (const options of [{}, undefined, { port: 0, socket: "x" }, { port: -1 }, { port: 65_536 }]) {
    expect(wrong(options)).toMatch(/^(Type|Range)Error ERR_/);
  }
  expect(wrong({ socket: 5 })).toContain("options.socket");
  expect(wrong({ port: 0, hots: "x" })).toContain("hots");
});
