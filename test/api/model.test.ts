// A seeded model test: thousands of random reads, writes, vectors, syncs and truncates, many in flight
// together, against an array of bytes. Operations in flight have no order among themselves, so what
// runs together must not touch what another changes; a truncate runs alone. BUN_AIO_SEED=... replays.

import { expect } from "bun:test";
import fs from "node:fs";
import { allocBuffer, BufferPool, File, Ring } from "../../src/index.ts";
import { testUnless, times } from "../support/conditions.ts";
import { Random } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const FILE_BYTES_MAX = 6 << 20;

interface Range {
  from: number;
  to: number;
  changes: boolean;
  /** The file's size when it was claimed. */
  size: number;
}

class Model {
  readonly bytes = new Uint8Array(FILE_BYTES_MAX * 2);
  size = 0;
  #running: Range[] = [];

  /** Takes the range for an operation, unless it conflicts with one that runs. */
  claim(from: number, length: number, changes: boolean): Range | undefined {
    const range = { from, to: from + length, changes, size: this.size };
    for (const other of this.#running) {
      const apart = other.to <= range.from || range.to <= other.from;
      if (!apart && (changes || other.changes)) return undefined;
      // While a write extends the file, reads behind the old end may or may not meet the end.
      const [read, write] = changes ? [other, range] : [range, other];
      if (read.changes || !write.changes) continue;
      if (write.to > write.size && read.to > write.size) return undefined;
    }
    this.#running.push(range);
    return range;
  }

  release(range: Range): void {
    this.#running = this.#running.filter((other) => other !== range);
  }

  write(offset: number, data: Uint8Array): void {
    this.bytes.set(data, offset);
    this.size = Math.max(this.size, offset + data.length);
  }

  truncate(size: number): void {
    if (size < this.size) this.bytes.fill(0, size, this.size);
    this.size = size;
  }

  expected(offset: number, length: number): Uint8Array {
    return this.bytes.subarray(offset, Math.max(offset, Math.min(offset + length, this.size)));
  }
}

class Run {
  readonly model = new Model();
  readonly inFlight = new Set<Promise<void>>();
  readonly pool = new BufferPool({ size: 8192, count: 6 });
  done = 0;

  constructor(
    readonly random: Random,
    readonly file: File,
    readonly inFlightMax: number,
  ) {}

  async steps(count: number): Promise<void> {
    while (this.done < count) {
      this.#start();
      this.done++;
      while (this.inFlight.size >= this.inFlightMax) await Promise.race(this.inFlight);
      // Sometimes a turn passes with operations in flight, sometimes all are started in one.
      if (this.random.chance(0.02)) await Promise.all(this.inFlight);
      if (this.random.chance(0.05)) await new Promise((resolve) => setImmediate(resolve));
      if (this.random.chance(0.001)) Bun.gc(true);
    }
    await Promise.all(this.inFlight);
  }

