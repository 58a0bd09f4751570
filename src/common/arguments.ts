// Checks of arguments. Each returns the value in the form that the rest of the code uses, or throws the error that
// names the argument, the value and what is allowed.

import { argumentRange, argumentType, argumentValue } from "./argument_errors.ts";

/** A position or size in bytes: a non-negative integer up to 2^63 - 1. */
export type Offset = number | bigint;

/** Memory that can be read into or written from. */
export type IoData = ArrayBufferView | ArrayBuffer | SharedArrayBuffer;

/** Memory that the library returns: accepted by crypto.subtle, CompressionStream and Response. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** How an operation may be ended before it is done. */
export interface IoOptions {
  /**
   * Cancels the operation. This is a request: the promise rejects with an AbortError once the kernel has let go of
   * the buffer, or settles with the true outcome if the operation could not be stopped.
   */
  signal?: AbortSignal | undefined;
  /** Milliseconds after which the operation is cancelled like by `signal` (code `ERR_TIMEOUT`). Default: none. */
  timeout?: number | undefined;
}

export const IO_OPTION_NAMES: readonly string[] = ["signal", "timeout"];

const OFFSET_MAX = 2n ** 63n - 1n;
/** The longest delay of setTimeout, about 24.8 days. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** The offset: a number where that is exact, else a bigint. */
export function checkOffset(name: string, value: unknown): Offset {
  if (typeof value === "number") {
    if (Number.isSafeInteger(value) && value >= 0) return value;
    if (!Number.isInteger(value)) throw argumentRange(name, "an integer of at least 0", value);
    throw argumentRange(name, "at least 0, and a bigint above 2^53 - 1", value);
  }
  if (typeof value !== "bigint") throw argumentType(name, "a number or a bigint", value);
  if (value < 0n || value > OFFSET_MAX) throw argumentRange(name, "from 0 to 2^63 - 1", value);
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

/** Returns the offset; throws if `length` bytes from it reach past 2^63. */
export function checkRange(offset: Offset, length: number): Offset {
  if (typeof offset === "number") return offset;
  if (offset + BigInt(length) <= OFFSET_MAX) return offset;
  throw argumentRange(
    "offset",
    `such that offset + length (${length}) is at most 2^63 - 1`,
    offset,
  );
}

export function addOffset(offset: Offset, bytes: number): Offset {
  if (typeof offset === "number" && offset + bytes <= Number.MAX_SAFE_INTEGER)
    return offset + bytes;
  return BigInt(offset) + BigInt(bytes);
}

/** The low 32 bits, for alignment masks. */
export function lowBits(offset: Offset): number {
  return typeof offset === "number" ? offset | 0 : Number(BigInt.asIntN(32, offset));
}

export function remainder(offset: Offset, unit: number): number {
  return typeof offset === "number" ? offset % unit : Number(offset % BigInt(unit));
}

export function roundUp(bytes: number, unit: number): number {
  return Math.ceil(bytes / unit) * unit;
}

export function checkInteger(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== "number") throw argumentType(name, "a number", value);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw argumentRange(name, `an integer from ${min} to ${max}`, value);
}

export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw argumentType(name, "a boolean", value);
}

export function checkFunction(name: string, value: unknown): unknown {
  if (typeof value === "function") return value;
  throw argumentType(name, "a function", value);
}

/** Refuses anything but an object with known options: a misspelled name is an error, never ignored. */
export function checkOptions(
  where: string,
  options: unknown,
  known: readonly string[],
  argument = "options",
): void {
  if (options === undefined) return;
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw argumentType(argument, `an object (options of ${where})`, options);
  }
  for (const name in options) {
    if (known.includes(name)) continue;
    throw argumentValue(
      `${argument}.${name}`,
      `is not an option of ${where}; the options are ${known.join(", ")}`,
      name,
    );
  }
}

/** An object may have the prototype of AbortSignal without being one; its getters throw then. */
function isSignal(value: unknown): value is AbortSignal {
  if (!(value instanceof AbortSignal)) return false;
  try {
    return typeof value.aborted === "boolean";
  } catch {
    return false;
  }
}

/**
 * Checks `signal` and `timeout`, and returns the values that were checked: a getter may return something else next
 * time.
 */
export function checkIoOptions(options: IoOptions): IoOptions {
  const { signal, timeout } = options;
  if (signal !== undefined && !isSignal(signal)) {
    throw argumentType("options.signal", "an AbortSignal", signal);
  }
  if (timeout === undefined) return { signal };
  if (typeof timeout !== "number") throw argumentType("options.timeout", "a number", timeout);
  if (!(timeout >= 0 && timeout <= TIMEOUT_MS_MAX)) {
    throw argumentRange("options.timeout", `from 0 to ${TIMEOUT_MS_MAX} ms`, timeout);
  }
  return { signal, timeout };
}
