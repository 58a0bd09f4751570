// `scan`: reads a file or device from end to end and finds what cannot be read.

import { CancelScope } from "../cancellation/scope.ts";
import { argumentType, argumentValue } from "../common/argument_errors.ts";
import { type Bytes, type Offset, roundUp } from "../common/arguments.ts";
import { type ByteRange, checkEnd, totalLength } from "../common/byte_range.ts";
import { Digest, type HashName } from "../common/digest.ts";
import { traced } from "../errors/call_site.ts";
import type { IoErrorCode } from "../errors/codes.ts";
import type { ReadError } from "../errors/copy_result.ts";
import { File } from "../file/file.ts";
import { openFileOf } from "../file/open_file.ts";
import { Meter, type Progress } from "../file/progress.ts";
import { now } from "../native/clock.ts";
import { BadRanges, mapOf } from "./bad_ranges.ts";
import { checkedOptions } from "./options.ts";
import { Passes, type RescuePlan, type RescueReceiver } from "./passes.ts";
import { CONCURRENCY_DEFAULT, defaultChunk, lanes } from "./plan.ts";
import { plainSpans } from "./ranges.ts";
import { RescueMap } from "./rescue_map.ts";

/** What `onProgress` of `scan` is told. */
export type ScanProgress = Progress<"scan">;

/** What `scan` reads, and what it tells of. */
export interface ScanOptions {
  /** Position of the first byte. Default 0. */
  start?: Offset | undefined;
  /** End position, exclusive; the end of the file comes first. Default: the end of the file. */
  end?: Offset | undefined;
  /** Reads only these ranges: ascending, without overlaps, in bytes from the start of the file. Default: everything. */
  ranges?: readonly ByteRange[] | undefined;
  /** Bytes of one read where the medium is healthy. Default 2 MiB, or the next multiple of its optimal request size. */
  chunkSize?: number | undefined;
  /** Reads in flight at once where the medium is healthy, 1 to 1024. Default 8, but no more than make up 4 MiB. */
  concurrency?: number | undefined;
  /** Computes a digest of what is read, in lower-case hexadecimal. Default: none. */
  hash?: HashName | undefined;
  /** Rejects with an AbortError once the kernel has let go of all buffers. */
  signal?: AbortSignal | undefined;
  /** Called at most ten times a second, and at the end. An error that it throws ends the scan. */
  onProgress?: ((progress: ScanProgress) => void) | undefined;
  /**
   * Called when sectors turn out to be bad, in the order in which that happens; of neighbours one by one or for
   * several. An error that it throws ends the scan.
   */
  onBad?: ((error: ReadError) => void) | undefined;
}

/** What `scan` found. */
export interface ScanResult {
  /** Bytes that could be read. */
  readonly bytesRead: number;
  /** What could not be read: whole sectors, ascending; neighbours with the same code are one. */
  readonly bad: ReadError[];
  /** Bad sectors are `-`, all else is `?`: for `copy`, or for ddrescue. */
  readonly map: RescueMap;
  /** Of everything that was to be read; undefined without `hash`, and if any of it is bad. */
  readonly digest: string | undefined;
  /** Milliseconds that it took. */
  readonly durationMs: number;
}

const OPTION_NAMES: readonly string[] = [
  ...["start", "end", "ranges", "chunkSize", "concurrency", "hash", "signal", "onProgress"],
  "onBad",
];

/**
 * Reads all of a file or device, past the page cache, and finds the sectors that cannot be read.
 *
 * Healthy areas come first: where reads fail, more and more is skipped, and looked at later. What failed is divided
 * by 16 down to the sector (`alignment.offset`, the logical sector of a device, 4096 bytes of a plain file), many
 * pieces at once as long as they fail within milliseconds, else one at a time. Errors that concern a place of the
 * medium (EIO, ENODATA, EILSEQ, EREMOTEIO, ETIMEDOUT, ETIME, EBADMSG) are results; any other rejects.
 *
 * @example
 * ```ts
 * import { open, scan } from "bun-aio";
 *
 * await using disk = await open("disk.img");
 * const { bad, map } = await scan(disk, { onBad: ({ offset }) => console.log(offset) });
 * await Bun.write("disk.map", map.toString());
 * console.log(bad.length);
 * ```
 */
