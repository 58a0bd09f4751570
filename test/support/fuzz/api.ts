// Throws random values at every public function and checks what comes back: a function that returns a
// promise returns one and never throws; every promise settles; every error is one that the
// documentation knows. Runs in a process of its own (test/api/fuzz_api.test.ts, `npm run fuzz:api`), because
// what it looks for is a crash or a hang.
//
//   bun test/support/fuzz/api.ts --calls 100000 --seed 1
//
// Calls come in rounds; what a round made is used from the next one on, in the order of the calls, so
// that a seed replays.

import { dlopen } from "bun:ffi";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import * as api from "../../../src/index.ts";
import { LIBC, makeFifo } from "../libc.ts";
import { Random } from "../random.ts";
import {
  draw,
  ioOptions,
  memory,
  odd,
  openOptions,
  Planted,
  path as paths,
  position,
  signal,
  vector,
} from "./values.ts";

const { BlockDevice, File, Ring, BufferPool, IoError, allocBuffer } = api;
const { compare, copy, copyToAll, listBlockDevices, scan, watchBlockDevices } = api;

type Call = (random: Random) => unknown;
/** A file as a caller without types sees it. */
type LooseDevice = { [Name in keyof api.BlockDevice]: (...args: unknown[]) => unknown };
type Loose = { [Name in keyof api.File]: (...args: unknown[]) => unknown };

/** Of /dev/zero and its like everything that sets no end reads for ever. */
function isEndless({ kind }: api.File): boolean {
  return kind === "character";
}

interface Target {
  /** How often, beside the others. */
  readonly weight: number;
  /** Whether it returns a promise. */
  readonly promises: boolean;
  readonly call: Call;
}

/** Rounds longer than this hang. */
const ROUND_MS_MAX = 60_000;
const ROUND_CALLS = 64;
const FILES_MAX = 24;

/** Codes of ours that the documentation lists (docs/errors.md). */
const OWN_CODES = new Set([
  ...["ABORT_ERR", "ERR_TIMEOUT", "ERR_END_OF_FILE", "ERR_MISALIGNED", "ERR_BUFFER_DETACHED"],
  ...["ERR_RING_CLOSED", "ERR_POOL_DISPOSED", "ERR_APPEND_MODE"],
  ...[
    "ERR_VERIFY",
    "ERR_COMPARE",
    "ERR_COPY",
    "ERR_DEVICE_GONE",
    "ERR_OUTCOME_UNKNOWN",
    "ERR_WRITE_ABORTED",
  ],
]);
const ARGUMENT_CODES =
  /^ERR_(INVALID_ARG_TYPE|INVALID_ARG_VALUE|OUT_OF_RANGE|INVALID_(FILE_)?URL_\w+)$/;
/** Node lacks the name of one that we use. */
const SYSTEM_CODES = new Set([...Object.keys(os.constants.errno), "ENOTBLK"]);

export class ApiFuzz {
  readonly #files: api.File[] = [];
  readonly #rings: api.Ring[] = [];
  readonly #pools: api.BufferPool[] = [];
  readonly #closedRings: WeakSet<api.Ring> = new WeakSet();
  readonly #fds: number[];
  readonly #dup: (fd: number) => number;
  readonly #targets: Map<string, Target> = new Map();
  readonly #drawn: string[] = [];
  /** How often each outcome was seen. */
  readonly outcomes: Map<string, number> = new Map();
  readonly problems: string[] = [];

