// The tasks of a soak. Each has an oracle of its own: a range of a file that no other task writes, and its expected
// bytes.

import { join } from "node:path";
import {
  allocBuffer,
  type BlockDevice,
  BufferPool,
  type Bytes,
  copy,
  File,
  IoError,
  type Operation,
  Ring,
} from "../../src/index.ts";
import type { Random } from "../../test/support/random.ts";

export interface Soak {
  readonly random: Random;
  readonly directory: string;
  /** Milliseconds of performance.now() at which to stop. */
  readonly deadline: number;
  readonly counts: Map<string, number>;
  /** Files that nobody closes: the collector has to, when it finds them. */
  readonly dropped: WeakRef<File>[];
  /** Of all rings of the main thread. */
  readonly survived: {
    operations: number;
    resubmitted: number;
    continued: number;
    fallbacks: number;
  };
  readonly problems: string[];
}

export function count(soak: Soak, what: string, by = 1): void {
  soak.counts.set(what, (soak.counts.get(what) ?? 0) + by);
}

/** What a ring has come through, at its end. Workers take theirs with them. */
export function noteSurvived(soak: Soak, ring: Ring): void {
  const { completions, resubmissions, continuations, fallbacks } = ring.stats();
  soak.survived.operations += completions;
  soak.survived.resubmitted += resubmissions;
  soak.survived.continued += continuations;
  soak.survived.fallbacks += fallbacks;
}

function problem(soak: Soak, text: string): void {
  soak.problems.push(text);
  console.error(`PROBLEM ${text}`);
}

function going(soak: Soak): boolean {
  return performance.now() < soak.deadline && soak.problems.length === 0;
}

/** Errors that were asked for. */
function isAsked(error: unknown): boolean {
  return error instanceof IoError && (error.code === "ABORT_ERR" || error.code === "ERR_TIMEOUT");
}

const REGION = 256 * 1024;

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** One in ten: with a signal or a timeout that may strike. */
function options(soak: Soak): { signal?: AbortSignal; timeout?: number } | undefined {
  const { random } = soak;
  if (!random.chance(0.1)) return undefined;
  if (random.chance(0.5)) return { timeout: random.below(3) };
  const controller = new AbortController();
  setTimeout(() => controller.abort(), random.below(3));
  return { signal: controller.signal };
}

/** Memory of every kind: allocBuffer's, the engine's, and a pool's that comes and goes. */
class Memory implements Disposable {
  readonly #random: Random;
  #pool = new BufferPool({ size: REGION, count: 2 });
  #lease: (Bytes & Disposable) | undefined;

  constructor(random: Random) {
    this.#random = random;
  }

  /** To be given back before the next is taken. */
  async take(length: number): Promise<Bytes> {
    const random = this.#random;
    if (random.chance(0.02)) {
      if (random.chance(0.5)) this.#pool[Symbol.dispose]();
      this.#pool = new BufferPool({ size: REGION, count: random.between(1, 20) });
    }
    if (random.chance(0.3)) return new Uint8Array(length);
    if (random.chance(0.5)) return allocBuffer(length);
    this.#lease = await this.#pool.acquire();
    return this.#lease.subarray(0, length);
  }

  give(): void {
    this.#lease?.[Symbol.dispose]();
    this.#lease = undefined;
  }

  [Symbol.dispose](): void {
    this.give();
    this.#pool[Symbol.dispose]();
  }
}

/** Random reads, writes, vectors and syncs on a range of `unit` multiples. */
export async function regionWork(
  soak: Soak,
  file: File,
  start: number,
  unit: number,
  name: string,
): Promise<void> {
  const { random } = soak;
  const oracle = new Uint8Array(REGION);
  await file.writeAt(allocBuffer(REGION), start);
  using memory = new Memory(random);
  while (going(soak)) {
    const at = random.below(REGION / unit) * unit;
    const length = Math.min(REGION - at, random.between(1, 64) * unit);
    const buffer = await memory.take(length);
    const middle = Math.floor(length / unit / 2) * unit;
    const parts = random.chance(0.3)
      ? [buffer.subarray(0, middle), buffer.subarray(middle)]
      : undefined;
    try {
      if (random.chance(0.5)) {
        random.fill(buffer);
        try {
          const asked = options(soak);
          await (parts === undefined
            ? file.writeAt(buffer, start + at, asked)
            : file.writevAt(parts, start + at, asked));
        } catch (error) {
          if (!isAsked(error)) throw error;
          count(soak, "aborted");
          // Any part of it may be there: write it again.
          await file.writeAt(buffer, start + at);
        }
        oracle.set(buffer, at);
        count(soak, `${name} writes`);
      } else {
        const asked = options(soak);
        const moved = await (parts === undefined
          ? file.readAt(buffer, start + at, asked)
          : file.readvAt(parts, start + at, asked));
        count(soak, `${name} reads`);
        if (moved !== length || !equal(buffer, oracle.subarray(at, at + length))) {
          problem(soak, `${name}: read of ${length} at ${start + at} gave ${moved} or other bytes`);
        }
      }
      if (random.chance(0.01)) await (random.chance(0.5) ? file.syncData() : file.syncAll());
    } catch (error) {
      if (isAsked(error)) count(soak, "aborted");
      else if (isReport(error)) count(soak, "syncs that reported an aborted write");
      else problem(soak, `${name}: ${Bun.inspect(error)}`);
    } finally {
      memory.give();
    }
  }
}

