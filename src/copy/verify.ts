// Verification of a copy: reads the target back from the medium, and compares it with the checksums of what was
// written. To name the first wrong byte, source and target are compared there.

import type { CancelScope } from "../cancellation/scope.ts";
import { addOffset } from "../common/arguments.ts";
import type { ByteRange } from "../common/byte_range.ts";
import { IoError } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import { partsOf, readAhead } from "../file/read_ahead.ts";
import type { BufferPool } from "../memory/buffer_pool.ts";
import { compare } from "./compare.ts";
import type { Plan } from "./plan.ts";
import { BLOCK_BYTES, type Sums, type Written } from "./sums.ts";

export interface Tools {
  readonly pool: BufferPool;
  readonly scope: CancelScope;
  readonly sums: Sums;
}

/** A part of what was written, as it was read back. */
interface ReadBack {
  readonly part: Written;
  /** Bytes that were read: fewer where the target ends. */
  readonly length: number;
  /** Bytes before the first block that differs, or before the end of the target. */
  readonly right: number;
}

/** Reads the target back, in the order in which it was written. */
export async function* readBack(
  plan: Plan,
  { pool, scope, sums }: Tools,
): AsyncGenerator<ReadBack> {
  const { target, targetOffset } = plan;
  await target.invalidateCache();
  // The end of a file that somebody cuts off looks like a hole.
  const room = target.kind === "regular" ? (await target.size()) - Number(targetOffset) : Infinity;
  const parts = partsWritten(plan, sums, scope);
  for await (const { part, length, data } of readAhead(target, targetOffset, parts, pool, scope)) {
    const same = sums.differs(part.index, data) ?? length;
    yield { part, length, right: Math.min(same, Math.max(0, room - part.begin)) };
  }
}

/** The chunks as they were written; of a hole, only what is none on the target is read. */
async function* partsWritten(
  { target, targetOffset, chunkSize }: Plan,
  sums: Sums,
  scope: CancelScope,
): AsyncGenerator<Written> {
  for (const chunk of sums.written()) {
    const { index, begin, length, isHole } = chunk;
    if (!isHole) {
      yield chunk;
      continue;
    }
    const spans = [{ begin, end: begin + length }];
    const region = { start: targetOffset, spans, isKnown: true };
    for await (const part of partsOf(target, region, scope, { chunkSize }))
      yield { ...part, index };
  }
}

/** The first byte that differs from the source in a block that differs; the start of the block if unknown. */
export async function narrowed(
  plan: Plan,
  { offset: at, length: limit }: ByteRange,
  scope: CancelScope,
): Promise<number> {
  const { source, target } = plan;
  if (!(source instanceof File)) return at;
  const found = await compare(source, target, {
    sourceOffset: addOffset(plan.sourceOffset, at),
    targetOffset: addOffset(plan.targetOffset, at),
    length: Math.min(BLOCK_BYTES, limit),
    signal: scope.signal,
  }).catch(() => undefined);
  // The verification has failed already; this only says where.
  return found === undefined || found.identical ? at : at + found.bytesCompared;
}

export function differs(plan: Plan, at: number): IoError {
  return new IoError("ERR_VERIFY", {
    reason: "the target does not hold what was written to it",
    syscall: "read",
    path: plan.target.path,
    offset: addOffset(plan.targetOffset, at),
    hint: "The medium, its connection or the memory is unreliable, or another program wrote to the target",
  });
}
