// Seeded random numbers and bytes.

/** Mulberry32: good enough to choose test cases, and a seed replays them. */
export class Random {
  #state: number;

  constructor(readonly seed: number) {
    this.#state = seed >>> 0;
  }

  /** The seed in the environment variable BUN_AIO_SEED, or a new one; printed so that it can be replayed. */
  static announced(what: string): Random {
    const given = process.env["BUN_AIO_SEED"];
    const seed = given === undefined ? (Math.random() * 2 ** 32) >>> 0 : Number(given) >>> 0;
    console.error(`${what}: BUN_AIO_SEED=${seed}`);
    return new Random(seed);
  }

  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return (z ^ (z >>> 14)) >>> 0;
  }

  /** An integer from 0 to below `limit`. */
  below(limit: number): number {
    return Math.floor((this.#next() / 2 ** 32) * limit);
  }

  /** An integer, both ends included. */
  between(min: number, max: number): number {
    return min + this.below(max - min + 1);
  }

  pick<T>(values: readonly T[]): T {
    const value = values[this.below(values.length)];
    if (value === undefined) throw new Error("nothing to pick from");
    return value;
  }

  chance(share: number): boolean {
    return this.#next() / 2 ** 32 < share;
  }

  fill(bytes: Uint8Array): Uint8Array {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.#next();
    return bytes;
  }
}

/** Bytes that tell their position: any shift or mix-up shows. */
export function pattern(length: number, from = 0): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    const position = from + i;
    bytes[i] = (position ^ (position >>> 8) ^ (position >>> 16)) * 31 + 7;
  }
  return bytes;
}