  #track(running: Promise<void>): void {
    const tracked: Promise<void> = running.finally(() => this.inFlight.delete(tracked));
    this.inFlight.add(tracked);
  }

  #start(): void {
    const choice = this.random.below(100);
    if (choice < 35) this.#read();
    else if (choice < 70) this.#write();
    else if (choice < 82) this.#vector(false);
    else if (choice < 94) this.#vector(true);
    else if (choice < 95)
      this.#track(this.random.chance(0.5) ? this.file.syncData() : this.file.syncAll());
    else if (choice < 99) this.#track(this.file.size().then(() => undefined));
    else this.#truncate();
  }

  #length(): number {
    const { random } = this;
    return (
      random.pick([0, 1, 100, 511, 512, 4096, random.below(5000), random.below(70_000), 1 << 16]) +
      (random.chance(0.01) ? (2 << 20) + random.below(9999) : 0)
    );
  }

  #offset(): number {
    const { random, model } = this;
    if (random.chance(0.1) && model.size < FILE_BYTES_MAX) return model.size;
    if (random.chance(0.5)) return random.below(1024) * 4096;
    return random.below(FILE_BYTES_MAX);
  }

  #memory(length: number): Uint8Array {
    const { random } = this;
    if (length === 0) return new Uint8Array(0);
    const kind = random.below(5);
    if (kind === 0) return new Uint8Array(length);
    if (kind === 1) return new Uint8Array(new SharedArrayBuffer(length));
    if (kind === 2) return new Uint8Array(new ArrayBuffer(length + 64), random.below(64), length);
    if (kind === 3)
      return allocBuffer(length + 100)
        .subarray(random.below(100))
        .subarray(0, length);
    return allocBuffer(length);
  }

  #read(): void {
    const offset = this.#offset();
    const length = this.#length();
    const range = this.model.claim(offset, length, false);
    if (range === undefined) return;
    const expected = this.model.expected(offset, length).slice();
    const data = this.#memory(length).fill(0x99);
    const use = async (): Promise<void> => {
      const count = await this.file.readAt(data, this.random.chance(0.2) ? BigInt(offset) : offset);
      this.model.release(range);
      this.#compare("read", offset, count, expected, data);
    };
    this.#track(
      length <= 8192 && this.random.chance(0.2)
        ? this.#readPooled(range, offset, length, expected)
        : use(),
    );
  }

  async #readPooled(
    range: Range,
    offset: number,
    length: number,
    expected: Uint8Array,
  ): Promise<void> {
    using lease = await this.pool.acquire();
    const data = lease.subarray(0, length);
    const count = await this.file.readAt(data, offset);
    this.model.release(range);
    this.#compare("pooled read", offset, count, expected, data);
  }

  #write(): void {
    const offset = this.#offset();
    const data = this.#memory(this.#length());
    if (data.length === 0) return;
    const range = this.model.claim(offset, data.length, true);
    if (range === undefined) return;
    this.random.fill(data.length > 9000 ? data.subarray(0, 4096) : data);
    this.model.write(offset, data);
    this.#track(
      this.file.writeAt(data, offset).then((count) => {
        this.model.release(range);
        if (count !== data.length) throw new Error(`wrote ${count} of ${data.length} at ${offset}`);
      }),
    );
  }

  #vector(write: boolean): void {
    const { random } = this;
    const offset = this.#offset();
    const lengths = Array.from({ length: random.pick([1, 2, 3, 7, 30, 300, 1100]) }, () =>
      random.pick([1, 3, 512, random.below(900) + 1]),
    );
    const length = lengths.reduce((sum, part) => sum + part, 0);
    // All of one native buffer, so that the kernel gets the caller's vector; or of any memory.
    const slab = random.chance(0.6) ? allocBuffer(length) : undefined;
    let position = 0;
    const pieces = lengths.map((part) => {
      position += part;
      return slab?.subarray(position - part, position) ?? this.#memory(part);
    });
    const range = this.model.claim(offset, length, write);
    if (range === undefined) return;
    if (write) {
      for (const piece of pieces) random.fill(piece);
      const joined = Buffer.concat(pieces);
      this.model.write(offset, joined);
      this.#track(
        this.file.writevAt(pieces, offset).then((count) => {
          this.model.release(range);
          if (count !== length) throw new Error(`wrote ${count} of ${length} at ${offset}`);
        }),
      );
      return;
    }
    const expected = this.model.expected(offset, length).slice();
    for (const piece of pieces) piece.fill(0x99);
    this.#track(
      this.file.readvAt(pieces, offset).then((count) => {
        this.model.release(range);
        this.#compare("readv", offset, count, expected, Buffer.concat(pieces));
      }),
    );
  }

  #truncate(): void {
    const size = this.random.below(FILE_BYTES_MAX);
    const range = this.model.claim(0, Number.MAX_SAFE_INTEGER, true);
    if (range === undefined) return;
    this.model.truncate(size);
    this.#track(
      this.file.truncate(size).then(() => {
        this.model.release(range);
      }),
    );
  }

  #compare(
    what: string,
    offset: number,
    count: number,
    expected: Uint8Array,
    data: Uint8Array,
  ): void {
    if (count !== expected.length) {
      throw new Error(`${what} at ${offset} gave ${count} bytes, expected ${expected.length}`);
    }
    const got = data.subarray(0, count);
    if (Buffer.compare(got, expected) !== 0) {
      const at = got.findIndex((byte, i) => byte !== expected[i]);
      throw new Error(
        `${what} at ${offset} differs from byte ${at} on (${got[at]}, expected ${expected[at]})`,
      );
    }
    if (data.subarray(count).some((byte) => byte !== 0x99 && what !== "pooled read")) {
      throw new Error(`${what} at ${offset} wrote beyond its ${count} bytes`);
    }
  }
}

for (const [queueDepth, inFlightMax, count] of [
  [128, 200, 4000],
  [2, 50, 1500],
  [1, 5, 500],
] as const) {
  testUnless(
    undefined,
    `model: ${count} random operations, ${inFlightMax} in flight, queue depth ${queueDepth}`,
    async () => {
      using dir = new TempDir();
      const path = dir.file("model");
      await using ring = Ring.open({ queueDepth });
      await using file = await File.open(path, { write: true, create: true, ring });
      const random = Random.announced(`model, queue depth ${queueDepth}`);
      const run = new Run(random, file, inFlightMax);
      await run.steps(times(count));
      const written = fs.readFileSync(path);
      expect(written.length).toBe(run.model.size);
      expect(Buffer.compare(written, run.model.bytes.subarray(0, run.model.size))).toBe(0);
      expect(run.pool.available).toBe(6);
      expect(ring.stats()).toMatchObject({ inFlight: 0, failures: 0, staleEvents: 0 });
    },
    120_000,
  );
}
