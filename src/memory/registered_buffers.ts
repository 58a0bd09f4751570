// Which pools' memory one ring has registered with its kernel (io_uring's registered buffers). A pool is registered
// at its first use on the ring, and unregistered when the pool is disposed of (buffer_pool.ts) or collected, or the
// ring ends.

import { isDetachedBuffer } from "../common/memory_views.ts";
import * as abi from "../native/abi.gen.ts";
import { library } from "../native/library.ts";
import type { Lender, Registrar, Slab } from "./slab.ts";

interface Held {
  readonly registrars: readonly WeakRef<Registrar>[];
  readonly header: number;
}

const dropped = new FinalizationRegistry<Held>(({ registrars, header }) => {
  for (const registrar of registrars) registrar.deref()?.unregister(header);
});

export class RegisteredBuffers implements Registrar {
  readonly #native = library();
  readonly #ring: number;
  /** Memory of the ring: while this is reachable, so is the ring, and `unregister` may call it. */
  readonly memory: ArrayBuffer;
  readonly #enabled: boolean;
  readonly #met = new WeakSet<Slab>();
  readonly #self: WeakRef<Registrar> = new WeakRef(this);
  /** The ring has ended. */
  over = false;

  constructor(ring: number, memory: ArrayBuffer, backend: number) {
    this.#ring = ring;
    this.memory = memory;
    this.#enabled = backend === abi.Backend.ioUring;
  }

  /**
   * Registers the memory of a pool at its first use: direct requests on it are cheaper from then on. If that is
   * refused, nothing changes.
   */
  meet(slab: Slab, lender: Lender): void {
    if (!this.#enabled || this.#met.has(slab) || isDetachedBuffer(slab.buffer)) return;
    this.#met.add(slab);
    const { header, chunkBytes, registrars } = slab;
    if (chunkBytes === 0) return;
    if (this.#native.ba_slab_register(this.#ring as never, header as never, chunkBytes) !== 1)
      return;
    if (registrars.length === 0) dropped.register(lender, { registrars, header });
    // The FinalizationRegistry holds this very list: rings that have ended are removed here.
    const alive = registrars.filter((registrar) => registrar.deref()?.over === false);
    registrars.splice(0, Infinity, ...alive, this.#self);
  }

  /** Operations in flight on that memory are not affected. */
  unregister(header: number): void {
    if (!this.over) this.#native.ba_slab_unregister(this.#ring as never, header as never);
  }
}
