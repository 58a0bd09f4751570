// Records that tell whether they are whole: a number, a length, and the hash of all of it.

export const SECTOR = 512;
const MAGIC = 0x52454331;

/** A record of whole sectors. */
export function record(number: number, sectors: number): Uint8Array<ArrayBuffer> {
  const bytes = Buffer.alloc(sectors * SECTOR);
  // Bytes that differ from record to record.
  for (let at = 16; at < bytes.length; at += 4)
    bytes.writeUInt32LE((number * 2654435761 + at) >>> 0, at);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(number, 4);
  bytes.writeUInt32LE(sectors, 8);
  bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(16)), 12);
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Numbers of the whole records of an image, in their order; the first that is not whole is the end. */
export function recordsOf(image: Uint8Array): number[] {
  const bytes = Buffer.from(image.buffer, image.byteOffset, image.length);
  const numbers: number[] = [];
  for (let at = 0; at + SECTOR <= bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8) * SECTOR;
    const whole = bytes.subarray(at, at + length);
    const isWhole =
      bytes.readUInt32LE(at) === MAGIC &&
      length > 0 &&
      whole.length === length &&
      bytes.readUInt32LE(at + 12) === Bun.hash.crc32(whole.subarray(16));
    if (!isWhole) break;
    numbers.push(bytes.readUInt32LE(at + 4));
    at += length;
  }
  return numbers;
}
