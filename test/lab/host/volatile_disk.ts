// A disk with a volatile write cache: what was written since the last flush survives a power cut or not, each sector
// by itself, as the seed says. Drives promise no more (a sector is written whole or not at all).

import { Random } from "../../support/random.ts";

const SECTOR = 512;

export class VolatileDisk {
  /** What is on the medium. */
  readonly #medium: Uint8Array;
  /** What reads see. */
  readonly #seen: Uint8Array;
  /** Of each sector in the cache, all that was written to it since it last reached the medium. */
  readonly #cached = new Map<number, Uint8Array[]>();
  #isOn = true;
  /** Requests until the cut; `Infinity`: none. */
  #left = Number.POSITIVE_INFINITY;
  #random = new Random(0);

  constructor(bytes: number) {
    this.#medium = new Uint8Array(bytes);
    this.#seen = new Uint8Array(bytes);
  }

  get size(): number {
    return this.#medium.length;
  }

  /** What is on the medium; after a cut, what has survived it. */
  get medium(): Uint8Array {
    return this.#medium;
  }

  /** Cuts the power when so many further requests have been served. */
  cutAfter(requests: number, seed: number): void {
    this.#left = requests;
    this.#random = new Random(seed);
  }

  /** Cuts the power now. */
  cut(seed: number): void {
    this.#random = new Random(seed);
    this.#lose();
  }

  powerUp(): void {
    this.#left = Number.POSITIVE_INFINITY;
    this.#isOn = true;
  }

  /** Each request says whether it was served: a disk without power serves none. */
  read(offset: number, length: number): Uint8Array | undefined {
    return this.#serves() ? this.#seen.slice(offset, offset + length) : undefined;
  }

  write(offset: number, data: Uint8Array, isDurable: boolean): boolean {
    if (!this.#serves()) return false;
    this.#seen.set(data, offset);
    for (let at = offset; at < offset + data.length; at += SECTOR) {
      const sector = Math.floor(at / SECTOR);
      const bytes = this.#seen.slice(sector * SECTOR, (sector + 1) * SECTOR);
      const versions = this.#cached.get(sector);
      if (versions === undefined) this.#cached.set(sector, [bytes]);
      else versions.push(bytes);
      if (isDurable) this.#settle(sector, bytes);
    }
    return true;
  }

  flush(): boolean {
    if (!this.#serves()) return false;
    for (const [sector, versions] of this.#cached) this.#settle(sector, versions.at(-1));
    return true;
  }

  #settle(sector: number, bytes: Uint8Array | undefined): void {
    if (bytes !== undefined) this.#medium.set(bytes, sector * SECTOR);
    this.#cached.delete(sector);
  }

  #serves(): boolean {
    if (this.#isOn && this.#left-- <= 0) this.#lose();
    return this.#isOn;
  }

  #lose(): void {
    for (const [sector, versions] of this.#cached) {
      // Any of them may have reached the medium, or none.
      const index = this.#random.below(versions.length + 1) - 1;
      this.#settle(sector, versions[index]);
    }
    this.#seen.set(this.#medium);
    this.#isOn = false;
  }
}
