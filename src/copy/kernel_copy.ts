// Copies inside the kernel, from a file to a file: they share blocks from then on (a reflink), or the kernel moves
// the bytes (copy_file_range(2)).

import type { CancelScope } from "../cancellation/scope.ts";
import { addOffset } from "../common/arguments.ts";
import { File } from "../file/file.ts";
import { type OpenFile, openFileOf } from "../file/open_file.ts";
import { CopyMethod, FileInfo, FileKind, Kind, RangeCopy } from "../native/abi.gen.ts";
import type { Plan } from "./plan.ts";

export type KernelMethod = "reflink" | "copy_file_range";

/** Bytes of one call, which cannot be interrupted. Blocks are shared without being read. */
const PIECE_BYTES: Readonly<Record<KernelMethod, number>> = {
  reflink: 2 ** 30,
  copy_file_range: 2 ** 24,
};

/**
 * Copies from the beginning on, as far as the kernel can: what is left is to be read and written, and tells of any
 * error. `advance` is called after each piece, and returns whether to go on. Never rejects.
 */
export async function copyInKernel(
  plan: Plan,
  scope: CancelScope,
  advance: (bytes: number, method: KernelMethod) => boolean,
): Promise<void> {
  const { source, target, end = 0 } = plan;
  if (!(source instanceof File) || !isPossible(plan, source)) return;
  const from = openFileOf(source);
  const to = openFileOf(target);
  // Subvolumes of btrfs share blocks, although each has a device number.
  let method: KernelMethod = "reflink";
  for (let done = 0; done < end; ) {
    const length = Math.min(PIECE_BYTES[method], end - done);
    const range = { from, to, begin: done, length };
    const bytes = await copyRange(plan, range, method, scope).catch(() => 0);
    done += bytes;
    if (bytes > 0 ? !advance(bytes, method) : method === "copy_file_range") return;
    if (bytes > 0) continue;
    if (!(await areOnOneDevice(from, to))) return;
    method = "copy_file_range";
  }
}

/** Whether both are files of the page cache, and nobody has to see the bytes. */
function isPossible({ isPlain, target }: Plan, source: File): boolean {
  // Who has replaced these methods wants to see the bytes, too.
  const { readAt, writeAt } = File.prototype;
  if (!isPlain || source.readAt !== readAt || target.writeAt !== writeAt) return false;
  return [source, target].every((file) => {
    const { kind, careful, dsync } = openFileOf(file).state;
    return kind === FileKind.regular && !careful && !dsync;
  });
}

async function areOnOneDevice(a: OpenFile, b: OpenFile): Promise<boolean> {
  const infos = await Promise.all([a.info(Kind.stat), b.info(Kind.stat)]).catch(() => []);
  const [first, second] = infos.map((info) => info.getBigUint64(FileInfo.dev, true));
  return first !== undefined && first === second;
}

interface Range {
  readonly from: OpenFile;
  readonly to: OpenFile;
  readonly begin: number;
  readonly length: number;
}

/** Returns the bytes that were copied: all, or fewer before the end of the source or an error. */
function copyRange(
  { sourceOffset, targetOffset }: Plan,
  { from, to, begin, length }: Range,
  method: KernelMethod,
  scope: CancelScope,
): Promise<number> {
  const kind = Kind.copyRange;
  const start = addOffset(sourceOffset, begin);
  const offset = addOffset(targetOffset, begin);
  from.begin(kind, scope, start, length);
  to.begin(kind, scope, offset, length);
  const fill = (memory: Uint8Array<ArrayBuffer>): void => {
    const view = viewOf(memory);
    view.setBigUint64(RangeCopy.sourceOffset, BigInt(start), true);
    view.setInt32(RangeCopy.sourceFd, from.state.fd, true);
  };
  const argument = method === "reflink" ? CopyMethod.reflink : CopyMethod.copyFileRange;
  const request = { offset, length, argument, blockBytes: RangeCopy.SIZE, fill, scope };
  const run = async (): Promise<number> => {
    const { block } = await to.run(kind, request);
    const { proactor } = to;
    try {
      const memory = proactor.bounce.memoryOf(block, RangeCopy.SIZE);
      return Number(viewOf(memory).getBigUint64(RangeCopy.copied, true));
    } finally {
      proactor.releaseBlock(block);
    }
  };
  const end = addOffset(offset, length);
  return from.proactor.holding(from.state, () => to.locked(kind, offset, end, scope, run));
}

function viewOf(memory: Uint8Array<ArrayBuffer>): DataView {
  return new DataView(memory.buffer, memory.byteOffset, RangeCopy.SIZE);
}