  constructor(readonly seed: number) {
    this.#dup = dlopen(LIBC, { dup: { args: ["i32"], returns: "i32" } }).symbols.dup;
    this.#fds = prepareDirectory();
    this.#addFileTargets();
    this.#addOtherTargets();
    this.#addDeviceTargets();
    this.#addLongTargets();
    for (const [name, { weight }] of this.#targets)
      for (let i = 0; i < weight; i++) this.#drawn.push(name);
  }

  async run(calls: number): Promise<void> {
    for (let first = 0; first < calls && this.problems.length === 0; first += ROUND_CALLS) {
      await this.#round(first, Math.min(ROUND_CALLS, calls - first));
    }
    await this.#end();
  }

  async #round(first: number, count: number): Promise<void> {
    const settled: Promise<unknown>[] = [];
    const open = new Map<number, string>();
    for (let index = first; index < first + count; index++) {
      const random = new Random(Math.imul(this.seed ^ index, 0x9e3779b1) ^ (index << 7));
      const name = draw(random, this.#drawn);
      open.set(index, name);
      const where = `call ${index} (${name})`;
      settled.push(this.#one(where, name, random).finally(() => open.delete(index)));
    }
    const timer = setTimeout(() => {
      for (const [index, name] of open) console.error(`hangs: call ${index} (${name})`);
      for (const file of this.#files)
        console.error(file.fd, file.path, file.kind, file.ring.backend, file.ring.stats().inFlight);
      process.exit(3);
    }, ROUND_MS_MAX);
    const made = await Promise.all(settled);
    clearTimeout(timer);
    for (const value of made) this.#keep(value);
    const usable = this.#files.filter((file) => file.fd >= 0 && !this.#closedRings.has(file.ring));
    if (!new Random(first).chance(0.1)) this.#files.splice(0, FILES_MAX * 3, ...usable);
    const random = new Random(this.seed ^ first);
    if (random.chance(0.05)) Bun.gc(true);
    for (const list of [this.#files, this.#rings, this.#pools]) {
      // Dropped, not closed: the collector has to.
      while (list.length > (list === this.#files ? FILES_MAX : 3))
        list.splice(random.below(list.length), 1);
    }
    const names = fs.readdirSync(".").concat(fs.readdirSync("sub").map((name) => `sub/${name}`));
    for (const name of names) {
      const stat = fs.lstatSync(name, { throwIfNoEntry: false });
      if (stat?.isFile() && stat.size > 1 << 22) fs.truncateSync(name, 1 << 16);
    }
  }

  /** Makes one call. Resolves with what it made, and never rejects. */
  async #one(where: string, name: string, random: Random): Promise<unknown> {
    const { call, promises } = this.#targets.get(name) as Target;
    let returned: unknown;
    try {
      returned = call(random);
    } catch (error) {
      if (promises) this.problems.push(`${where} threw synchronously: ${Bun.inspect(error)}`);
      else this.#judge(where, name, error);
      return undefined;
    }
    if (promises && !(returned instanceof Promise)) {
      this.problems.push(`${where} returned no promise: ${Bun.inspect(returned)}`);
      return undefined;
    }
    try {
      const value = await returned;
      this.#count(`${name}: ok`);
      return value;
    } catch (error) {
      this.#judge(where, name, error);
      return undefined;
    }
  }

  #count(outcome: string): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }

  #judge(where: string, name: string, error: unknown): void {
    // What a proxy that was revoked throws is the caller's too.
    if (
      error instanceof Planted ||
      /Proxy (has already|that has) been revoked/.test(String(error))
    ) {
      this.#count(`${name}: the caller's own`);
      return;
    }
    if (!(error instanceof Error)) {
      this.problems.push(`${where} rejected with no Error: ${Bun.inspect(error)}`);
      return;
    }
    const code = "code" in error ? String(error.code) : "none";
    const argument = error instanceof TypeError || error instanceof RangeError;
    const right = argument
      ? ARGUMENT_CODES.test(code)
      : error instanceof IoError && (OWN_CODES.has(code) || SYSTEM_CODES.has(code));
    this.#count(`${name}: ${code}`);
    if (!right) this.problems.push(`${where}: undocumented error ${Bun.inspect(error)}`);
  }

  #keep(value: unknown): void {
    if (value instanceof File) this.#files.push(value);
    else if (value instanceof Ring && value !== Ring.default()) this.#rings.push(value);
    else if (value instanceof BufferPool) this.#pools.push(value);
  }

  async #end(): Promise<void> {
    const closing = [...this.#files, ...this.#rings].map((one) => one.close());
    await Promise.allSettled(closing);
    await Ring.default().close();
  }

  // Targets ---------------------------------------------------------------------------------------

  #add(name: string, weight: number, call: Call, promises = true): void {
    this.#targets.set(name, { weight, promises, call });
  }

  /** A function of a random open file. */
  #method(
    name: string,
    weight: number,
    call: (file: Loose, random: Random) => unknown,
    promises = true,
  ): void {
    this.#add(
      `File.${name}`,
      weight,
      (random) => {
        const file = this.#files.length === 0 ? undefined : draw(random, this.#files);
        return file === undefined ? Promise.resolve() : call(file as unknown as Loose, random);
      },
      promises,
    );
  }

