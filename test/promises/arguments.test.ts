// Wrong arguments: each rejects with Node's code and names the argument and the value; a function that returns a
// promise never throws (promise 5). Also valid values at the limits.

import { expect, test } from "bun:test";
import { allocBuffer, BufferPool, File, type IoData, Ring } from "../../src/index.ts";
import { ioError, rejection, wrong } from "../support/expect.ts";
import { TempDir } from "../support/temp.ts";

type Call = (file: File, offset: unknown) => Promise<unknown>;
const atOffset: Record<string, Call> = {
  readAt: (file, offset) => file.readAt(new Uint8Array(1), wrong(offset)),
  readExactAt: (file, offset) => file.readExactAt(new Uint8Array(1), wrong(offset)),
  writeAt: (file, offset) => file.writeAt(new Uint8Array(1), wrong(offset)),
  readvAt: (file, offset) => file.readvAt([new Uint8Array(1)], wrong(offset)),
  writevAt: (file, offset) => file.writevAt([new Uint8Array(1)], wrong(offset)),
  allocate: (file, offset) => file.allocate(wrong(offset), 1),
  truncate: (file, size) => file.truncate(wrong(size)),
};

async function scratch(dir: TempDir): Promise<File> {
  return File.open(dir.file("scratch", "abcdef"), { write: true });
}

for (const [name, call] of Object.entries(atOffset)) {
  test(`${name}: wrong offsets name the value`, async () => {
    using dir = new TempDir();
    await using file = await scratch(dir);
    const argument = name === "truncate" ? "size" : "offset";
    const ranges: [unknown, string][] = [
      [-1, "-1"],
      [1.5, "1.5"],
      [Number.NaN, "NaN"],
      [Number.POSITIVE_INFINITY, "Infinity"],
      [2 ** 53, "9007199254740992"],
      [-1n, "-1n"],
      [2n ** 63n, "9223372036854775808n"],
      [2n ** 80n, "1208925819614629174706176n"],
    ];
    for (const [value, shown] of ranges) {
      const error = await rejection(call(file, value));
      expect(error).toBeInstanceOf(RangeError);
      expect(error.code).toBe("ERR_OUT_OF_RANGE");
      expect(error.message).toStartWith(`"${argument}" must be `);
      expect(error.message).toEndWith(`got ${shown}`);
    }
    for (const value of ["0", null, undefined, {}, [], true]) {
      const error = await rejection(call(file, value));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.code).toBe("ERR_INVALID_ARG_TYPE");
      expect(error.message).toContain(`"${argument}" must be a number or a bigint`);
    }
    expect(await file.size()).toBe(6);
  });
}

test("offset and length together stay below 2^63", async () => {
  using dir = new TempDir();
  await using file = await scratch(dir);
  const max = 2n ** 63n - 1n;
  expect(await file.readAt(new Uint8Array(0), max)).toBe(0);
  const error = await rejection(file.readAt(new Uint8Array(2), max - 1n));
  expect(error.code).toBe("ERR_OUT_OF_RANGE");
  expect(error.message).toContain("offset + length (2)");
  for (const call of [
    file.writeAt(new Uint8Array(1), max),
    file.readvAt([new Uint8Array(1)], max),
    file.allocate(max, 1),
  ]) {
    expect((await rejection(call)).code).toBe("ERR_OUT_OF_RANGE");
  }
});

test("bigint offsets are positions up to 2^63 - 1", async () => {
  using dir = new TempDir();
  await using file = await scratch(dir);
  const buffer = new Uint8Array(2);
  expect(await file.readAt(buffer, 2n)).toBe(2);
  expect(new TextDecoder().decode(buffer)).toBe("cd");
  // Not at position 0, nor at the low 32 bits (nodejs/node #21003).
  for (const offset of [2n ** 32n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 62n]) {
    expect(await file.readAt(buffer, offset)).toBe(0);
  }
  const far = 2n ** 62n + 1n;
  const outcome = await file.writeAt(buffer, far).catch((error: unknown) => error);
  if (outcome === buffer.byteLength) {
    // A tmpfs of FreeBSD has no limit below 2^63.
    expect(await file.readAt(new Uint8Array(4), far)).toBe(2);
    await file.truncate(6);
  } else {
    expect(outcome).toMatchObject({ code: "EFBIG", offset: far });
    expect(String(outcome)).toContain("offset 4611686018427387905");
    await ioError(file.truncate(2n ** 62n), "EFBIG");
  }
  expect(await file.size()).toBe(6);
});

