// `file.bytes()` and `file.hash()`: all bytes of a range.

import { constants } from "node:buffer";
import { type CancelScope, cancelScope } from "../cancellation/scope.ts";
import { argumentRange, argumentType } from "../common/argument_errors.ts";
import {
  type Bytes,
  checkFunction,
  checkIoOptions,
  checkOffset,
  checkOptions,
  IO_OPTION_NAMES,
  type IoOptions,
  type Offset,
} from "../common/arguments.ts";
import { checkEnd } from "../common/byte_range.ts";
import { checkHashName, Digest, type HashName } from "../common/digest.ts";
import { FileKind, Kind } from "../native/abi.gen.ts";
import { openFileOf } from "./open_file.ts";
import { Meter, type Progress } from "./progress.ts";
import {
  HASHED_BYTES,
  piecesOf,
  type Region,
  regionOf,
  type Source,
  spanBytes,
} from "./read_ahead.ts";

/** What `file.hash` reads, and what it tells of. */
export interface HashOptions {
  /** Position of the first byte. Default 0. */
  start?: Offset | undefined;
  /** End position, exclusive. Default: the end of the file. */
  end?: Offset | undefined;
  /** Rejects with an AbortError once the kernel has let go of all buffers. */
  signal?: AbortSignal | undefined;
  /** Called at most ten times a second, and at the end. An error that it throws ends the hashing. */
  onProgress?: ((progress: Progress<"hash">) => void) | undefined;
}

export async function bytesOf(
  file: Source,
  start: Offset,
  end: Offset | undefined,
  options: IoOptions = {},
): Promise<Bytes> {
  const from = checkOffset("start", start);
  const length = checkEnd("end", end, from);
  checkOptions("File.bytes", options, IO_OPTION_NAMES);
  const scope = cancelScope(checkIoOptions(options));
  const open = openFileOf(file);
  open.begin(Kind.read, scope, from, undefined);
  if (length === Infinity && open.state.kind === FileKind.character) {
    throw argumentType("end", "given for a character device, which has no end of its own", end);
  }
  const region = await regionOf(file, from, [{ begin: 0, end: length }]);
  const bytes = spanBytes(region.spans);
  if (bytes !== Infinity && bytes > constants.MAX_LENGTH) {
    const most = `at most ${constants.MAX_LENGTH} bytes after start; readable() has no such limit`;
    throw argumentRange("end", most, end ?? bytes);
  }
  return gathered(file, region, region.isKnown ? bytes : 0, scope);
}

/** `room` bytes at first, and more as they come. */
async function gathered(
  file: Source,
  region: Region,
  room: number,
  scope: CancelScope | undefined,
): Promise<Bytes> {
  let bytes = new Uint8Array(room);
  let end = 0;
  for await (const { part, length, data } of piecesOf(file, region, scope)) {
    end = part.begin + length;
    if (end > bytes.byteLength) {
      const larger = new Uint8Array(end * 2);
      larger.set(bytes);
      bytes = larger;
    }
    if (data !== undefined) bytes.set(data, part.begin);
  }
  return end === bytes.byteLength ? bytes : bytes.slice(0, end);
}

export async function hashOf(
  file: Source,
  algorithm: HashName,
  options: HashOptions = {},
): Promise<string> {
  const name = checkHashName("algorithm", algorithm);
  checkOptions("File.hash", options, ["start", "end", "signal", "onProgress"]);
  const { onProgress } = options;
  const start = checkOffset("options.start", options.start ?? 0);
  const length = checkEnd("options.end", options.end, start);
  const scope = cancelScope(checkIoOptions({ signal: options.signal }));
  if (onProgress !== undefined) checkFunction("options.onProgress", onProgress);
  const open = openFileOf(file);
  open.begin(Kind.read, scope, start, undefined);
  const region = await regionOf(file, start, [{ begin: 0, end: length }]);
  const bytes = spanBytes(region.spans);
  const total = bytes === Infinity ? undefined : bytes;
  const failed = new AbortController();
  using meter = new Meter(onProgress, "hash", total, (error) => failed.abort(error));
  const isOver = (): boolean => failed.signal.aborted || scope?.reason !== undefined;
  const digest = new Digest(name);
  for await (const piece of piecesOf(file, region, scope, { holeSize: HASHED_BYTES })) {
    await digest.update(piece.data ?? piece.length, isOver);
    scope?.throwIfCancelled({ syscall: "read", path: open.state.path });
    failed.signal.throwIfAborted();
    meter.add(piece.length);
  }
  meter.end();
  return digest.hex();
}