  #addFileTargets(): void {
    const data = (random: Random) => (random.chance(0.1) ? odd(random) : memory(random));
    const where = (random: Random) => (random.chance(0.1) ? odd(random) : position(random));
    const list = (random: Random) => (random.chance(0.1) ? odd(random) : vector(random));
    this.#add("File.open", 10, (r) =>
      File.open(paths(r) as string, this.#withRing(openOptions(r), r)),
    );
    this.#add("File.fromFd", 3, (r) => File.fromFd(this.#fd(r) as number, this.#fdOptions(r)));
    this.#add("new File", 1, (r) => new File(odd(r) as never), false);
    for (const name of ["readAt", "readExactAt", "writeAt"] as const) {
      this.#method(name, 10, (f, r) => f[name](data(r), where(r), ioOptions(r)));
    }
    for (const name of ["readvAt", "writevAt"] as const) {
      this.#method(name, 6, (f, r) => f[name](list(r), where(r), ioOptions(r)));
    }
    for (const name of ["syncAll", "syncData"] as const)
      this.#method(name, 1, (f, r) => f[name](ioOptions(r)));
    for (const name of ["size", "stat", "invalidateCache"] as const)
      this.#method(name, 2, (f) => f[name]());
    this.#method("truncate", 2, (f, r) => f.truncate(where(r), ioOptions(r)));
    this.#method("allocate", 2, (f, r) =>
      f.allocate(
        where(r),
        r.chance(0.2) ? odd(r) : r.chance(0.1) ? 2 ** 45 : r.below(1 << 16),
        ioOptions(r),
      ),
    );
    this.#method("close", 1, (f, r) => (r.chance(0.5) ? f.close() : f[Symbol.asyncDispose]()));
    this.#add("File properties", 2, (r) => this.#properties(r), false);
  }

  #addOtherTargets(): void {
    this.#add(
      "Ring.open",
      1,
      (r) => {
        const options = r.chance(0.3)
          ? odd(r)
          : {
              backend: draw(r, [
                "auto",
                "io_uring",
                "threads",
                "posix_aio",
                "simulated",
                "x",
                odd(r),
              ]),
              queueDepth: draw(r, [1, 2, 16, 4096, 4097, 0, odd(r)]),
            };
        return this.#rings.length > 2 && !r.chance(0.2)
          ? Ring.default()
          : Ring.open(options as never);
      },
      false,
    );
    this.#add(
      "Ring.stats",
      1,
      (r) => {
        const stats = this.#ring(r).stats();
        return [
          stats.inFlight,
          stats.latency.read.percentile(draw(r, [0, 0.5, 1, odd(r) as number])),
          stats.latency.write.buckets(),
        ].length;
      },
      false,
    );
    this.#add("Ring.close", 1, (r) => {
      const ring = r.chance(0.02) ? Ring.default() : this.#ring(r);
      this.#closedRings.add(ring);
      return ring.close();
    });
    this.#add(
      "allocBuffer",
      3,
      (r) =>
        allocBuffer(
          draw(r, [1, 4096, 100000, 0, 2 ** 41, 2 ** 39, odd(r)]) as number,
          draw(r, [
            undefined,
            { alignment: 512 },
            { alignment: 8192 },
            { alignment: 3 },
            { x: 1 },
            odd(r),
          ]) as object,
        ),
      false,
    );
    this.#add(
      "new BufferPool",
      1,
      (r) =>
        new BufferPool(
          (r.chance(0.3)
            ? odd(r)
            : {
                size: draw(r, [1, 4096, 5000, 0, 2 ** 40, odd(r)]),
                count: draw(r, [1, 2, 8, 0, 2 ** 20, 2 ** 21, odd(r)]),
                alignment: draw(r, [undefined, 512, 65536, 3, odd(r)]),
              }) as never,
        ),
      false,
    );
    this.#add("BufferPool.acquire", 3, (r) => this.#acquire(r));
    this.#add(
      "BufferPool.release",
      1,
      (r) => this.#pool(r)?.release(draw(r, [odd(r), memory(r)]) as never),
      false,
    );
    this.#add(
      "new IoError",
      1,
      (r) => {
        const error = new IoError("EIO", { offset: 3n, length: 2, hint: String(r.below(9)) });
        return error.message.length;
      },
      false,
    );
  }

  #addDeviceTargets(): void {
    const where = (random: Random) => (random.chance(0.1) ? odd(random) : position(random));
    const bytes = (random: Random) => (random.chance(0.3) ? odd(random) : random.below(32) * 512);
    this.#add("BlockDevice.open", 4, (r) => {
      const options = this.#withRing(openOptions(r), r);
      // Images have to exist, and most options of a file are allowed.
      const image = {
        write: true,
        direct: r.chance(0.3),
        sectorSize: draw(r, [512, 4096, 3, odd(r)]),
      };
      return BlockDevice.open(paths(r) as string, (r.chance(0.5) ? image : options) as object);
    });
    this.#add("BlockDevice.fromFd", 1, (r) =>
      BlockDevice.fromFd(this.#fd(r) as number, this.#fdOptions(r)),
    );
    const device = (random: Random): LooseDevice | undefined => {
      const devices = this.#files.filter((file) => file instanceof BlockDevice);
      return devices.length === 0 ? undefined : (draw(random, devices) as unknown as LooseDevice);
    };
    for (const name of ["discard", "writeZeroes"] as const) {
      this.#add(`BlockDevice.${name}`, 2, (r) =>
        Promise.resolve(device(r)?.[name](where(r), bytes(r), ioOptions(r))),
      );
    }
    this.#add("BlockDevice.rereadPartitions", 1, (r) =>
      Promise.resolve(device(r)?.rereadPartitions()),
    );
    this.#add("BlockDevice.geometry", 1, (r) => device(r)?.geometry, false);
    this.#add("listBlockDevices", 1, (r) =>
      listBlockDevices((r.chance(0.5) ? {} : { loop: odd(r) }) as object),
    );
    this.#add("watchBlockDevices", 1, async (r) => {
      const options = { since: r.chance(0.5) ? [] : odd(r), signal: AbortSignal.timeout(50) };
      await using watch = watchBlockDevices(options as object);
      await watch.next();
    });
  }

  #addLongTargets(): void {
    this.#add("Ring.batch", 3, (r) => {
      const list: unknown[] = Array.from({ length: r.below(8) }, () => this.#entry(r));
      const options = ioOptions(r) as object;
      return this.#ring(r).batch(r.chance(0.1) ? (odd(r) as never) : (list as never), options);
    });
    this.#method(
      "readable",
      2,
      (f, r) => drink(f.readable(this.#streamOptions(r)) as ReadableStream, r),
      false,
    );
    this.#method(
      "writable",
      2,
      (f, r) => pour(f.writable(this.#streamOptions(r)) as WritableStream, r),
      false,
    );
    this.#method("bytes", 2, (f, r) => {
      const { start, end } = this.#window(r);
      return f.bytes(start as number, end as number, ioOptions(r));
    });
    this.#method("hash", 2, (f, r) => {
      const names: unknown[] = ["sha256", "md5", "sha3-512", "sha257", odd(r)];
      const options = { ...this.#window(r), signal: signal(r) } as api.HashOptions;
      return f.hash(draw(r, names) as api.HashName, options);
    });
    this.#method("dataRanges", 2, async (f, r) => {
      const options = { ...this.#window(r), signal: signal(r) } as api.DataRangesOptions;
      const ranges = f.dataRanges(options) as AsyncIterable<unknown>;
      for await (const _ of ranges) if (r.chance(0.1)) break;
    });
    this.#add("scan", 2, (r) => {
      const file = draw(r, this.#files);
      if (file === undefined) return Promise.resolve();
      const rest = r.chance(0.3) ? { chunkSize: 1 + r.below(9000), hash: "md5" } : {};
      const likely = { ...this.#window(r), ...rest, signal: signal(r) };
      const options = r.chance(0.1) && !isEndless(file) ? odd(r) : likely;
      return scan((r.chance(0.05) ? odd(r) : file) as api.File, options as api.ScanOptions);
    });
    this.#add("compare", 2, (r) => {
      const [a, b] = [draw(r, this.#files), draw(r, this.#files)];
      if (a === undefined || b === undefined) return Promise.resolve();
      const source = r.chance(0.1) ? odd(r) : r.chance(0.2) ? new Blob(["x"]).stream() : a;
      const likely = this.#compareOptions(r);
      const options = r.chance(0.1) && !isEndless(a) && !isEndless(b) ? odd(r) : likely;
      return compare(source as api.File, b, options as object);
    });
    this.#add("copy", 2, (r) => {
      const files = this.#files.filter((file) => file.kind === "regular");
      const [from, to] = [draw(r, files), draw(r, files)];
      const source = r.chance(0.1)
        ? odd(r)
        : r.chance(0.2)
          ? new Blob(["x".repeat(9000)]).stream()
          : from;
      const target = r.chance(0.05) ? odd(r) : to;
      if (from === undefined && to === undefined) return Promise.resolve();
      return copy(source as api.File, target as api.File, this.#copyOptions(r));
    });
    this.#add("copyToAll", 1, (r) => this.#copyToAll(r));
  }

  /** A part of a file that is read soon enough. */
  #window(random: Random): { start: unknown; end: unknown } {
    const at = random.below(1 << 20);
    const end = random.chance(0.1) ? odd(random) : at + random.below(1 << 20);
    return { start: random.chance(0.1) ? odd(random) : at, end };
  }

  #copyToAll(random: Random): Promise<unknown> {
    const files = this.#files.filter((file) => file.kind === "regular");
    const targets = Array.from({ length: random.below(4) }, () =>
      random.chance(0.05) ? odd(random) : draw(random, files),
    );
    const source = random.chance(0.2) ? new Blob(["x".repeat(9000)]).stream() : draw(random, files);
    const given = random.chance(0.05) ? odd(random) : targets;
    return copyToAll(source as api.File, given as api.File[], this.#copyOptions(random));
  }

  #entry(random: Random): unknown {
    if (random.chance(0.1)) return odd(random);
    return {
      kind: draw<unknown>(random, ["read", "write", "syncAll", "syncData", "raed", odd(random)]),
      file: random.chance(0.05) ? odd(random) : draw(random, this.#files),
      data: random.chance(0.2) ? vector(random) : memory(random),
      offset: random.chance(0.05) ? odd(random) : position(random),
    };
  }

  #streamOptions(random: Random): object {
    if (random.chance(0.1)) return odd(random) as object;
    const options: Record<string, unknown> = {};
    const names = ["start", "end", "chunkSize", "concurrency", "sync", "signal", "misspelled"];
    for (let i = random.below(3); i > 0; i--) {
      const name = draw(random, names);
      const likely = name === "signal" ? signal(random) : name === "sync" ? true : position(random);
      options[name] = random.chance(0.15) ? odd(random) : likely;
    }
    return options;
  }

  #compareOptions(random: Random): object {
    const range = { offset: random.below(1 << 20), length: random.below(1 << 20) };
    const likely: Record<string, unknown> = {
      ranges: [range],
      sourceOffset: random.below(5000),
      targetOffset: random.below(5000),
      all: true,
      hash: "sha256",
      signal: signal(random),
      onProgress: random.chance(0.2) ? () => odd(random) : plantedProgress,
      misspelled: 1,
    };
    const options: Record<string, unknown> = { length: random.below(1 << 20) };
    for (let i = random.below(4); i > 0; i--) {
      const name = draw(random, Object.keys(likely));
      options[name] = random.chance(0.15) ? odd(random) : likely[name];
    }
    return options;
  }

  #copyOptions(random: Random): object {
    if (random.chance(0.1)) return odd(random) as object;
    const options: Record<string, unknown> = {};
    const likely: Record<string, unknown> = {
      length: random.below(100_000),
      sourceOffset: random.below(5000),
      targetOffset: random.below(16) * 4096,
      chunkSize: 4096,
      concurrency: 2,
      sparse: true,
      verify: true,
      sync: false,
      onReadError: "skip",
      map: new api.RescueMap(random.chance(0.5) ? random.below(50_000) : undefined),
      retries: random.below(3),
      expectedLength: random.below(100_000),
      ranges: [
        { offset: random.below(1000), length: random.below(5000) },
        { offset: 6000, length: 5000, sha256: random.chance(0.2) ? "0".repeat(64) : undefined },
      ],
      hash: "sha256",
      signal: signal(random),
      onProgress: random.chance(0.2) ? () => odd(random) : plantedProgress,
      misspelled: 1,
    };
    for (let i = random.below(4); i > 0; i--) {
      const name = draw(random, Object.keys(likely));
      options[name] = random.chance(0.15) ? odd(random) : likely[name];
    }
    return options;
  }

  async #acquire(random: Random): Promise<void> {
    const pool = this.#pool(random);
    const options = draw(random, [
      undefined,
      {},
      { signal: signal(random) },
      { x: 1 },
      odd(random),
    ]);
    if (pool === undefined) return;
    let promise: ReturnType<api.BufferPool["acquire"]>;
    try {
      promise = pool.acquire(options as object);
    } catch (error) {
      this.problems.push(`BufferPool.acquire threw synchronously: ${Bun.inspect(error)}`);
      return;
    }
    const buffer = await promise;
    const file = this.#files[0];
    // A lease that goes back while it is read into.
    const reading = file?.readAt(buffer, 0).catch(() => 0);
    if (random.chance(0.5)) buffer[Symbol.dispose]();
    else pool.release(buffer);
    await reading;
    if (random.chance(0.02)) pool[Symbol.dispose]();
  }

  #properties(random: Random): unknown {
    if (this.#files.length === 0) return undefined;
    const file = draw(random, this.#files);
    return [
      file.fd,
      file.path,
      file.kind,
      file.alignment,
      file.ring.backend,
      file.ring.backendReason,
    ];
  }

  #ring(random: Random): api.Ring {
    return this.#rings.length === 0 ? Ring.default() : draw(random, this.#rings);
  }

  #pool(random: Random): api.BufferPool | undefined {
    return this.#pools.length === 0 ? undefined : draw(random, this.#pools);
  }

  /** Options with a ring, where they are options at all. */
  #withRing(options: unknown, random: Random): object {
    const ring = this.#ring(random);
    if (!random.chance(0.2) || !isPlain(options)) return options as object;
    return { ...options, ring };
  }

  /** A duplicate of a descriptor of ours, or what can be none. */
  #fd(random: Random): unknown {
    if (random.chance(0.3)) return draw(random, [odd(random), -1, 2 ** 31 - 1, 2 ** 31, 1e9]);
    return this.#dup(draw(random, this.#fds));
  }

  #fdOptions(random: Random): object {
    const options: Record<string, unknown> = { ownsFd: true };
    if (random.chance(0.1)) options["path"] = odd(random);
    if (random.chance(0.1)) options["ownsFd"] = odd(random);
    if (random.chance(0.1)) options["ring"] = draw(random, [this.#ring(random), odd(random)]);
    return options;
  }
}