test("offsets beyond 2^32 reach their place", async () => {
  using dir = new TempDir();
  await using file = await scratch(dir);
  const offset = 2 ** 33 + 3;
  expect(await file.writeAt(new Uint8Array([1, 2, 3]), offset)).toBe(3);
  expect(await file.size()).toBe(offset + 3);
  const buffer = new Uint8Array(4);
  expect(await file.readAt(buffer, BigInt(offset) - 1n)).toBe(4);
  expect([...buffer]).toEqual([0, 1, 2, 3]);
  expect(await file.readAt(buffer, 0)).toBe(4);
  expect(new TextDecoder().decode(buffer)).toBe("abcd");
});

test("data that is no memory names the argument", async () => {
  using dir = new TempDir();
  await using file = await scratch(dir);
  const pretender: unknown = Object.create(Uint8Array.prototype);
  for (const data of [undefined, null, "text", 5, {}, [1, 2], new Blob(["x"]), pretender]) {
    for (const call of [
      file.readAt(wrong(data), 0),
      file.readExactAt(wrong(data), 0),
      file.writeAt(wrong(data), 0),
    ]) {
      const error = await rejection(call);
      expect(error).toBeInstanceOf(TypeError);
      expect(error.code).toBe("ERR_INVALID_ARG_TYPE");
      expect(error.message).toContain('"data" must be an ArrayBufferView, ArrayBuffer or Shared');
    }
    const inside = await rejection(file.readvAt([new Uint8Array(1), wrong(data)], 0));
    expect(inside.message).toContain('"data[1]" must be an ArrayBufferView');
  }
  for (const data of [undefined, "text", new Uint8Array(4), { length: 0 }, new Set()]) {
    const error = await rejection(file.writevAt(wrong(data), 0));
    expect(error.code).toBe("ERR_INVALID_ARG_TYPE");
    expect(error.message).toContain('"data" must be an array of buffers');
  }
  expect(await file.size()).toBe(6);
});

test("what only looks like a view is refused", async () => {
  using dir = new TempDir();
  await using file = await scratch(dir);
  const imitations = [
    Object.create(Uint8Array.prototype),
    new Proxy(new Uint8Array(4), {}),
    Object.setPrototypeOf({ byteLength: 4, byteOffset: 0 }, DataView.prototype),
  ];
  for (const data of imitations) {
    const calls = [file.readAt(wrong(data), 0), file.writevAt([wrong(data)], 0)];
    for (const call of calls) {
      const error = await rejection(call);
      expect(error.code).toBe("ERR_INVALID_ARG_TYPE");
      expect(error.message).toContain(
        "must be an ArrayBufferView, ArrayBuffer or SharedArrayBuffer",
      );
    }
  }
});

test("memory that is detached at the call is refused", async () => {
  using dir = new TempDir();
  await using file = await scratch(dir);
  const buffer = new ArrayBuffer(8);
  const view = new Uint8Array(buffer);
  const words = new Float64Array(buffer, 0, 0);
  const dataView = new DataView(buffer, 2);
  const native = allocBuffer(8);
  structuredClone(buffer, { transfer: [buffer] });
  native.buffer.transfer();
  for (const data of [buffer, view, words, dataView, native, native.buffer]) {
    for (const call of [file.readAt(data, 0), file.writeAt(data, 0)]) {
      const error = await rejection(call);
      expect(error.code).toBe("ERR_INVALID_ARG_VALUE");
      expect(error.message).toContain('"data" is detached');
    }
    const error = await rejection(file.readvAt([data], 0));
    expect(error.message).toContain('"data[0]" is detached');
  }
});

test("a view that its resizable buffer no longer reaches is refused", async () => {
  using dir = new TempDir();
  await using file = await scratch(dir);
  const buffer = new ArrayBuffer(16, { maxByteLength: 32 });
  const outside = [new Uint8Array(buffer, 4, 8), new DataView(buffer, 4, 8)];
  const atTheEnd = new Uint8Array(buffer, 4);
  buffer.resize(4);
  for (const data of outside) {
    for (const call of [file.readAt(data, 0), file.writeAt(data, 0)]) {
      const error = await rejection(call);
      expect(error.code).toBe("ERR_INVALID_ARG_VALUE");
      expect(error.message).toContain('"data" lies outside of its buffer');
    }
    const error = await rejection(file.writevAt([atTheEnd, data], 0));
    expect(error.code).toBe("ERR_INVALID_ARG_VALUE");
    expect(error.message).toContain('"data[1]" lies outside of its buffer');
  }
  expect(await file.writeAt(atTheEnd, 0)).toBe(0);
  buffer.resize(16);
  for (const data of outside) expect(await file.readAt(data, 0)).toBe(6);
});

