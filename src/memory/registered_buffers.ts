// Which memory one ring has registered with its kernel (io_uring's registered buffers), so that direct requests need
// not pin its pages each time. A pool is registered at its first use on the ring, and unregistered when it is
// disposed of (buffer_pool.ts) or collected, or the ring ends. Memory of `allocBuffer` is registered at its second
// direct use, and unregistered when it is collected or others have taken its place.

import { isDetachedBuffer } from "../common/memory_views.ts";
import * as abi from "../native/abi.gen.ts";
import { library } from "../native/library.ts";
import type { Registrar, Slab } from "./slab.ts";

/** Memory of `allocBuffer` that a ring keeps registered, in bytes. */
export const OWN_BYTES_MAX: number = 32 * 1024 * 1024;
/** The same in buffers: the kernel's table has room for 64, pools included. */
const OWN_COUNT_MAX = 40;
/**
 * Direct uses of a buffer that gave way to others until it is registered again: more buffers than there is room for,
 * used by turns, would otherwise register one another away.
 */
const USES_AGAIN = 16;

interface Held {
  readonly registrars: readonly WeakRef<Registrar>[];
  readonly header: number;
}

const dropped = new FinalizationRegistry<Held>(({ registrars, header }) => {
  for (const registrar of registrars) registrar.deref()?.unregister(header);
});

/** Registered memory of `allocBuffer`. */
interface Own {
  readonly slab: WeakRef<Slab>;
  readonly header: number;
  readonly bytes: number;
}

export class RegisteredBuffers implements Registrar {
  readonly #native = library();
  readonly #ring: number;
  /** Memory of the ring: while this is reachable, so is the ring, and `unregister` may call it. */
  readonly memory: ArrayBuffer;
  readonly #enabled: boolean;
  readonly #met = new WeakSet<Slab>();
  readonly #self: WeakRef<Registrar> = new WeakRef(this);
  /** Oldest first. */
  readonly #own: Own[] = [];
  #ownBytes = 0;
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
  meet(slab: Slab): void {
    if (!this.#enabled || this.#met.has(slab) || isDetachedBuffer(slab.buffer)) return;
    this.#met.add(slab);
    this.#register(slab);
  }

  /** The same for memory of `allocBuffer`, at its second direct use: many buffers are used once. */
  meetOwn(slab: Slab): void {
    if (!this.#enabled || this.#met.has(slab) || slab.uses++ <= 0) return;
    this.#met.add(slab);
    const { header, bytes } = slab;
    while (this.#own.length === OWN_COUNT_MAX || this.#ownBytes + bytes > OWN_BYTES_MAX) {
      this.#giveUpOldest();
    }
    if (!this.#register(slab)) return;
    this.#own.push({ slab: new WeakRef(slab), header, bytes });
    this.#ownBytes += bytes;
  }

  #register(slab: Slab): boolean {
    const { header, chunkBytes, registrars } = slab;
    if (chunkBytes === 0) return false;
    if (this.#native.ba_slab_register(this.#ring as never, header as never, chunkBytes) !== 1)
      return false;
    if (registrars.length === 0) {
      dropped.register(slab.lender ?? slab, { registrars, header }, registrars);
    }
    // The FinalizationRegistry holds this very list: rings that have ended are removed here.
    const alive = registrars.filter((registrar) => registrar.deref()?.over === false);
    registrars.splice(0, Infinity, ...alive, this.#self);
    return true;
  }

  /** Operations in flight on it are not affected. */
  #giveUpOldest(): void {
    const oldest = this.#own[0];
    if (oldest === undefined) return;
    const slab = oldest.slab.deref();
    if (slab !== undefined) {
      slab.uses = -USES_AGAIN;
      this.#met.delete(slab);
      slab.registrars.splice(slab.registrars.indexOf(this.#self), 1);
      if (slab.registrars.length === 0) dropped.unregister(slab.registrars);
    }
    this.unregister(oldest.header);
  }

  /** Operations in flight on that memory are not affected. */
  unregister(header: number): void {
    const at = this.#own.findIndex((own) => own.header === header);
    if (at >= 0) this.#ownBytes -= this.#own.splice(at, 1)[0]?.bytes ?? 0;
    if (!this.over) this.#native.ba_slab_unregister(this.#ring as never, header as never);
  }
}