function isPlain(value: unknown): value is object {
  try {
    return typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype;
  } catch {
    return false;
  }
}

function plantedProgress(): never {
  throw new Planted("from onProgress");
}

/** Takes a few chunks of a stream and then lets go of it. */
async function drink(stream: ReadableStream, random: Random): Promise<void> {
  const reader = stream.getReader();
  for (let i = random.below(4); i > 0; i--) if ((await reader.read()).done) return;
  await reader.cancel(odd(random));
}

/** Writes a few chunks and ends in one way or another. */
async function pour(stream: WritableStream, random: Random): Promise<void> {
  const writer = stream.getWriter();
  const written: Promise<unknown>[] = [];
  for (let i = random.below(4); i > 0; i--) {
    const chunk = random.chance(0.1) ? odd(random) : memory(random);
    written.push(writer.write(chunk), writer.ready);
  }
  const end = random.chance(0.7) ? writer.close() : writer.abort(new Planted("abort"));
  written.push(end, writer.closed);
  const results = await Promise.allSettled(written);
  for (const result of results) if (result.status === "rejected") throw result.reason;
}

/** Descriptors of every kind, beside those that Bun has open. They are only used through dup(2). */
function prepareDirectory(): number[] {
  fs.mkdirSync("sub");
  fs.mkdirSync("directory");
  fs.symlinkSync("a", "link");
  fs.symlinkSync("loop", "loop");
  for (const name of ["a", "b", "sub/f"]) fs.writeFileSync(name, Buffer.alloc(10_000, name));
  makeFifo("fifo");
  const fds = [
    fs.openSync("a", "r"),
    fs.openSync("a", "r+"),
    fs.openSync("b", "w"),
    fs.openSync("b", "a"),
    fs.openSync("directory", "r"),
    fs.openSync("/dev/null", "r+"),
  ];
  if (process.platform === "linux") {
    // Not the first three: they may be files in which the output of this run is kept.
    for (const fd of fs.readdirSync("/proc/self/fd")) if (Number(fd) > 2) fds.push(Number(fd));
  }
  return fds.filter((fd) => fs.existsSync(`/proc/self/fd/${fd}`));
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { calls: { type: "string", default: "100000" }, seed: { type: "string" } },
  });
  const seed = values.seed === undefined ? (Math.random() * 2 ** 31) >>> 0 : Number(values.seed);
  const calls = Number(values.calls);
  console.error(`replay: npm run fuzz:api -- --calls ${calls} --seed ${seed}`);
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "bun-aio-fuzz-"));
  process.chdir(directory);
  process.on("unhandledRejection", (error) => {
    console.error("unhandled rejection", error);
    process.exit(4);
  });
  // Warnings about files that nobody closed are expected.
  process.on("warning", () => {});
  const fuzz = new ApiFuzz(seed);
  try {
    await fuzz.run(calls);
  } finally {
    process.chdir("/");
    fs.rmSync(directory, { recursive: true, force: true });
  }
  for (const problem of fuzz.problems.slice(0, 20)) console.error(problem);
  const outcomes = [...fuzz.outcomes].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [outcome, count] of outcomes) console.log(`${String(count).padStart(8)} ${outcome}`);
  console.log(`${calls} calls, seed ${seed}, ${fuzz.problems.length} problems`);
  process.exitCode = fuzz.problems.length === 0 ? 0 : 1;
}

if (import.meta.main) await main();