test("wrong options of operations", async () => {
  using dir = new TempDir();
  await using file = await scratch(dir);
  const data = new Uint8Array(1);
  const calls: Record<string, (options: unknown) => Promise<unknown>> = {
    read: (options) => file.readAt(data, 0, wrong(options)),
    readExact: (options) => file.readExactAt(data, 0, wrong(options)),
    write: (options) => file.writeAt(data, 0, wrong(options)),
    readv: (options) => file.readvAt([data], 0, wrong(options)),
    writev: (options) => file.writevAt([data], 0, wrong(options)),
    fsync: (options) => file.syncAll(wrong(options)),
    fdatasync: (options) => file.syncData(wrong(options)),
    ftruncate: (options) => file.truncate(1, wrong(options)),
    fallocate: (options) => file.allocate(0, 1, wrong(options)),
    open: (options) => File.open(dir.file("scratch"), wrong(options)),
  };
  for (const call of Object.values(calls)) {
    const unknown = await rejection(call({ timeuot: 1 }));
    expect(unknown.code).toBe("ERR_INVALID_ARG_VALUE");
    expect(unknown.message).toContain('"options.timeuot" is not an option of');
    expect((await rejection(call([]))).code).toBe("ERR_INVALID_ARG_TYPE");
    for (const timeout of [-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31]) {
      const error = await rejection(call({ timeout }));
      expect(error.code).toBe("ERR_OUT_OF_RANGE");
      expect(error.message).toContain(
        `"options.timeout" must be from 0 to 2147483647 ms; got ${timeout}`,
      );
    }
    expect((await rejection(call({ timeout: "1" }))).code).toBe("ERR_INVALID_ARG_TYPE");
    for (const signal of [{}, Object.create(AbortSignal.prototype)]) {
      const error = await rejection(call({ signal }));
      expect(error.code).toBe("ERR_INVALID_ARG_TYPE");
      expect(error.message).toContain('"options.signal" must be an AbortSignal');
    }
    expect((await rejection(call(7))).message).toContain('"options" must be an object');
    expect((await rejection(call(null))).message).toContain('"options" must be an object');
  }
  expect(await file.size()).toBe(6);
});

test("wrong lengths of allocate", async () => {
  using dir = new TempDir();
  await using file = await scratch(dir);
  for (const length of [0, -1, 0.5, Number.NaN, 2 ** 53]) {
    const error = await rejection(file.allocate(0, length));
    expect(error.code).toBe("ERR_OUT_OF_RANGE");
    expect(error.message).toContain('"length" must be an integer from 1 to');
  }
  expect((await rejection(file.allocate(0, wrong(1n)))).code).toBe("ERR_INVALID_ARG_TYPE");
  await ioError(file.allocate(0, 2 ** 53 - 1), "EFBIG");
});

test("requests for no bytes settle with 0, on files that allow them", async () => {
  using dir = new TempDir();
  await using file = await scratch(dir);
  const empties = [
    new Uint8Array(0),
    new ArrayBuffer(0),
    new SharedArrayBuffer(0),
    new DataView(new ArrayBuffer(4), 4),
  ];
  for (const data of [...empties, allocBuffer(1).subarray(1)]) {
    expect(await file.readAt(data, 3)).toBe(0);
    expect(await file.readExactAt(data, 100)).toBeUndefined();
    expect(await file.writeAt(data, 100)).toBe(0);
    expect(await file.readvAt([data, data], 0)).toBe(0);
    expect(await file.writevAt([data], 100)).toBe(0);
  }
  expect(await file.size()).toBe(6);
});

test("what returns a promise never throws at the call", async () => {
  using dir = new TempDir();
  const file = await scratch(dir);
  const pool = new BufferPool({ size: 1, count: 1 });
  const nothing = wrong<never>(undefined);
  const symbol = wrong<never>(Symbol("x"));
  const hostile = wrong<never>(
    new Proxy(
      {},
      {
        get: () => {
          throw new Error("trap");
        },
        ownKeys: () => {
          throw new Error("trap");
        },
      },
    ),
  );
  const calls: (() => Promise<unknown>)[] = [];
  for (const value of [nothing, symbol, hostile]) {
    calls.push(
      () => File.open(value),
      () => File.open("/", value === nothing ? wrong(null) : value),
      () => File.fromFd(value),
      () => file.readAt(value, 0),
      () => file.readAt(new Uint8Array(1), value),
      () => file.writeAt(value, value, value),
      () => file.readvAt(value, value),
      () => file.readvAt([value], 0),
      () => file.writevAt([value], value),
      () => file.truncate(value),
      () => file.allocate(value, value),
    );
    if (value === nothing) continue;
    calls.push(
      () => file.readAt(new Uint8Array(1), 0, value),
      () => file.syncAll(value),
      () => file.syncData(value),
      () => pool.acquire(value),
    );
  }
  for (const call of calls) {
    const promise = call();
    expect(promise).toBeInstanceOf(Promise);
    await rejection(promise);
  }
  await file.close();
});

