// Slabs: native memory that the kernel may read and write directly. Page aligned and reference counted
// (zig/engine/slab.zig), so that memory in flight stays valid whatever JavaScript does to its ArrayBuffer. Other
// memory is copied through bounce buffers.

import { argumentRange } from "../common/argument_errors.ts";
import { checkInteger } from "../common/arguments.ts";
import { noteHeld, noteOpened } from "../common/leaks.ts";
import { bufferOf } from "../common/memory_views.ts";
import { IoError, systemError } from "../errors/io_error.ts";
import { SlabInfo } from "../native/abi.gen.ts";
import { library, nativeBuffer } from "../native/library.ts";

/** A ring that has registered memory of pools with its kernel (registered_buffers.ts). */
export interface Registrar {
  readonly over: boolean;
  unregister(header: number): void;
}

/** Lends parts of a slab: a `BufferPool`. */
export interface Lender {
  /** An operation on `bytes` bytes at `offset` starts (`by` 1) or has settled (-1). */
  countInFlight(offset: number, bytes: number, by: 1 | -1): void;
  /** The kernel may use these bytes for ever: their buffers must not be lent again. */
  lose(offset: number, bytes: number): void;
}

/** Native memory behind an ArrayBuffer. */
export interface Slab {
  /** Once this is detached, the memory may be freed at any time. */
  readonly buffer: ArrayBuffer;
  /** Address of the native header, with the reference count. */
  readonly header: number;
  readonly address: number;
  readonly bytes: number;
  /** The lender of its parts, if there is one. */
  readonly lender: Lender | undefined;
  /** Bytes registered with a kernel at once; 0 for none, and after its pool is disposed of. */
  chunkBytes: number;
  /** Direct transfers, while it is not registered, of memory without a lender; below 0 after it gave way to others. */
  uses: number;
  readonly registrars: WeakRef<Registrar>[];
}

const slabs = new WeakMap<ArrayBufferLike, Slab>();
/** The slabs of views used before: reading `view.buffer` costs 22 ns, this lookup 7 ns. */
const slabsOfViews = new WeakMap<ArrayBufferView, Slab>();

const ALIGNMENT_DEFAULT = 4096;
const ALIGNMENT_MAX = 2 ** 30;
/** JavaScriptCore's longest ArrayBuffer (MAX_ARRAY_BUFFER_SIZE). */
export const SIZE_MAX: number = 2 ** 32;

let lendersExist = false;

/** Whether any pool exists: if not, long vectors need not be searched for lent buffers. */
export function haveLenders(): boolean {
  return lendersExist;
}

/** The slab behind memory made here, undefined for any other. */
export function slabOf(view: ArrayBufferView): Slab | undefined {
  const known = slabsOfViews.get(view);
  if (known !== undefined) return known;
  const slab = slabs.get(bufferOf(view));
  if (slab !== undefined) {
    slabsOfViews.set(view, slab);
    noteHeld(slab.buffer, view);
  }
  return slab;
}

/** The slab of a whole buffer made here. */
export function slabOfBuffer(buffer: ArrayBuffer): Slab | undefined {
  return slabs.get(buffer);
}

export function checkAlignment(alignment: number | undefined): number {
  if (alignment === undefined) return ALIGNMENT_DEFAULT;
  checkInteger("options.alignment", alignment, 1, ALIGNMENT_MAX);
  if (Number.isInteger(Math.log2(alignment))) return alignment;
  throw argumentRange("options.alignment", "a power of two", alignment);
}

/** Zeroed native memory, as an ArrayBuffer; throws an IoError `ENOMEM`. */
export function createSlab(
  bytes: number,
  alignment: number,
  lender: Lender | undefined,
  chunkBytes: number,
): ArrayBuffer {
  const { buffer, header, address } = mapMemory(bytes, alignment, 1);
  lendersExist ||= lender !== undefined;
  slabs.set(buffer, {
    buffer,
    header,
    address,
    bytes,
    lender,
    chunkBytes,
    uses: 0,
    registrars: [],
  });
  noteOpened(
    "slab",
    buffer,
    () => `of ${bytes} bytes${lender === undefined ? "" : " (BufferPool)"}`,
  );
  return buffer;
}

/**
 * Zeroed memory of which only touched pages cost anything, whatever its length: an ArrayBuffer of JavaScript may be
 * cleared byte by byte. For reads and writes it is like any other memory. Throws an IoError `ENOMEM`.
 */
export function sparseMemory(bytes: number): ArrayBuffer {
  return mapMemory(bytes, ALIGNMENT_DEFAULT, 0).buffer;
}

function mapMemory(
  bytes: number,
  alignment: number,
  hugePages: 0 | 1,
): { buffer: ArrayBuffer; header: number; address: number } {
  const native = library();
  const info = new Float64Array(SlabInfo.SIZE / 8);
  const errno = native.ba_slab_create(bytes, alignment, hugePages, info);
  if (errno !== 0) {
    const { code, reason } = systemError(errno);
    throw new IoError(code, {
      reason: `${reason}: no memory for a buffer of ${bytes} bytes`,
      errno: -errno,
      syscall: "mmap",
      length: bytes,
    });
  }
  const [header = 0, address = 0, release = 0] = info;
  return { buffer: nativeBuffer(address, bytes, header, release), header, address };
}
