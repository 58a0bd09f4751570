// The passes of a rescue, in the order of GNU ddrescue (manual, "Algorithm"): healthy areas first, the neighbourhoods
// of bad sectors last, so that what a failing medium can still give is read before it is strained. The map holds the
// state of the work: a rescue that was stopped goes on where the map says.

import type { CancelScope } from "../cancellation/scope.ts";
import { allSettled } from "../common/all_settled.ts";
import { type Bytes, roundUp } from "../common/arguments.ts";
import { type ByteRange, totalLength } from "../common/byte_range.ts";
import type { IoErrorCode } from "../errors/codes.ts";
import { IoError } from "../errors/io_error.ts";
import type { File } from "../file/file.ts";
import { readUnits } from "../file/read_ahead.ts";
import { BufferPool } from "../memory/buffer_pool.ts";
import { isBadPlace, PieceReader, pieceSizes, sectorBytes } from "./pieces.ts";
import type { RescueMap } from "./rescue_map.ts";
import type { RescueStatus } from "./status_ranges.ts";

/** The most that is passed over at once after failures, in bytes and as a share of what is to be read. */
const SKIP_BYTES_MAX = 2 ** 30;
const SKIP_SHARE_MAX = 1 / 64;

export interface RescuePlan {
  readonly file: File;
  /** Ascending, apart from one another. */
  readonly ranges: readonly ByteRange[];
  readonly map: RescueMap;
  readonly chunkSize: number;
  /** Chunks in flight at once in healthy areas. */
  readonly concurrency: number;
  /** Chunks end where position plus shift is a multiple of their size: on the grid of a target. */
  readonly shift: number;
  /** Passes over bad sectors at the end. */
  readonly retries: number;
}

/** Who is told of what was read, and what not. The map is changed when a promise resolves, and not if it rejects. */
export interface RescueReceiver {
  /** `before` resolves when all chunks before it have settled, read or not. */
  rescued(range: ByteRange, data: Bytes, before: Promise<void>): Promise<void>;
  /** Sectors cannot be read that were not known to be bad. */
  lost(range: ByteRange, code: IoErrorCode): Promise<void>;
  /** Bad sectors have failed again. */
  stillBad(range: ByteRange, code: IoErrorCode): void;
}

export class Passes {
  readonly #plan: RescuePlan;
  readonly #scope: CancelScope;
  readonly #receiver: RescueReceiver;
  readonly #sector: number;
  readonly #skipMax: number;
  readonly #pieces: PieceReader;
  /** Resolves when all chunks so far have settled. */
  #settled: Promise<void> = Promise.resolve();
  #hasFailed = false;

  constructor(plan: RescuePlan, scope: CancelScope, receiver: RescueReceiver) {
    this.#plan = plan;
    this.#scope = scope;
    this.#receiver = receiver;
    this.#sector = sectorBytes(plan.file);
    const share = roundUp(totalLength(plan.ranges) * SKIP_SHARE_MAX, plan.chunkSize);
    this.#skipMax = Math.min(SKIP_BYTES_MAX, share);
    this.#pieces = new PieceReader(plan.file, scope);
  }