test("Ring.open refuses wrong options by name", () => {
  const cases: [unknown, string, string][] = [
    [
      { backend: "uring" },
      "ERR_INVALID_ARG_VALUE",
      '"options.backend" must be one of auto, io_uring',
    ],
    [{ backend: "toString" }, "ERR_INVALID_ARG_VALUE", '"options.backend" must be one of'],
    [{ backend: 1 }, "ERR_INVALID_ARG_VALUE", '"options.backend" must be one of'],
    [
      { queueDepth: 0 },
      "ERR_OUT_OF_RANGE",
      '"options.queueDepth" must be an integer from 1 to 4096; got 0',
    ],
    [
      { queueDepth: 4097 },
      "ERR_OUT_OF_RANGE",
      '"options.queueDepth" must be an integer from 1 to 4096',
    ],
    [
      { queueDepth: 1.5 },
      "ERR_OUT_OF_RANGE",
      '"options.queueDepth" must be an integer from 1 to 4096',
    ],
    [{ queueDepth: "8" }, "ERR_INVALID_ARG_TYPE", '"options.queueDepth" must be a number'],
    [
      { pollMicroseconds: 1001 },
      "ERR_OUT_OF_RANGE",
      '"options.pollMicroseconds" must be an integer from 0 to 1000; got 1001',
    ],
    [
      { pollMicroseconds: "50" },
      "ERR_INVALID_ARG_TYPE",
      '"options.pollMicroseconds" must be a number',
    ],
    [
      { queuedepth: 8 },
      "ERR_INVALID_ARG_VALUE",
      '"options.queuedepth" is not an option of Ring.open',
    ],
    [null, "ERR_INVALID_ARG_TYPE", '"options" must be an object'],
  ];
  for (const [options, code, message] of cases) {
    try {
      Ring.open(wrong(options));
      throw new Error(`opened with ${Bun.inspect(options)}`);
    } catch (error) {
      expect((error as Error).message).toContain(message);
      expect((error as { code?: string }).code).toBe(code);
    }
  }
});

/** What a caller's getter can do in the middle of a call. */
const closers: Record<string, (file: File, close: () => void) => Promise<unknown>> = {
  "readAt, options": (file, close) => file.readAt(allocBuffer(4), 0, closingOptions(close)),
  "writevAt, options": (file, close) => file.writevAt([allocBuffer(4)], 0, closingOptions(close)),
  "syncAll, options": (file, close) => file.syncAll(closingOptions(close)),
  "truncate, options": (file, close) => file.truncate(4, closingOptions(close)),
};

function closingOptions(close: () => void): { timeout?: undefined } {
  return {
    get timeout(): undefined {
      close();
      return undefined;
    },
  };
}

// Else it would run on whatever has that descriptor by then, or wait for a ring that is gone.
for (const [name, call] of Object.entries(closers)) {
  test(`${name}: a getter that closes the file or the ring ends the call`, async () => {
    using dir = new TempDir();
    const ring = Ring.open();
    const path = dir.file("scratch", "abcdef");
    const first = await File.open(path, { write: true, ring });
    let closing: Promise<void> | undefined;
    const closed = await rejection(
      call(first, () => {
        closing ??= first.close();
      }),
    );
    expect(closed).toMatchObject({ code: "EBADF" });
    expect((closed as Error).message).toContain("the file is closed");
    await closing;

    const second = await File.open(path, { write: true, ring });
    let ringClosing: Promise<void> | undefined;
    const ended = await rejection(
      call(second, () => {
        ringClosing ??= ring.close();
      }),
    );
    expect(ended).toMatchObject({ code: "ERR_RING_CLOSED" });
    await ringClosing;
    await second.close();
  });
}

test("File.open: a getter that closes the ring ends the call", async () => {
  using dir = new TempDir();
  const ring = Ring.open();
  let closing: Promise<void> | undefined;
  const opening = File.open(dir.file("scratch", "abcdef"), {
    ring,
    get timeout(): undefined {
      closing ??= ring.close();
      return undefined;
    },
  });
  expect(await rejection(opening)).toMatchObject({ code: "ERR_RING_CLOSED" });
  await closing;
});

test("objects with the prototype of a buffer are no buffers", async () => {
  using dir = new TempDir();
  await using file = await scratch(dir);
  for (const kind of [ArrayBuffer, SharedArrayBuffer, Uint8Array, DataView]) {
    const forged: IoData = Object.create(kind.prototype);
    for (const call of [file.readAt(forged, 0), file.writevAt([forged], 0)]) {
      const error = await rejection(call);
      expect(error).toBeInstanceOf(TypeError);
      expect(error).toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    }
  }
});
