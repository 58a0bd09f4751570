// `compare`: whether a target holds what a source has.

import { onCancel } from "../cancellation/registry.ts";
import { cancelScope } from "../cancellation/scope.ts";
import { addOffset, type Offset } from "../common/arguments.ts";
import type { ByteRange } from "../common/byte_range.ts";
import { Digest, type HashName } from "../common/digest.ts";
import { traced } from "../errors/call_site.ts";
import type { IoError } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import { Meter, type Progress } from "../file/progress.ts";
import { HASHED_BYTES, piecesOf, type Region, regionOf, spanBytes } from "../file/read_ahead.ts";
import { now } from "../native/clock.ts";
import { Differences } from "./differences.ts";
import { endedBy } from "./ended_by.ts";
import { Cursor, inStep, streamPieces } from "./in_step.ts";
import { Input } from "./input.ts";
import { checkedOptions } from "./options.ts";
import { plainSpans } from "./ranges.ts";
import { checkCompared, checkSource, endOfSource } from "./sides.ts";

/** What `compare` compares, and what it tells of. */
export interface CompareOptions {
  /** Offset in the source in bytes; for a stream, bytes to skip. Default 0. */
  sourceOffset?: Offset | undefined;
  /** Offset in the target in bytes. Default 0. */
  targetOffset?: Offset | undefined;
  /** Bytes to compare. Default: up to the end of the source. */
  length?: number | undefined;
  /**
   * Compares these ranges only: ascending, without overlaps, in bytes from the start of the source, as `copy` takes
   * them. Default: everything.
   */
  ranges?: readonly ByteRange[] | undefined;
  /** Goes on after the first difference, and lists all of them. Default false. */
  all?: boolean | undefined;
  /** Computes a digest of what was compared of the source, also where the target differs. Default: none. */
  hash?: HashName | undefined;
  /** Rejects with an AbortError once the kernel has let go of all buffers. */
  signal?: AbortSignal | undefined;
  /** Called at most ten times a second, and at the end. An error that it throws ends the comparison. */
  onProgress?: ((progress: Progress<"compare">) => void) | undefined;
}

/** What `compare` found. */
export interface CompareResult {
  /** Whether the target has every byte that was compared. */
  readonly identical: boolean;
  /** Bytes of the target that were compared, holes included. Without `all`: those before the first difference. */
  readonly bytesCompared: number;
  /** Offset in the source of the first byte that the target has not. Undefined if they are identical. */
  readonly firstDifference: number | undefined;
  /**
   * With `all`, the ranges that differ, in offsets of the source, ascending; empty without. A target that ends too
   * early differs from its end on. Exact to the byte, unless there are more than 262,144 ranges: then those close to
   * one another are one.
   */
  readonly differences: ByteRange[];
  /** In lower-case hexadecimal; undefined without `hash`. */
  readonly digest: string | undefined;
  /** Milliseconds. */
  readonly durationMs: number;
}

/**
 * Compares `target` with `source`, as they are on their media: the page caches are dropped first. Both are read
 * ahead. Holes are not read: two of them are equal, and data is compared with zeroes.
 *
 * A target that is longer than the source is fine: disks mostly are. One that ends before is different from there
 * on. A source that ends before `length` or before the end of `ranges` rejects with `ERR_END_OF_FILE`, as in `copy`:
 * that is no fault of the target. Without `length`, a source whose size is known is compared up to the end that it
 * had at the call.
 *
 * A read error rejects with the IoError of the side that it happened on. What a stream or a callback throws is the
 * `cause` of an `ERR_COMPARE`. A stream is cancelled at the end of the comparison.
 *
 * @example
 * ```ts
 * import { compare, open } from "bun-aio";
 *
 * await using source = await open("disk.img");
 * await using target = await open("disk.img");
 * const { identical, firstDifference } = await compare(source, target);
 * console.log(identical ? "the same" : `differs at ${firstDifference}`);
 * ```
 */
export function compare(
  source: File | ReadableStream<Uint8Array>,
  target: File,
  options: CompareOptions = {},
): Promise<CompareResult> {
  return traced(compareChecked(source, target, options));
}

async function compareChecked(
  source: File | ReadableStream<Uint8Array>,
  target: File,
  options: CompareOptions,
): Promise<CompareResult> {
  const asked = checkCompare(source, target, options);
  const { scope } = asked;
  const where = { syscall: "compare", path: target.path };
  scope?.throwIfCancelled(where);
  try {
    return await new Comparison(asked).run();
  } catch (error) {
    scope?.throwIfCancelled(where);
    throw endedBy(error, "compare");
  }
}

const OPTION_NAMES: readonly string[] = [
  ...["sourceOffset", "targetOffset", "length", "ranges", "all", "hash", "signal", "onProgress"],
];

