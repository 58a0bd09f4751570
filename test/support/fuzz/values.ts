// Values of every type, right and wrong, for test/support/fuzz/api.ts. Strings are never absolute paths
// and never climb: whatever is opened or made stays in the working directory.

import { allocBuffer } from "../../../src/index.ts";
import type { Random } from "../random.ts";

/** Thrown by hostile getters: passing it on is right, anything else is ours. */
export class Planted extends Error {
  override name = "Planted";
}

function plant(): never {
  throw new Planted("from a getter of the caller");
}

/** What is in no other list: one of each kind of value the language has. */
const ODD: readonly (() => unknown)[] = [
  () => undefined,
  () => null,
  () => true,
  () => false,
  () => "",
  () => "text",
  () => "\u0000",
  () => "\ud800 lone surrogate",
  () => "12",
  () => Symbol("odd"),
  () => Symbol.iterator,
  () => 0n,
  () => -1n,
  () => 2n ** 64n,
  () => Number.NaN,
  () => Number.POSITIVE_INFINITY,
  () => -0,
  () => -1,
  () => 0.5,
  () => 2 ** 53,
  () => Number.MAX_VALUE,
  () => ({}),
  () => [],
  () => [undefined],
  () => new Array(3),
  () => Object.create(null),
  () => Object.freeze({}),
  () => () => {},
  () => class {},
  () => function* generator() {},
  () => async () => {},
  () => new Date(Number.NaN),
  () => /x/,
  () => new Map([[1, 2]]),
  () => new Set([1]),
  () => new WeakMap(),
  () => Promise.resolve(1),
  () => new Error("odd"),
  () => new Proxy({}, {}),
  () => new Proxy(new Uint8Array(8), {}),
  () => new Proxy([], { get: plant }),
  () => new Proxy({}, { get: plant, has: plant, ownKeys: plant, getPrototypeOf: plant }),
  () => ({ valueOf: plant, toString: plant, [Symbol.toPrimitive]: plant }),
  () => ({ valueOf: () => 7 }),
  () => globalThis,
  () => new String("boxed"),
  () => new Number(3),
  () => new Blob(["x"]),
  () => new Response("x"),
  // Not one that never says anything: nobody could copy that.
  () => new ReadableStream({ start: (controller) => controller.close() }),
  () => new ReadableStream({ start: (controller) => controller.error(new Planted("stream")) }),
  () => new URL("http://localhost/x"),
  () => new WebAssembly.Memory({ initial: 1 }),
  () => revoked(),
  () => new Proxy([], { getPrototypeOf: plant }),
];

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

/** One of them; unlike `Random.pick` it may be undefined. */
export function draw<T>(random: Random, values: readonly T[]): T {
  return values[random.below(values.length)] as T;
}

export function odd(random: Random): unknown {
  return draw(random, ODD)();
}

/** A position or a size: small, at an edge, or absurd. Nothing between that would fill the disk. */
export function position(random: Random): number | bigint {
  switch (random.below(8)) {
    case 0:
      return draw(random, [2 ** 44 + 1, 2 ** 53 - 1, 2n ** 53n, 2n ** 62n, 2n ** 63n - 1n]);
    case 1:
      return BigInt(random.below(65536));
    case 2:
      return random.below(64) * 512;
    case 3:
      return random.below(16) * 4096;
    default:
      return random.below(262144);
  }
}

function byteLength(random: Random): number {
  switch (random.below(8)) {
    case 0:
      return 0;
    case 1:
      return 4096 * random.between(1, 4);
    case 2:
      return random.between(1, 3 << 20);
    default:
      return random.below(5000);
  }
}

/** A class that says more than it has, or throws when asked. */
class Lying extends Uint8Array<ArrayBuffer> {
  override get byteLength(): number {
    return 1 << 20;
  }
}

class Shifty extends Uint8Array<ArrayBuffer> {
  override get byteOffset(): number {
    return -4096;
  }
}

class Throwing extends Uint8Array<ArrayBuffer> {
  override get byteLength(): number {
    return plant();
  }
}

class Other extends Uint8Array<ArrayBuffer> {
  override get buffer(): ArrayBuffer {
    return "no buffer" as unknown as ArrayBuffer;
  }
}

function withProperty(view: object, name: string, value: unknown): object {
  return Object.defineProperty(view, name, { value });
}

/** Memory of every kind; some of it vanishes or lies. */
export function memory(random: Random): unknown {
  const length = byteLength(random);
  switch (random.below(24)) {
    case 0:
      return allocBuffer(length + 1).subarray(0, length);
    case 1:
      return allocBuffer(length + 1).buffer;
    case 2:
      return new ArrayBuffer(length);
    case 3:
      return new SharedArrayBuffer(length);
    case 4:
      return new DataView(new ArrayBuffer(length + 3), 3);
    case 5:
      return new Float64Array(length >> 3);
    case 6:
      return new BigInt64Array(length >> 3);
    case 7:
      return Buffer.alloc(length);
    case 8:
      return new Uint8Array(new SharedArrayBuffer(length));
    case 9:
      return new Uint8Array(new ArrayBuffer(length, { maxByteLength: length * 2 }));
    case 10:
      return shrinking(length);
    case 11:
      return detached(length);
    case 12:
      return transferredSoon(length);
    case 13:
      return new Uint8Array(new WebAssembly.Memory({ initial: 1 }).buffer, 7, length % 60000);
    case 14:
      return new Lying(new ArrayBuffer(length));
    case 15:
      return new Lying(allocBuffer(length + 1).buffer);
    case 16:
      return draw(random, [
        changing(new Uint8Array(length), random),
        changing(allocBuffer(8192), random),
        new Throwing(new ArrayBuffer(length)),
        new Other(new ArrayBuffer(length)),
        new Shifty(allocBuffer(8192).buffer, 4096),
      ]);
    case 17:
      return withProperty(
        allocBuffer(4096),
        "byteLength",
        draw(random, [2 ** 40, -1, 1.5, "9", NaN]),
      );
    case 18:
      return withProperty(
        allocBuffer(4096),
        "byteOffset",
        draw(random, [2 ** 40, -1, 1.5, "9", NaN]),
      );
    case 19:
      return withProperty(
        new ArrayBuffer(4096),
        "byteLength",
        draw(random, [2 ** 40, -1, "9", NaN]),
      );
    default:
      return new Uint8Array(length);
  }
}

