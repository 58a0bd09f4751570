// A copy with a map: what has been rescued is left alone, healthy areas come first, and the map says at any time what
// the target has.

import { type CancelReason, CancelScope } from "../cancellation/scope.ts";
import { argumentRange, argumentValue } from "../common/argument_errors.ts";
import { addOffset, type Bytes, remainder } from "../common/arguments.ts";
import { type ByteRange, totalLength } from "../common/byte_range.ts";
import type { IoErrorCode } from "../errors/codes.ts";
import type { CopyResult } from "../errors/copy_result.ts";
import { IoError, setResult, wasAsked } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import { openFileOf } from "../file/open_file.ts";
import { type CopyProgress, Meter } from "../file/progress.ts";
import { allocBuffer } from "../memory/alloc_buffer.ts";
import { BufferPool } from "../memory/buffer_pool.ts";
import { Kind } from "../native/abi.gen.ts";
import { now } from "../native/clock.ts";
import { BadRanges } from "./bad_ranges.ts";
import type { CopyOptions } from "./copy_options.ts";
import { Destination } from "./destination.ts";
import { endedBy } from "./ended_by.ts";
import { Passes, type RescuePlan, type RescueReceiver } from "./passes.ts";
import type { Plan } from "./plan.ts";
import { RescueMap, statusesOf } from "./rescue_map.ts";
import { cancelled } from "./run.ts";
import type { RescueStatus } from "./status_ranges.ts";
import { Sums } from "./sums.ts";
import { underScope } from "./under_scope.ts";
import { differs, narrowed, readBack } from "./verify.ts";

/** After which the sync of a target is given up when the copy has failed already. The kernel may take longer. */
const LAST_SYNC_MS_MAX = 10_000;

/** A copy that is a rescue. */
export interface RescueJob {
  readonly source: File;
  readonly map: RescueMap;
  readonly retries: number;
}

/** Undefined for a copy without map and retries. Throws if the options do not go with them. */
export function checkRescue(source: unknown, options: CopyOptions): RescueJob | undefined {
  const { map, retries = 0, onReadError, hash, ranges } = options;
  if (map === undefined && retries === 0) return undefined;
  const [name, value] = map === undefined ? ["retries", retries] : ["map", map];
  if (onReadError !== "skip") {
    throw argumentValue(`options.${name}`, 'needs onReadError: "skip"', value);
  }
  if (!(source instanceof File)) {
    const why = "works only with files; a stream is read once, in order";
    throw argumentValue(`options.${name}`, why, value);
  }
  const why = "cannot be combined with map or retries, which read out of order, and not everything";
  if (hash !== undefined) throw argumentValue("options.hash", why, hash);
  const index = ranges?.findIndex(({ sha256 }) => sha256 !== undefined) ?? -1;
  if (index >= 0) throw argumentValue(`options.ranges[${index}].sha256`, why, ranges?.[index]);
  return { source, map: map ?? new RescueMap(), retries };
}

export async function runRescue(
  { source, map, retries }: RescueJob,
  plan: Plan,
  scope: CancelScope,
  onProgress: CopyOptions["onProgress"],
): Promise<CopyResult> {
  const length = plan.end ?? (await lengthOf(source, plan));
  const start = Number(plan.sourceOffset);
  if (start + length > Number.MAX_SAFE_INTEGER) {
    throw argumentRange("options.sourceOffset", "such that the copy ends below 2^53", start);
  }
  statusesOf(map).extend(
    Math.max(start + length, source.kind === "character" ? 0 : await source.size()),
  );
  const { targetOffset, chunkSize, concurrency, grid } = plan;
  const passes = {
    file: source,
    ranges: plan.spans.map(({ begin, end }) => {
      return { offset: start + begin, length: Math.min(end, length) - begin };
    }),
    ...{ map, chunkSize, concurrency, retries },
    shift: remainder(addOffset(targetOffset, grid - (start % grid)), grid),
  };
  return new Rescue(plan, passes, onProgress, scope).run();
}

