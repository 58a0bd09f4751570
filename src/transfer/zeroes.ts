// Writes zeroes where the system cannot make a range zero by itself. Used by block_device.ts.

import type { CancelScope } from "../cancellation/scope.ts";
import { addOffset, type Offset } from "../common/arguments.ts";
import { allocBuffer } from "../memory/alloc_buffer.ts";
import * as abi from "../native/abi.gen.ts";
import type { FileState } from "../ring/file_state.ts";
import type { Proactor } from "../ring/proactor.ts";
import type { Change } from "./request.ts";
import { runTransfer } from "./transfer.ts";

const CHUNK_BYTES = 2 ** 20;
const IN_FLIGHT_MAX = 4;

/** Every chunk is written from the same memory, which nobody else ever sees. */
export async function writeZeroChunks(
  proactor: Proactor,
  file: FileState,
  from: Offset,
  length: number,
  scope: CancelScope | undefined,
  change: Change,
): Promise<void> {
  if (length === 0) return;
  const zeroes = allocBuffer(Math.min(length, CHUNK_BYTES));
  const running: Promise<number>[] = [];
  const kind = abi.Kind.write;
  try {
    for (let done = 0; done < length; done += CHUNK_BYTES) {
      const bytes = Math.min(CHUNK_BYTES, length - done);
      const views = [zeroes.subarray(0, bytes)];
      const offset = addOffset(from, done);
      if (running.length === IN_FLIGHT_MAX) await running.shift();
      const lengths = [bytes];
      running.push(
        runTransfer({ proactor, file, kind, views, lengths, offset, length: bytes, scope, change }),
      );
    }
    while (running.length > 0) await running.shift();
  } finally {
    // After a failure the others still have to settle.
    await Promise.allSettled(running);
  }
}