function checkCompare(
  source: File | ReadableStream<Uint8Array>,
  target: File,
  options: CompareOptions,
) {
  checkSource(source);
  checkCompared(target);
  const checked = checkedOptions("compare", options, OPTION_NAMES);
  const { sourceOffset = 0, targetOffset = 0, length: end = Infinity, ranges } = checked;
  const spans = ranges === undefined ? [{ begin: 0, end }] : plainSpans(ranges, sourceOffset, end);
  // Whether the end of the source is the end of the comparison.
  const isWhole = end === Infinity && ranges === undefined;
  const scope = cancelScope(checked);
  return { ...checked, source, target, sourceOffset, targetOffset, spans, isWhole, scope };
}

type Asked = Readonly<ReturnType<typeof checkCompare>>;

class Comparison {
  readonly #asked: Asked;
  readonly #started: number = now();
  readonly #found: Differences;
  readonly #digest: Digest | undefined;
  #input: Input | undefined;
  #bytesCompared = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(asked: Asked) {
    this.#asked = asked;
    this.#found = new Differences(asked.all ?? false);
    this.#digest = asked.hash === undefined ? undefined : new Digest(asked.hash);
  }

  async run(): Promise<CompareResult> {
    const { source, target, sourceOffset } = this.#asked;
    await dropCache(target);
    if (source instanceof File) await this.#compareFile(source);
    else await this.#compareStream(source);
    const { first, ranges } = this.#found;
    const inSource = (at: number): number => Number(addOffset(sourceOffset, at));
    return {
      identical: first === undefined,
      bytesCompared: this.#bytesCompared,
      firstDifference: first === undefined ? undefined : inSource(first),
      differences: ranges.map(({ offset, length }) => ({ offset: inSource(offset), length })),
      digest: this.#digest?.hex(),
      durationMs: now() - this.#started,
    };
  }

  async #compareFile(source: File): Promise<void> {
    await dropCache(source);
    const { sourceOffset, spans, scope, isWhole } = this.#asked;
    const region = await regionOf(source, sourceOffset, spans);
    const bytes = spanBytes(region.spans);
    if (!isWhole && bytes < spanBytes(spans)) throw this.#sourceEnds(bytes);
    const holeSize = this.#digest === undefined ? Infinity : HASHED_BYTES;
    await using cursor = new Cursor(piecesOf(source, region, scope, { holeSize }));
    await this.#compare(cursor, region.spans);
  }

  async #compareStream(source: ReadableStream<Uint8Array>): Promise<void> {
    const { sourceOffset, spans, scope } = this.#asked;
    const input = new Input(source);
    this.#input = input;
    const stop = scope && onCancel(scope, ({ cause }) => input.cancel(cause));
    try {
      await this.#compare(new Cursor(streamPieces(input, Number(sourceOffset), spans)), spans);
    } catch (error) {
      input.cancel(scope?.reason?.cause ?? error);
      throw error;
    } finally {
      stop?.end();
      input.cancel(undefined);
    }
  }

  async #compare(a: Cursor, spans: Region["spans"]): Promise<void> {
    const { target, scope, targetOffset, onProgress } = this.#asked;
    const region = await regionOf(target, targetOffset, spans);
    await using b = new Cursor(piecesOf(target, region, scope));
    const bytes = spanBytes(spans);
    const total = bytes === Infinity ? undefined : bytes;
    using meter = new Meter(onProgress, "compare", total, (error) => this.#fail(error));
    for await (const pair of inStep(a, b)) {
      this.#found.note(pair);
      const { first, isEnough } = this.#found;
      this.#bytesCompared += isEnough && first !== undefined ? first - pair.begin : pair.length;
      await this.#passed(pair.a, pair.length, meter);
      if (isEnough) break;
    }
    const isRead = await this.#readRest(a, meter);
    this.#throwIfOver();
    if (isRead && total !== undefined && a.bytes < total) throw this.#sourceEnds(a.bytes);
    meter.end();
  }

  /** Goes on behind the first difference or the end of the target, as far as that is needed. */
  async #readRest(a: Cursor, meter: Meter<"compare">): Promise<boolean> {
    const isMissing = !this.#found.isEnough;
    while (isMissing || this.#digest !== undefined) {
      this.#throwIfOver();
      const length = await a.ready();
      if (length === 0) return true;
      if (isMissing) this.#found.add(a.position, length);
      if (this.#found.isEnough && this.#digest === undefined) break;
      await this.#passed(a.take(length), length, meter);
    }
    return false;
  }

  async #passed(
    data: Uint8Array | undefined,
    length: number,
    meter: Meter<"compare">,
  ): Promise<void> {
    const { scope } = this.#asked;
    const isOver = (): boolean => this.#failure !== undefined || scope?.reason !== undefined;
    await this.#digest?.update(data ?? length, isOver);
    this.#throwIfOver();
    meter.add(length);
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#input?.cancel(error);
  }

  #throwIfOver(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
    const { scope, target } = this.#asked;
    scope?.throwIfCancelled({ syscall: "compare", path: target.path });
  }

  #sourceEnds(bytes: number): IoError {
    const { source, sourceOffset, spans } = this.#asked;
    return endOfSource(source, sourceOffset, bytes, spanBytes(spans));
  }
}

/** Other files are not cached. */
async function dropCache(file: File): Promise<void> {
  if (file.kind === "regular" || file.kind === "disk") await file.invalidateCache();
}