export function scan(file: File, options: ScanOptions = {}): Promise<ScanResult> {
  return traced(checkedScan(file, options));
}

async function checkedScan(file: File, options: ScanOptions): Promise<ScanResult> {
  const asked = checkScan(file, options);
  const { start, length } = asked;
  const scope = new CancelScope(asked.signal);
  scope.throwIfCancelled({ syscall: "read", path: file.path });
  const size = await sizeOf(file, start + length);
  const reach = Math.max(0, Math.min(length, size - start));
  const chunkSize = roundUp(asked.chunkSize ?? defaultChunk([file]), file.alignment.offset);
  const wanted = asked.concurrency ?? CONCURRENCY_DEFAULT;
  const plan = {
    file,
    ranges: rangesWithin(asked.ranges, start, reach),
    map: new RescueMap(size),
    chunkSize,
    concurrency: lanes(file, [file], wanted, chunkSize),
    shift: 0,
    retries: 0,
  };
  if (plan.ranges.length > 0) await file.invalidateCache();
  return new Scan(plan, asked, scope).run();
}

/** Checks whatever can be checked without I/O, and throws. Returns the range to read, too; it may be infinite. */
function checkScan(file: unknown, options: ScanOptions) {
  if (!(file instanceof File)) throw argumentType("file", "a File", file);
  const checked = checkedOptions("scan", options, OPTION_NAMES);
  const start = Number(checked.start ?? 0);
  const length = checkEnd("options.end", checked.end, start);
  if (!openFileOf(file).state.readable) {
    throw argumentValue("file", "was opened for writing only", file.path);
  }
  return { ...checked, start, length };
}

/** Size of the file; `end` where it has none. */
async function sizeOf(file: File, end: number): Promise<number> {
  if (file.kind !== "character") return file.size();
  if (end !== Infinity) return end;
  throw argumentType("options.end", "given for a character device, which has no end", undefined);
}

function rangesWithin(
  ranges: readonly ByteRange[] | undefined,
  start: number,
  length: number,
): ByteRange[] {
  const whole = length === 0 ? [] : [{ begin: 0, end: length }];
  const spans = ranges === undefined ? whole : plainSpans(ranges, start, length);
  return spans.map(({ begin, end }) => ({ offset: start + begin, length: end - begin }));
}

class Scan implements RescueReceiver {
  readonly #plan: RescuePlan;
  readonly #passes: Passes;
  readonly #onBad: ScanOptions["onBad"];
  readonly #started: number = now();
  readonly #meter: Meter<"scan">;
  readonly #digest: Digest | undefined;
  readonly #bad = new BadRanges();
  #bytesRead = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(plan: RescuePlan, options: ScanOptions, scope: CancelScope) {
    const { hash, onProgress, onBad } = options;
    this.#plan = plan;
    this.#passes = new Passes(plan, scope, this);
    this.#onBad = onBad;
    this.#digest = hash === undefined ? undefined : new Digest(hash);
    this.#meter = new Meter(onProgress, "scan", totalLength(plan.ranges), (error) => {
      this.#failure = { error };
    });
  }

  async run(): Promise<ScanResult> {
    try {
      await this.#passes.run();
      this.#throwIfFailed();
      this.#meter.end();
    } finally {
      this.#meter[Symbol.dispose]();
    }
    const bad = this.#bad.list();
    return {
      bytesRead: this.#bytesRead,
      bad,
      map: mapOf(bad, this.#plan.map.size),
      digest: this.#passes.hasFailed ? undefined : this.#digest?.hex(),
      durationMs: now() - this.#started,
    };
  }

  async rescued({ length }: ByteRange, data: Bytes, before: Promise<void>): Promise<void> {
    if (this.#digest !== undefined && !this.#passes.hasFailed) {
      await before;
      await this.#digest.update(data, () => this.#passes.hasFailed);
    }
    this.#throwIfFailed();
    this.#bytesRead += length;
    this.#meter.add(length);
  }

  async lost(range: ByteRange, code: IoErrorCode): Promise<void> {
    this.#throwIfFailed();
    this.#bad.add(range, code);
    this.#onBad?.({ ...range, code });
    this.#meter.add(range.length);
  }

  stillBad(range: ByteRange, code: IoErrorCode): void {
    this.#bad.add(range, code);
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
