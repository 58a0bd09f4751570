// Commands of a simulated device, beside the operations of every device, and its contents: what was ever written, and
// nothing of the rest.

import type { Bytes } from "../common/arguments.ts";
import { sparseMemory } from "../memory/slab.ts";
import * as abi from "../native/abi.gen.ts";
import type { Proactor } from "../ring/proactor.ts";
import type { Outcome, Request } from "../ring/request.ts";

type Command = Omit<Request, "kind" | "fd" | "file"> & { readonly argument: number };

/** The caller must release the block that the outcome has, if the command wants one. */
export function deviceCommand(proactor: Proactor, command: Command): Promise<Outcome> {
  return proactor.start({ ...command, kind: abi.Kind.deviceCommand, fd: -1, file: undefined });
}

export async function isGone(proactor: Proactor): Promise<boolean> {
  const { detail } = await deviceCommand(proactor, { argument: abi.DeviceCommand.askGone });
  return detail === 1;
}

/** Ranges of a medium: each an `ImageRange` followed by its bytes, in parts that fit a block. */
export type Contents = Iterable<Uint8Array>;

const HEADER_BYTES = abi.ImageRange.SIZE;
const PART_BYTES_MAX = abi.BOUNCE_BLOCK_BYTES_MAX;

export function* packed(image: Uint8Array): Generator<Uint8Array> {
  const step = PART_BYTES_MAX - HEADER_BYTES;
  for (let offset = 0; offset < image.byteLength; offset += step) {
    const bytes = image.subarray(offset, offset + step);
    const part = new Uint8Array(HEADER_BYTES + bytes.byteLength);
    const header = new DataView(part.buffer);
    header.setFloat64(abi.ImageRange.offset, offset, true);
    header.setFloat64(abi.ImageRange.length, bytes.byteLength, true);
    part.set(bytes, HEADER_BYTES);
    yield part;
  }
}

function* rangesOf(part: Uint8Array): Generator<{ offset: number; bytes: Uint8Array }> {
  const view = new DataView(part.buffer, part.byteOffset, part.byteLength);
  for (let at = 0; at < part.byteLength; ) {
    const offset = view.getFloat64(at + abi.ImageRange.offset, true);
    const length = view.getFloat64(at + abi.ImageRange.length, true);
    at += HEADER_BYTES;
    yield { offset, bytes: part.subarray(at, at + length) };
    at += length;
  }
}

export function imageOf(contents: Contents, size: number): Bytes {
  const image = new Uint8Array(sparseMemory(size), 0, size);
  for (const part of contents) {
    for (const { offset, bytes } of rangesOf(part)) image.set(bytes, offset);
  }
  return image;
}

export async function writeContents(proactor: Proactor, contents: Contents): Promise<void> {
  for (const part of contents) {
    const outcome = await deviceCommand(proactor, {
      argument: abi.DeviceCommand.writeImage,
      length: part.byteLength,
      blockBytes: part.byteLength,
      fill: (memory) => memory.set(part),
    });
    proactor.releaseBlock(outcome.block);
  }
}

export async function readContents(proactor: Proactor): Promise<readonly Bytes[]> {
  const parts: Bytes[] = [];
  const read = { length: PART_BYTES_MAX, blockBytes: PART_BYTES_MAX };
  for (let offset = 0; ; ) {
    const argument = abi.DeviceCommand.readImage;
    const outcome = await deviceCommand(proactor, { ...read, argument, offset });
    const part = proactor.bounce.memoryOf(outcome.block, outcome.detail).slice();
    proactor.releaseBlock(outcome.block);
    if (part.byteLength === 0) return parts;
    parts.push(part);
    for (const range of rangesOf(part)) offset = range.offset + range.bytes.byteLength;
  }
}
