// Reads a whole disk and lists the sectors that cannot be read.
//
//   bun examples/scrubber/scrub.ts DISK-OR-IMAGE

import { BlockDevice, BufferPool, IoError } from "bun-aio";

export interface BadRange {
  /** Bytes. */
  offset: number;
  length: number;
  /** What the device said: "EIO" mostly. */
  code: string;
}

export interface ScrubOptions {
  /** Bytes read at once; default 1 MiB. */
  chunkSize?: number;
  /** Reads at once; default 4. */
  concurrency?: number;
  onProgress?: (bytes: number, total: number) => void;
  signal?: AbortSignal;
}

/**
 * Resolves with the unreadable ranges, sorted and merged. A chunk that fails is read again in halves,
 * down to single sectors. Rejects when the device is gone or the signal aborts.
 */
export async function scrub(device: BlockDevice, options: ScrubOptions = {}): Promise<BadRange[]> {
  const { chunkSize = 2 ** 20, concurrency = 4, onProgress, signal } = options;
  const { size } = device.geometry;
  const sector = device.geometry.logicalSectorSize ?? 512;
  if (chunkSize < sector || chunkSize % sector !== 0) {
    throw new RangeError(`chunkSize must be a multiple of the sector size (${sector})`);
  }
  using pool = new BufferPool({ size: chunkSize, count: concurrency });
  const bad: BadRange[] = [];
  let next = 0;
  let done = 0;
  let failed = false;

  async function read(buffer: Uint8Array, offset: number, length: number): Promise<void> {
    try {
      await device.readExactAt(buffer.subarray(0, length), offset, { signal });
    } catch (error) {
      if (!(error instanceof IoError) || !isMediumError(error)) throw error;
      if (length <= sector) {
        bad.push({ offset, length, code: error.code });
        return;
      }
      const half = Math.ceil(length / sector / 2) * sector;
      await read(buffer, offset, half);
      await read(buffer, offset + half, length - half);
    }
  }

  async function work(): Promise<void> {
    using buffer = await pool.acquire();
    while (next < size && !failed) {
      const offset = next;
      const length = Math.min(chunkSize, size - offset);
      next += length;
      try {
        await read(buffer, offset, length);
      } catch (error) {
        failed = true;
        throw error;
      }
      done += length;
      onProgress?.(done, size);
    }
  }

  const results = await Promise.allSettled(Array.from({ length: concurrency }, work));
  const failure = results.find((result) => result.status === "rejected");
  if (failure !== undefined) throw failure.reason;
  return merged(bad);
}

/** The medium's fault, not ours and not the cable's. */
function isMediumError(error: IoError): boolean {
  return ["EIO", "EREMOTEIO", "ENODATA", "EILSEQ", "ETIMEDOUT"].includes(error.code);
}

function merged(ranges: BadRange[]): BadRange[] {
  const out: BadRange[] = [];
  for (const range of ranges.sort((a, b) => a.offset - b.offset)) {
    const last = out.at(-1);
    if (
      last !== undefined &&
      last.offset + last.length === range.offset &&
      last.code === range.code
    )
      last.length += range.length;
    else out.push({ ...range });
  }
  return out;
}

if (import.meta.main) {
  const path = process.argv[2];
  if (path === undefined) throw new Error("usage: bun scrub.ts DISK-OR-IMAGE");
  await using device = await BlockDevice.open(path);
  const bad = await scrub(device, {
    onProgress: (bytes, total) => process.stderr.write(`\r${((100 * bytes) / total).toFixed(1)} %`),
  });
  process.stderr.write("\n");
  for (const { offset, length, code } of bad) console.log(`${offset} ${length} ${code}`);
  process.exitCode = bad.length === 0 ? 0 : 1;
}
