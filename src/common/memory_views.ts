// Reads length, offset and buffer of a caller's view with the built-in getters captured at load. Overrides in a
// subclass or on the view itself are ignored, so none of the caller's code runs here.

import { argumentType, argumentValue } from "./argument_errors.ts";

type Getter<T> = { call(self: unknown): T };

function getterOf<T>(prototype: object, name: PropertyKey): Getter<T> {
  const getter = Object.getOwnPropertyDescriptor(prototype, name)?.get;
  if (getter === undefined) throw new Error(`bun-aio: this runtime lacks ${String(name)}`);
  return getter as unknown as Getter<T>;
}

const typedArray = Object.getPrototypeOf(Uint8Array.prototype);
const kindOf = getterOf<string | undefined>(typedArray, Symbol.toStringTag);
const typedLength = getterOf<number>(typedArray, "byteLength");
const typedCount = getterOf<number>(typedArray, "length");
const typedOffset = getterOf<number>(typedArray, "byteOffset");
const typedBuffer = getterOf<ArrayBufferLike>(typedArray, "buffer");
const viewLength = getterOf<number>(DataView.prototype, "byteLength");
const viewOffset = getterOf<number>(DataView.prototype, "byteOffset");
const viewBuffer = getterOf<ArrayBufferLike>(DataView.prototype, "buffer");
const bufferLength = getterOf<number>(ArrayBuffer.prototype, "byteLength");
const sharedLength = getterOf<number>(SharedArrayBuffer.prototype, "byteLength");
const bufferDetached = getterOf<boolean>(ArrayBuffer.prototype, "detached");
const { copyWithin, set } = Uint8Array.prototype;

function has(getter: Getter<unknown>, value: unknown): boolean {
  try {
    getter.call(value);
    return true;
  } catch {
    return false;
  }
}

// Not `instanceof`: it refuses buffers of another realm (node:vm), and accepts objects that only have the prototype.
const isArrayBuffer = (value: unknown): value is ArrayBuffer => has(bufferLength, value);
const isSharedArrayBuffer = (value: unknown): value is SharedArrayBuffer =>
  has(sharedLength, value);

export function isUint8Array(value: unknown): value is Uint8Array {
  return kindOf.call(value) === "Uint8Array";
}

const isDataView = (view: ArrayBufferView): boolean => kindOf.call(view) === undefined;

/** Length in bytes; 0 for a view that has lost its memory. */
export function byteLengthOf(view: ArrayBufferView): number {
  // Not by `isDataView`: each getter costs some nanoseconds of every call.
  try {
    return typedLength.call(view);
  } catch {
    return dataViewLength(view);
  }
}

function dataViewLength(view: ArrayBufferView): number {
  try {
    return viewLength.call(view);
  } catch {
    return 0;
  }
}

/** Bytes from the start of its buffer. The view must have memory. */
export function byteOffsetOf(view: ArrayBufferView): number {
  try {
    return typedOffset.call(view);
  } catch {
    return viewOffset.call(view);
  }
}

export function bufferOf(view: ArrayBufferView): ArrayBufferLike {
  try {
    return typedBuffer.call(view);
  } catch {
    return viewBuffer.call(view);
  }
}

export function isDetachedBuffer(buffer: ArrayBuffer): boolean {
  return bufferDetached.call(buffer);
}

/** Whether a view has lost its memory: its buffer was transferred, or shrunk below it. */
export function isDetached(view: ArrayBufferView): boolean {
  if (byteLengthOf(view) > 0) return false;
  try {
    // Both throw if there is no memory. Copying zero bytes has no other effect.
    if (isDataView(view)) viewLength.call(view);
    else copyWithin.call(view as Uint8Array, 0, 0, 0);
    return false;
  } catch {
    return true;
  }
}

/** The first `bytes` bytes of a view, which must be that long. */
export function bytesOf(view: ArrayBufferView, bytes: number): Uint8Array {
  return byteLengthOf(view) === bytes ? allBytesOf(view, bytes) : partOf(view, 0, bytes);
}

/**
 * A view of `bytes` bytes as an array of bytes: copying from or to it converts none. That it has as many elements tells
 * so, and takes a quarter of the time of asking for its kind by name.
 */
export function allBytesOf(view: ArrayBufferView, bytes: number): Uint8Array {
  try {
    if (typedCount.call(view) === bytes) return view as Uint8Array;
  } catch {
    // A DataView.
  }
  return partOf(view, 0, bytes);
}

const NO_BYTES = new Uint8Array(0);

/** `bytes` bytes of a view from `start`; empty if the view has lost its memory. */
export function partOf(view: ArrayBufferView, start: number, bytes: number): Uint8Array {
  if (bytes === 0) return NO_BYTES;
  return new Uint8Array(bufferOf(view), byteOffsetOf(view) + start, bytes);
}

/** `target.set(source, at)` by the built-in method. */
export function setBytes(target: Uint8Array, source: Uint8Array, at: number): void {
  set.call(target, source, at);
}

const DETACHED = "is detached: its memory was transferred elsewhere";
const OUTSIDE = "lies outside of its buffer, which has been resized";

/** A view of memory that still exists; throws for anything else. */
export function checkData(name: string, value: unknown): ArrayBufferView {
  if (ArrayBuffer.isView(value)) {
    if (!isDetached(value)) return value;
    const buffer = bufferOf(value);
    const detached = !isArrayBuffer(buffer) || isDetachedBuffer(buffer);
    throw argumentValue(name, detached ? DETACHED : OUTSIDE, value);
  }
  if (isArrayBuffer(value)) {
    if (isDetachedBuffer(value)) throw argumentValue(name, DETACHED, value);
    return new Uint8Array(value, 0, bufferLength.call(value));
  }
  if (isSharedArrayBuffer(value)) return new Uint8Array(value, 0, sharedLength.call(value));
  throw argumentType(name, "an ArrayBufferView, ArrayBuffer or SharedArrayBuffer", value);
}

/** The current memory of a buffer, as a Uint8Array of our own. */
export function checkBytes(name: string, value: unknown): Uint8Array {
  const view = checkData(name, value);
  return partOf(view, 0, byteLengthOf(view));
}
