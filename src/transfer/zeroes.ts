// Writes zeroes where the system has no call to zero a range.

import { addOffset } from "../common/arguments.ts";
import { allocBuffer } from "../memory/alloc_buffer.ts";
import * as abi from "../native/abi.gen.ts";
import type { Transfer } from "./request.ts";
import { runTransfer } from "./transfer.ts";

const CHUNK_BYTES = 2 ** 20;
const IN_FLIGHT_MAX = 4;

/** A range to zero, with what its writes have in common. */
type ZeroRange = Omit<Transfer, "kind" | "views" | "lengths">;

/** Writes every chunk from the same memory, which nothing else uses. */
export async function writeZeroChunks(range: ZeroRange): Promise<void> {
  if (range.length === 0) return;
  const zeroes = allocBuffer(Math.min(range.length, CHUNK_BYTES));
  const running: Promise<number>[] = [];
  const kind = abi.Kind.write;
  try {
    for (let done = 0; done < range.length; done += CHUNK_BYTES) {
      const length = Math.min(CHUNK_BYTES, range.length - done);
      const views = [zeroes.subarray(0, length)];
      const offset = addOffset(range.offset, done);
      if (running.length === IN_FLIGHT_MAX) await running.shift();
      running.push(runTransfer({ ...range, kind, views, lengths: [length], offset, length }));
    }
    while (running.length > 0) await running.shift();
  } finally {
    // After a failure, waits for the others to settle.
    await Promise.allSettled(running);
  }
}