  /** Whether any read has failed: from then on, what is rescued is out of order. */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  /** Rejects with the first error that does not concern a place of the medium, when all reads have settled. */
  async run(): Promise<void> {
    const { map, chunkSize, concurrency, shift, retries } = this.#plan;
    using pool = new BufferPool({ size: chunkSize, count: concurrency });
    const grid = { size: chunkSize, shift };
    const skipping = forwards(this.#left("?"), grid, this.#skipMax);
    await this.#readChunks(pool, () => skipping);
    if (skipping.hasSkipped) {
      // From the other end of what was skipped, up to where it is bad; then all the rest.
      const ranges = this.#left("?").values();
      await this.#readChunks(pool, () => backwards(ranges, grid));
      const rest = forwards(this.#left("?"), grid);
      await this.#readChunks(pool, () => rest);
    }
    using buffer = await pool.acquire({ signal: this.#scope.signal });
    // Divides chunks that failed, until their sectors are next.
    for (const size of pieceSizes(chunkSize, this.#sector).slice(0, -1)) {
      await this.#readPieces("*", size, buffer, () => {});
    }
    for (const range of this.#left("*")) map.set(range, "/");
    await this.#readPieces("/", this.#sector, buffer, (range, code) => this.#lose(range, code));
    for (let pass = 0; pass < retries; pass++) {
      const again = (range: ByteRange, code: IoErrorCode): void =>
        this.#receiver.stillBad(range, code);
      await this.#readPieces("-", this.#sector, buffer, again);
    }
  }

  /** What has this status now. */
  #left(status: RescueStatus): ByteRange[] {
    const { map, ranges } = this.#plan;
    return ranges.flatMap((range) => [...map.ranges(status, range)]);
  }

  // In chunks -----------------------------------------------------------------------------------------

  /** Reads the chunks of one source for each lane, or of one that all lanes share. */
  async #readChunks(pool: BufferPool, source: () => ChunkSource): Promise<void> {
    let isOver = false;
    const lane = async (): Promise<void> => {
      const chunks = source();
      using buffer = await pool.acquire({ signal: this.#scope.signal });
      for (let chunk = chunks.next(); chunk !== undefined && !isOver; chunk = chunks.next()) {
        const before = this.#settled;
        const { promise, resolve } = Promise.withResolvers<void>();
        this.#settled = promise.then(() => before);
        const reading = this.#readChunk(chunk, buffer, before).finally(resolve);
        chunks.settled(chunk, await reading);
      }
    };
    const lanes = Array.from({ length: this.#plan.concurrency }, () =>
      lane().catch((error) => {
        isOver = true;
        throw error;
      }),
    );
    await allSettled(lanes);
  }

  /** Whether the chunk could be read. */
  async #readChunk(chunk: ByteRange, buffer: Bytes, before: Promise<void>): Promise<boolean> {
    const { file, map } = this.#plan;
    const { offset, length } = chunk;
    let bytes: number;
    try {
      bytes = await readUnits(file, buffer, offset, length, this.#scope);
    } catch (error) {
      if (!isBadPlace(error)) throw error;
      this.#hasFailed = true;
      if (length > this.#sector) map.set(chunk, "*");
      else await this.#lose(chunk, error.code);
      return false;
    }
    if (bytes < length) throw endOfFile(file, offset, length, bytes);
    await this.#keep(chunk, buffer.subarray(0, length), before);
    return true;
  }

  // In pieces -----------------------------------------------------------------------------------------

  async #readPieces(
    status: RescueStatus,
    size: number,
    buffer: Bytes,
    failed: (range: ByteRange, code: IoErrorCode) => Promise<void> | void,
  ): Promise<void> {
    const grid = { size: this.#plan.chunkSize, shift: 0 };
    const chunks = forwards(this.#left(status), grid);
    for (let chunk = chunks.next(); chunk !== undefined; chunk = chunks.next()) {
      const room = buffer.subarray(0, chunk.length);
      for await (const part of this.#pieces.read(room, chunk.offset, size)) {
        const { begin, end, code } = part;
        const range = { offset: chunk.offset + begin, length: end - begin };
        if (code !== undefined) await failed(range, code);
        else if (end > begin) await this.#keep(range, buffer.subarray(begin, end), this.#settled);
        if (part.isLast) throw endOfFile(this.#plan.file, chunk.offset, chunk.length, end);
      }
    }
  }

  async #keep(range: ByteRange, data: Bytes, before: Promise<void>): Promise<void> {
    await this.#receiver.rescued(range, data, before);
    this.#plan.map.set(range, "+");
  }

  async #lose(range: ByteRange, code: IoErrorCode): Promise<void> {
    await this.#receiver.lost(range, code);
    this.#plan.map.set(range, "-");
  }
}

function endOfFile(file: File, offset: number, length: number, transferred: number): IoError {
  return new IoError("ERR_END_OF_FILE", {
    reason: `the file ends at ${offset + transferred}, before the end of the range to read`,
    ...{ syscall: "read", path: file.path, offset, length, transferred },
  });
}

// Chunks --------------------------------------------------------------------------------------------------

/** Chunks end where position plus shift is a multiple of size. */
interface Grid {
  readonly size: number;
  readonly shift: number;
}

interface ChunkSource {
  next(): ByteRange | undefined;
  settled(chunk: ByteRange, wasRead: boolean): void;
}

/** The chunks of ranges. After each failure in a row, more is skipped, to get out of a bad area. */
function forwards(
  ranges: readonly ByteRange[],
  { size, shift }: Grid,
  skipMax = 0,
): ChunkSource & { hasSkipped: boolean } {
  let index = 0;
  // Everything before this has been given out or skipped.
  let at = 0;
  let skip = 0;
  return {
    hasSkipped: false,
    next() {
      for (; ; index++) {
        const range = ranges[index];
        if (range === undefined) return undefined;
        const end = range.offset + range.length;
        const offset = Math.max(at, range.offset);
        if (offset >= end) continue;
        at = Math.min(offset + size - ((offset + shift) % size), end);
        return { offset, length: at - offset };
      }
    },
    settled(chunk, wasRead) {
      skip = wasRead ? 0 : Math.min(Math.max(2 * skip, size), skipMax);
      const to = chunk.offset + chunk.length + skip;
      if (wasRead || to <= at) return;
      at = to;
      this.hasSkipped = true;
    },
  };
}

/** The chunks of ranges from their ends. After a failure, the rest of the range is left out. */
function backwards(ranges: Iterator<ByteRange>, { size, shift }: Grid): ChunkSource {
  let begin = 0;
  let end = 0;
  return {
    next() {
      if (begin === end) {
        const { value } = ranges.next();
        if (value === undefined) return undefined;
        begin = value.offset;
        end = begin + value.length;
      }
      const offset = Math.max(begin, end - ((end + shift) % size || size));
      const chunk = { offset, length: end - offset };
      end = offset;
      return chunk;
    },
    settled(_chunk, wasRead) {
      if (!wasRead) begin = end;
    },
  };
}
