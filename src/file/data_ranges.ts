// Where a file has data, and where it has holes (SEEK_DATA and SEEK_HOLE, lseek(2)).

import { type CancelScope, cancelScope } from "../cancellation/scope.ts";
import {
  addOffset,
  checkIoOptions,
  checkOffset,
  checkOptions,
  type Offset,
} from "../common/arguments.ts";
import { type ByteRange, checkEnd } from "../common/byte_range.ts";
import { DataRange, DataRanges, FileKind, Kind } from "../native/abi.gen.ts";
import type { FileState } from "../ring/file_state.ts";
import type { OpenFile } from "./open_file.ts";

/** Where `file.dataRanges` looks. */
export interface DataRangesOptions {
  /** Position from which ranges are reported. Default 0. */
  start?: Offset | undefined;
  /** End position, exclusive. Default: the end of the file. */
  end?: Offset | undefined;
  /** Ends the iteration with an AbortError. */
  signal?: AbortSignal | undefined;
}

export function dataRangesOf(
  file: OpenFile,
  options: DataRangesOptions = {},
): AsyncIterable<ByteRange> {
  checkOptions("File.dataRanges", options, ["start", "end", "signal"]);
  const start = checkOffset("options.start", options.start ?? 0);
  const length = checkEnd("options.end", options.end, start);
  const scope = cancelScope(checkIoOptions({ signal: options.signal }));
  return { [Symbol.asyncIterator]: () => positioned(file, start, length, scope) };
}

async function* positioned(
  file: OpenFile,
  start: Offset,
  length: number,
  scope: CancelScope | undefined,
): AsyncGenerator<ByteRange> {
  file.begin(Kind.dataRanges, scope, start, undefined);
  const size = file.state.kind === FileKind.character ? Infinity : await file.size();
  const bytes = Math.min(length, Math.max(0, size - Number(start)));
  for await (const range of dataIn(file, start, bytes, scope)) {
    yield { offset: Number(addOffset(start, range.offset)), length: range.length };
  }
}

/**
 * The ranges with data among `length` bytes from `start`, with offsets relative to `start`; in order, and none
 * touches the next. All is data where the system cannot tell, and where the end is not known (`length` Infinity).
 */
export async function* dataIn(
  file: OpenFile,
  start: Offset,
  length: number,
  scope: CancelScope | undefined,
): AsyncGenerator<ByteRange> {
  if (length === 0) return;
  if (file.state.kind !== FileKind.regular || length === Infinity) {
    yield { offset: 0, length };
    return;
  }
  let held: ByteRange | undefined;
  for (let done = 0; done < length; ) {
    const { ranges, next } = await lookFrom(file, addOffset(start, done), length - done, scope);
    for (const range of ranges) {
      const offset = done + range.offset;
      // It may go on where the last answer had no more room.
      if (held !== undefined && held.offset + held.length === offset) {
        held = { offset: held.offset, length: held.length + range.length };
        continue;
      }
      if (held !== undefined) yield held;
      held = { offset, length: range.length };
    }
    done += next;
  }
  if (held !== undefined) yield held;
}

/** Ranges relative to where the look began, and how far it went. */
interface Look {
  readonly ranges: ByteRange[];
  readonly next: number;
}

/** The last look at each file: lseek(2) moves the offset of the descriptor and puts it back, so one at a time. */
const looks = new WeakMap<FileState, Promise<unknown>>();

function lookFrom(
  file: OpenFile,
  offset: Offset,
  length: number,
  scope: CancelScope | undefined,
): Promise<Look> {
  const last = looks.get(file.state) ?? Promise.resolve();
  const look = last.then(() => seek(file, offset, length, scope));
  looks.set(
    file.state,
    look.catch(() => {}),
  );
  return look;
}

async function seek(
  file: OpenFile,
  offset: Offset,
  length: number,
  scope: CancelScope | undefined,
): Promise<Look> {
  const kind = Kind.dataRanges;
  file.begin(kind, scope, offset, length);
  const { proactor, state } = file;
  // The offset of a borrowed descriptor is its owner's, who may be reading at it.
  const argument = state.ownsFd ? 0 : 1;
  const blockBytes = DataRanges.SIZE;
  const { block } = await file.run(kind, { offset, length, argument, blockBytes, scope });
  try {
    const memory = proactor.bounce.memoryOf(block, blockBytes);
    return decoded(new DataView(memory.buffer, memory.byteOffset, blockBytes), offset);
  } finally {
    proactor.releaseBlock(block);
  }
}

function decoded(view: DataView, from: Offset): Look {
  const first = BigInt(from);
  const relative = (at: number): number => Number(view.getBigUint64(at, true) - first);
  const count = Number(view.getBigUint64(DataRanges.count, true));
  const ranges = Array.from({ length: count }, (_, index) => {
    const at = DataRanges.ranges + index * DataRange.SIZE;
    const offset = relative(at + DataRange.start);
    return { offset, length: relative(at + DataRange.end) - offset };
  });
  return { ranges, next: relative(DataRanges.next) };
}
