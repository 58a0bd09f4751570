// Bounce buffers: copies between callers' views and the native memory of one ring. A view may be of any subclass,
// and may have been detached or shrunk since the call.

import { byteLengthOf, bytesOf, setBytes } from "../common/memory_views.ts";
import { BOUNCE_BLOCK_BYTES_MIN, BOUNCE_BYTES, BOUNCE_RESERVE_BYTES } from "../native/abi.gen.ts";
import { BuddyAllocator, NO_BLOCK } from "./buddy_allocator.ts";

export class BounceBuffers extends BuddyAllocator {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  /** Native address of the first block. */
  readonly #address: number;
  /** Blocks for requests of the library, after all others. */
  readonly #reserve = new BuddyAllocator(BOUNCE_RESERVE_BYTES);
  /** By unit: the latest view of the block that starts there. */
  readonly #views: (Uint8Array<ArrayBuffer> | undefined)[] = [];

  constructor(memory: ArrayBuffer, offset: number, address: number) {
    super(BOUNCE_BYTES);
    this.#bytes = new Uint8Array(memory, offset, BOUNCE_BYTES + BOUNCE_RESERVE_BYTES);
    this.#address = address;
  }

  /** `allocate` for a path, a struct or iovecs, with a reserve: such a request never waits for data blocks alone. */
  allocateOwn(bytes: number): number {
    const block = this.allocate(bytes);
    if (block !== NO_BLOCK) return block;
    const reserved = this.#reserve.allocate(bytes);
    return reserved === NO_BLOCK ? NO_BLOCK : BOUNCE_BYTES + reserved;
  }

  override release(block: number): void {
    if (block < BOUNCE_BYTES) super.release(block);
    else this.#reserve.release(block - BOUNCE_BYTES);
  }

  /** A block's native address. */
  addressOf(block: number): number {
    return this.#address + block;
  }

  memoryOf(block: number, bytes: number): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(block, block + bytes);
  }

  /** Copies from the view. False, without a copy, if the view has lost bytes since the call. */
  copyIn(view: ArrayBufferView, block: number, length: number): boolean {
    if (byteLengthOf(view) < length) return false;
    if (length > 0) setBytes(this.#bytes, bytesOf(view, length), block);
    return true;
  }

  /** Copies to the view; `transferred` bytes of `length`. False as in `copyIn`. */
  copyOut(view: ArrayBufferView, block: number, length: number, transferred: number): boolean {
    const now = byteLengthOf(view);
    if (now < length) return false;
    if (transferred > 0) setBytes(bytesOf(view, now), this.#viewOf(block, transferred), 0);
    return true;
  }

  /** `memoryOf`, cached: consecutive small reads of one length would each make a view. */
  #viewOf(block: number, bytes: number): Uint8Array<ArrayBuffer> {
    const unit = block / BOUNCE_BLOCK_BYTES_MIN;
    const known = this.#views[unit];
    if (known !== undefined && known.byteLength === bytes) return known;
    const view = this.memoryOf(block, bytes);
    this.#views[unit] = view;
    return view;
  }
}