/** A sync tells once that an aborted write may be missing. */
function isReport(error: unknown): boolean {
  return error instanceof IoError && error.cause instanceof IoError && isAsked(error.cause);
}

/** Lists of reads and writes with one call. */
export async function batchWork(soak: Soak, file: File, start: number): Promise<void> {
  const { random } = soak;
  using pool = new BufferPool({ size: 4096, count: 16 });
  const stamps = new Uint8Array(REGION / 4096);
  await file.writeAt(new Uint8Array(REGION), start);
  while (going(soak)) {
    const blocks = new Set(
      Array.from({ length: random.between(1, 8) }, () => random.below(stamps.length)),
    );
    const writing = random.chance(0.5);
    const entries = await Promise.all(
      [...blocks].map(async (block) => ({ block, lease: await pool.acquire() })),
    );
    const operations: Operation[] = entries.map(({ block, lease }) => {
      if (writing) lease.fill((stamps[block] as number) + 1);
      const kind = writing ? "write" : "read";
      return { kind, file, data: lease, offset: start + block * 4096 };
    });
    const results = await file.ring.batch(operations);
    entries.forEach(({ block, lease }, index) => {
      const result = results[index];
      if (result?.status !== "fulfilled") problem(soak, `batch: ${Bun.inspect(result)}`);
      else if (writing) stamps[block] = (stamps[block] as number) + 1;
      else if (!lease.every((byte) => byte === stamps[block]))
        problem(soak, `batch: block ${block}`);
      lease[Symbol.dispose]();
    });
    count(soak, "batched operations", operations.length);
  }
}

function digest(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

/** Copies, and streams from one file to another, compared by hash. */
export async function copyWork(soak: Soak): Promise<void> {
  const { random } = soak;
  for (let round = 0; going(soak); round++) {
    const bytes = random.fill(new Uint8Array(random.between(1, 1 << 20)));
    if (random.chance(0.3)) bytes.fill(0, 0, bytes.length >> 1);
    const [from, to] = [join(soak.directory, "copy-a"), join(soak.directory, "copy-b")];
    const fresh = { write: true, create: true, truncate: true } as const;
    await using source = await File.open(from, fresh);
    await using target = await File.open(to, fresh);
    await source.writeAt(bytes, 0);
    if (random.chance(0.5)) {
      const sparse = random.chance(0.5);
      const result = await copy(source, target, {
        hash: "sha256",
        sparse,
        verify: random.chance(0.3),
      });
      if (!sparse && result.digest !== digest(bytes)) problem(soak, "copy: another digest");
    } else {
      const chunkSize = random.between(1, 64) * 1024;
      await source.readable({ chunkSize }).pipeTo(target.writable());
    }
    const back = new Uint8Array(bytes.length);
    await target.readExactAt(back, 0);
    if (digest(back) !== digest(bytes)) problem(soak, `copy: round ${round} differs`);
    count(soak, "copies");
  }
}

/** Rings that come and go, files that are dropped without close. */
export async function ringWork(soak: Soak, path: string): Promise<void> {
  const { random } = soak;
  const backend = Ring.default().backend;
  while (going(soak)) {
    const ring = Ring.open({ backend, queueDepth: random.between(1, 64) });
    const file = await File.open(path, { ring });
    const reads = Array.from({ length: random.between(1, 100) }, () =>
      file.readAt(new Uint8Array(random.between(1, 9000)), random.below(REGION)),
    );
    if (random.chance(0.5)) await Promise.all(reads);
    await Promise.all([ring.close(), ...reads]);
    noteSurvived(soak, ring);
    if (random.chance(0.8)) await file.close();
    void File.open(path).then((dropped) => {
      soak.dropped.push(new WeakRef(dropped));
      return dropped.readAt(new Uint8Array(10), 0);
    });
    if (random.chance(0.2)) Bun.gc(true);
    count(soak, "rings");
    await Bun.sleep(random.below(40));
  }
}

/** Workers that are terminated with operations in flight. */
export async function workerWork(soak: Soak, path: string): Promise<void> {
  const { random } = soak;
  while (going(soak)) {
    const worker = new Worker(new URL("./worker.ts", import.meta.url));
    worker.postMessage(path);
    const ended = new Promise((resolve) => worker.addEventListener("close", resolve));
    let rounds = 0;
    await new Promise<void>((resolve) => {
      const wanted = random.between(1, 5);
      worker.onmessage = () => {
        if (++rounds > wanted) resolve();
      };
      worker.onerror = (event) => {
        problem(soak, `worker: ${event.message}`);
        resolve();
      };
    });
    worker.terminate();
    await ended;
    count(soak, "workers");
    await Bun.sleep(random.below(100));
  }
}

/** Ranges of a device made to zero again, beside everything else. */
export async function deviceWork(soak: Soak, device: BlockDevice, start: number): Promise<void> {
  const { random } = soak;
  while (going(soak)) {
    await device.writeAt(allocBuffer(65536).fill(5), start);
    const range = random.between(1, 16) * 4096;
    await device.writeZeroes(start, range);
    const back = allocBuffer(65536);
    await device.readExactAt(back, start);
    const right =
      back.subarray(0, range).every((byte) => byte === 0) &&
      back.subarray(range).every((byte) => byte === 5);
    if (!right) problem(soak, "device: writeZeroes left something else");
    count(soak, "zeroed ranges");
  }
}
