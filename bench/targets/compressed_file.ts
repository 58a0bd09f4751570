// An image as it is downloaded: compressed by gzip, to about half of its size.

import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";

import { createFolder } from "./sparse_file.ts";
import type { Target } from "./target.ts";

const CHUNK_BYTES = 1024 * 1024;

/** `size`: bytes of the image. */
export async function createCompressedFile(size: number): Promise<Target> {
  const target = await createFolder("image.gz");
  try {
    await pipeline(image(size), createGzip({ level: 6 }), createWriteStream(target.path));
  } catch (error) {
    await target[Symbol.asyncDispose]();
    throw error;
  }
  return target;
}

/** Hexadecimal digits of random bytes: two for what one would take. */
function* image(size: number): Generator<Uint8Array> {
  const random = new Uint8Array(CHUNK_BYTES / 2);
  for (let at = 0; at < size; at += CHUNK_BYTES) {
    for (let part = 0; part < random.length; part += 65_536) {
      crypto.getRandomValues(random.subarray(part, part + 65_536));
    }
    yield Buffer.from(random.toHex());
  }
}