function shrinking(length: number): Uint8Array {
  const buffer = new ArrayBuffer(length + 10, { maxByteLength: length + 10 });
  const view = new Uint8Array(buffer, 5, length);
  queueMicrotask(() => buffer.resize(0));
  return view;
}

function detached(length: number): Uint8Array {
  const view = new Uint8Array(length);
  structuredClone(view, { transfer: [view.buffer] });
  return view;
}

function transferredSoon(length: number): Uint8Array {
  const view = allocBuffer(length + 1);
  queueMicrotask(() => view.buffer.transfer(length * 2));
  return view;
}

/** Its length is another, or none, at a later look. */
function changing(view: object, random: Random): object {
  let looks = random.below(4);
  return Object.defineProperty(view, "byteLength", {
    get: () => (looks-- > 0 ? 4096 : draw(random, [plant, () => 9, () => -1])()),
  });
}

/** A list of memory, or something like a list. */
export function vector(random: Random): unknown {
  const list: unknown[] = [];
  const count = random.chance(0.02) ? 3000 : random.below(6);
  for (let i = 0; i < count; i++) {
    list.push(count > 1000 ? new Uint8Array(3) : memory(random));
    if (random.chance(0.02)) list.push(odd(random));
  }
  switch (random.below(12)) {
    case 0:
      return new Proxy(list, {});
    case 1:
      return Object.assign(Object.create(Array.prototype), list);
    case 2:
      return new (class extends Array {
        static override get [Symbol.species](): ArrayConstructor {
          return plant();
        }
      })(3);
    case 3:
      return Object.defineProperty(list, "0", { get: plant, configurable: true });
    case 4:
      return Object.defineProperty(list, "map", { value: () => [new Uint8Array(1), 3] });
    default:
      return list;
  }
}

export function signal(random: Random): unknown {
  const controller = new AbortController();
  switch (random.below(6)) {
    case 0:
      controller.abort();
      return controller.signal;
    case 1:
      controller.abort(odd(random));
      return controller.signal;
    case 2:
      queueMicrotask(() => controller.abort(new Error("soon")));
      return controller.signal;
    case 3:
      setTimeout(() => controller.abort(), random.below(3));
      return controller.signal;
    case 4:
      return odd(random);
    default:
      return controller.signal;
  }
}

export function ioOptions(random: Random): unknown {
  switch (random.below(14)) {
    case 0:
      return { signal: signal(random) };
    case 1:
      return { timeout: draw(random, [0, 1, 5, 1e6, 2 ** 31, -1, NaN, "5", 1n]) };
    case 2:
      return { signal: signal(random), timeout: random.below(10) };
    case 3:
      return { misspelled: 1 };
    case 4:
      return {
        get signal() {
          return plant();
        },
      };
    case 5:
      return twoFaced("timeout", [5, NaN, "x", -1]);
    case 6:
      return odd(random);
    default:
      return undefined;
  }
}

/** An option that is another at each look. */
function twoFaced(name: string, values: readonly unknown[]): object {
  let looks = 0;
  return Object.defineProperty({}, name, {
    enumerable: true,
    get: () => values[looks++ % values.length],
  });
}

const OPEN_NAMES = [
  ...["read", "write", "create", "createNew", "truncate", "direct", "dsync"],
  ...["mode", "ring", "signal", "timeout", "exclusive", "sectorSize", "unalignedWrites", "wriet"],
];

export function openOptions(random: Random): unknown {
  if (random.chance(0.1)) return odd(random);
  const options: Record<string, unknown> = {};
  if (random.chance(0.6)) Object.assign(options, { write: true, create: true });
  const more = random.below(3);
  for (let i = 0; i < more; i++) {
    options[draw(random, OPEN_NAMES)] = random.chance(0.75) ? random.chance(0.7) : odd(random);
  }
  if (random.chance(0.05)) options["mode"] = random.below(0o10000);
  if (random.chance(0.05)) options["unalignedWrites"] = draw(random, ["rmw", "reject", "RMW"]);
  if (random.chance(0.05)) options["signal"] = signal(random);
  return options;
}

const PATHS = ["a", "b", "c", "d", "e", "sub/f", "directory", "fifo", "link", "loop", "missing/x"];

export function path(random: Random): unknown {
  switch (random.below(12)) {
    case 0:
      return odd(random);
    case 1:
      return draw(random, ["/dev/null", "/dev/zero", "/dev/full", "/proc/self/status"]);
    case 2:
      return new URL(`file://${process.cwd()}/${draw(random, PATHS)}`);
    case 3:
      return draw(random, [
        new URL("file:///a%2fb"),
        new URL("file://host/a"),
        new URL("https://localhost/a"),
        new URL("data:x"),
      ]);
    case 4:
      return draw(random, ["x".repeat(300), "y/".repeat(3000), "nul\0inside", "\u{1f600}", " "]);
    default:
      return draw(random, PATHS);
  }
}