/** The length of a source whose size says nothing: none, if it is empty. */
async function lengthOf(source: File, { sourceOffset }: Plan): Promise<number> {
  if (source.kind === "regular") {
    const bytes = await source.readAt(new Uint8Array(1), sourceOffset);
    if (bytes === 0) return 0;
  }
  throw argumentValue("source", "has no known size: pass options.length", source.path);
}

class Rescue implements RescueReceiver {
  readonly #plan: Plan;
  readonly #job: RescuePlan;
  readonly #passes: Passes;
  readonly #scope: CancelScope;
  readonly #onProgress: ((progress: CopyProgress) => void) | undefined;
  readonly #started: number = now();
  readonly #start: number;
  readonly #destination: Destination;
  readonly #sums: Sums | undefined;
  #pieces = 0;
  readonly #bad = new BadRanges();
  /** What this copy has rescued: "+". */
  readonly #rescued = new RescueMap();
  /** What progress counts: "?"; a sector that is tried again counts once. */
  readonly #uncounted: RescueMap;
  #zeroes: Bytes | undefined;
  #meter: Meter<"copy" | "verify">;
  #hasSyncFailed = false;
  #verified = false;
  #failure: IoError | undefined;

  constructor(
    plan: Plan,
    job: RescuePlan,
    onProgress: ((progress: CopyProgress) => void) | undefined,
    scope: CancelScope,
  ) {
    this.#plan = plan;
    this.#job = job;
    this.#passes = new Passes(job, scope, this);
    this.#scope = scope;
    this.#onProgress = onProgress;
    this.#start = Number(plan.sourceOffset);
    this.#destination = new Destination(plan, scope);
    this.#sums = plan.verify ? new Sums(plan.chunkSize) : undefined;
    this.#uncounted = new RescueMap(job.map.size);
    this.#meter = this.#startMeter("copy", this.#bytesLeft());
  }

  async run(): Promise<CopyResult> {
    const { target } = this.#plan;
    const cancel = (reason: CancelReason): void => this.#fail(cancelled(reason, target));
    try {
      await underScope(this.#scope, [target], cancel, async () => {
        this.#throwIfFailed();
        await this.#steps();
      });
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#meter[Symbol.dispose]();
    }
    if (this.#failure === undefined) return this.#result();
    await this.#settleMap();
    throw setResult(this.#failure, this.#result());
  }

  async #steps(): Promise<void> {
    const { target, sync } = this.#plan;
    await this.#passes.run();
    this.#throwIfFailed();
    await this.#destination.extendTo(this.#end());
    if (sync) await this.#sync(target);
    this.#meter.end();
    if (this.#sums !== undefined) await this.#verify(this.#sums);
    this.#throwIfFailed();
  }

  async #sync(target: File): Promise<void> {
    try {
      await target.syncAll(this.#scope);
    } catch (error) {
      this.#hasSyncFailed = this.#failure === undefined;
      throw error;
    }
  }

  // For the passes ------------------------------------------------------------------------------------

  async rescued(range: ByteRange, data: Bytes): Promise<void> {
    this.#throwIfFailed();
    await this.#destination.put(this.#place(range), data);
    this.#sums?.note(this.#pieces++, this.#place(range), data);
    this.#rescued.set(range, "+");
    this.#bad.delete(range);
    this.#count(range);
  }

  async lost(range: ByteRange, code: IoErrorCode): Promise<void> {
    this.#throwIfFailed();
    this.#zeroes ??= allocBuffer(this.#plan.chunkSize);
    await this.#destination.put(this.#place(range), this.#zeroes.subarray(0, range.length));
    this.stillBad(range, code);
  }

  stillBad(range: ByteRange, code: IoErrorCode): void {
    this.#bad.add(range, code);
    this.#count(range);
  }

  /** Where it is relative to the offsets. */
  #place({ offset }: ByteRange): number {
    return offset - this.#start;
  }

  // Verifying -----------------------------------------------------------------------------------------

