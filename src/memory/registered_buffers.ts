// Which pools' memory one ring has registered with its kernel (io_uring's registered buffers). Used by
// core.ts alone.
//
// A ring is told of a pool when it first uses it; it lets go when the pool is disposed of (buffer_pool.ts),
// when the pool is collected, or when the ring ends.

import * as abi from "../native/abi.gen.ts";
import { library } from "../native/library.ts";
import type { Lender, Pinner, Slab } from "./slab.ts";

interface Held {
  readonly pinners: readonly WeakRef<Pinner>[];
  readonly header: number;
}

const dropped = new FinalizationRegistry<Held>(({ pinners, header }) => {
  for (const pinner of pinners) pinner.deref()?.unpin(header);
});

export class Pins implements Pinner {
  readonly #native = library();
  readonly #ring: number;
  /** The ring's own: as long as this is reachable, the ring is no garbage, and `unpin` may call it. */
  readonly memory: ArrayBuffer;
  readonly #enabled: boolean;
  readonly #met = new WeakSet<Slab>();
  readonly #self: WeakRef<Pinner> = new WeakRef(this);
  /** The ring has ended. */
  over = false;

  constructor(ring: number, memory: ArrayBuffer, backend: number) {
    this.#ring = ring;
    this.memory = memory;
    this.#enabled = backend === abi.Backend.ioUring;
  }

  /**
   * A pool's memory is registered as it is used: direct requests on it are cheaper from then on. Where
   * that is refused, they are as they were.
   */
  meet(slab: Slab, lender: Lender): void {
    if (!this.#enabled || this.#met.has(slab) || slab.buffer.detached) return;
    this.#met.add(slab);
    const { header, chunkBytes, pinners } = slab;
    if (chunkBytes === 0) return;
    if (this.#native.ba_slab_pin(this.#ring as never, header as never, chunkBytes) !== 1) return;
    if (pinners.length === 0) dropped.register(lender, { pinners, header });
    // The registry holds this very list: rings that are over leave it here.
    const alive = pinners.filter((pinner) => pinner.deref()?.over === false);
    pinners.splice(0, Infinity, ...alive, this.#self);
  }

  /** What is in flight on that memory stays as it is. */
  unpin(header: number): void {
    if (!this.over) this.#native.ba_slab_unpin(this.#ring as never, header as never);
  }
}