  /** Reads back what this copy has rescued. What differs is to be rescued again. */
  async #verify(sums: Sums): Promise<void> {
    const { chunkSize, concurrency } = this.#plan;
    const scope = this.#scope;
    this.#meter = this.#startMeter("verify", totalLength(this.#rescued.ranges("+")));
    using pool = new BufferPool({ size: chunkSize, count: concurrency });
    let first: ByteRange | undefined;
    for await (const { part, length, right } of readBack(this.#plan, { pool, scope, sums })) {
      this.#throwIfFailed();
      this.#meter.add(length);
      if (right === part.length) continue;
      const wrong = { offset: part.begin + right, length: part.length - right };
      this.#doubt(wrong);
      if (wrong.offset < (first?.offset ?? Infinity)) first = wrong;
      // Nothing is read beyond the end of the target.
      if (length < part.length) this.#doubtFrom(sums, part.index + 1);
    }
    if (first !== undefined) throw differs(this.#plan, await narrowed(this.#plan, first, scope));
    this.#verified = true;
    this.#meter.end();
  }

  #doubtFrom(sums: Sums, first: number): void {
    for (const { index, begin, length } of sums.written()) {
      if (index >= first) this.#doubt({ offset: begin, length });
    }
  }

  #doubt({ offset, length }: ByteRange): void {
    this.#job.map.set({ offset: this.#start + offset, length }, "?");
  }

  // Accounts ------------------------------------------------------------------------------------------

  /**
   * After a failure: what was written is rescued only if it is on the medium. Without `sync`, the caller is to see to
   * that.
   */
  async #settleMap(): Promise<void> {
    if (!this.#plan.sync || (await this.#isOnMedium())) return;
    for (const range of this.#rescued.ranges("+")) this.#job.map.set(range, "?");
  }

  async #isOnMedium(): Promise<boolean> {
    if (this.#rescued.size === 0) return true;
    const file = openFileOf(this.#plan.target);
    const { reports } = file.state;
    // The kernel reports a failed writeback to one sync only.
    if (this.#hasSyncFailed || isOfSync(reports.lasting)) return false;
    try {
      // Not `syncAll`: that fails after any failed write, which does not concern what was written before.
      const scope = new CancelScope(undefined, now() + LAST_SYNC_MS_MAX);
      await file.run(Kind.syncAll, { scope });
      return true;
    } catch (error) {
      if (error instanceof IoError && !wasAsked(error)) reports.lasting ??= error;
      return false;
    }
  }

  #startMeter(phase: "copy" | "verify", total: number): Meter<"copy" | "verify"> {
    return new Meter(this.#onProgress, phase, total, (error) => this.#fail(error));
  }

  /** What the map says of what is copied. */
  *#states(): Generator<ByteRange & { readonly status: RescueStatus }> {
    const { map, ranges } = this.#job;
    for (const range of ranges) yield* map.ranges(undefined, range);
  }

  #bytesLeft(): number {
    const withBad = this.#job.retries > 0;
    return totalLength(
      this.#states().filter(({ status }) => status !== "+" && (withBad || status !== "-")),
    );
  }

  #count(range: ByteRange): void {
    const bytes = totalLength(this.#uncounted.ranges("?", range));
    this.#uncounted.set(range, "+");
    this.#meter.add(bytes);
  }

  #fail(error: unknown): void {
    this.#failure ??= endedBy(error, "copy");
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Everything up to the first range that is still to be tried. */
  #prefix(): number {
    const left = this.#states().find(({ status }) => status !== "+" && status !== "-");
    return left === undefined ? this.#end() : this.#place(left);
  }

  /** Where the last range ends, relative to the offsets. */
  #end(): number {
    const last = this.#job.ranges.at(-1);
    return last === undefined ? 0 : this.#place(last) + last.length;
  }

  #result(): CopyResult {
    return {
      bytesCopied: this.#destination.bytesCopied,
      bytesSkipped: this.#destination.bytesSkipped,
      prefix: Math.min(this.#prefix(), this.#destination.end),
      method: this.#destination.method,
      durationMs: now() - this.#started,
      verified: this.#verified,
      digest: undefined,
      readErrors: this.#bad.list(),
    };
  }
}

function isOfSync(lasting: IoError | undefined): boolean {
  return lasting?.syscall === "fsync" || lasting?.syscall === "fdatasync";
}
