// `File`: the public class. The work is done in open_file.ts.

import type fs from "node:fs";
import { argumentType } from "../common/argument_errors.ts";
import {
  addOffset,
  type Bytes,
  checkInteger,
  checkOffset,
  checkOptions,
  checkRange,
  type IoData,
  type IoOptions,
  type Offset,
} from "../common/arguments.ts";
import type { ByteRange } from "../common/byte_range.ts";
import type { HashName } from "../common/digest.ts";
import { noteClosed, noteOpened } from "../common/leaks.ts";
import { traced } from "../errors/call_site.ts";
import * as abi from "../native/abi.gen.ts";
import { setEntryStarter } from "../ring/batch.ts";
import type { Alignment } from "../ring/file_state.ts";
import { proactorOf, type Ring } from "../ring/ring.ts";
import { Reply } from "../ring/slots.ts";
import { collected } from "./close.ts";
import { bytesOf, type HashOptions, hashOf } from "./contents.ts";
import { type DataRangesOptions, dataRangesOf } from "./data_ranges.ts";
import { statsOf } from "./file_info.ts";
import {
  adoptFd,
  type FileInit,
  type FromFdOptions,
  made,
  OPEN_OPTION_NAMES,
  type OpenOptions,
  openFile,
} from "./open.ts";
import { OpenFile } from "./open_file.ts";
import { type Path, PathName } from "./path.ts";
import { type ReadableOptions, readableOf } from "./readable.ts";
import { type WritableOptions, writableOf } from "./writable.ts";

/** What kind of file is open. `disk`: it answers an ioctl for the size of its medium. */
export type FileKind = "regular" | "disk" | "character" | "other";

const KINDS: readonly FileKind[] = ["regular", "disk", "character", "other"];
/**
 * An open file or device, read and written asynchronously at explicit offsets.
 *
 * The package also exports it as `FileHandle`: Bun has a global `File` of its own, which editors complete first.
 */
export class File implements AsyncDisposable {
  readonly #open: OpenFile;
  /** The ring that carries its operations. */
  readonly ring: Ring;

  /** Use `File.open` or `File.fromFd`. @internal */
  constructor(init: FileInit) {
    if (init?.key !== made) throw argumentType("File", "made by File.open or File.fromFd", init);
    const proactor = proactorOf(init.ring);
    this.ring = init.ring;
    this.#open = new OpenFile(proactor, init.state);
    setEntryStarter(this, this.#open);
    collected.register(this, { state: init.state, proactor }, init.state);
    noteOpened("file", init.state, () => `'${init.state.path ?? `fd ${init.state.fd}`}'`);
  }

  /**
   * Opens a path without blocking the thread. A relative path is resolved against the directory that is current at
   * the call. Files without positions are refused: FIFOs, sockets and terminals with ESPIPE, directories with
   * EISDIR.
   */
  static async open(path: Path, options: OpenOptions = {}): Promise<File> {
    checkOptions("File.open", options, OPEN_OPTION_NAMES);
    using name = new PathName("path", path);
    return new File(await traced(openFile(name, options, 0)));
  }

  /**
   * Adopts an open descriptor. `close` closes it only with `ownsFd`. If this rejects, the descriptor stays the
   * caller's.
   */
  static async fromFd(fd: number, options: FromFdOptions = {}): Promise<File> {
    checkOptions("File.fromFd", options, ["path", "ownsFd", "ring"]);
    return new File(await traced(adoptFd(fd, options)));
  }

  /** The descriptor; -1 after `close`. */
  get fd(): number {
    return this.#open.state.closed ? -1 : this.#open.state.fd;
  }

  /** The path as it was passed to `open`, relative or not. A byte that is not UTF-8 is shown as `\xNN`. */
  get path(): string | undefined {
    return this.#open.state.path;
  }

  /** What kind of file it is, found out when it was opened. */
  get kind(): FileKind {
    return KINDS[this.#open.state.kind] ?? "other";
  }

  /** Alignment of writes in bytes (and of memory, for speed); all 1 without `direct`. */
  get alignment(): Alignment {
    return this.#open.state.alignment;
  }

  /**
   * Reads into `data` from `offset`. Resolves with the bytes read: fewer than `data` holds only at the end of the
   * file. The kernel owns the buffer until the promise settles.
   */
  readAt(data: IoData, offset: Offset, options?: IoOptions): Promise<number> {
    return traced(this.#open.transfer(abi.Kind.read, data, offset, options, Reply.bytes));
  }

  /** Like `readAt`, but the end of the file rejects with `ERR_END_OF_FILE`. */
  readExactAt(data: IoData, offset: Offset, options?: IoOptions): Promise<void> {
    return traced(this.#open.transfer(abi.Kind.read, data, offset, options, Reply.exact));
  }

  /**
   * Writes all of `data` at `offset` and resolves with its length, or rejects; `transferred` of the error says how
   * many bytes were written. The buffer must not change until the promise settles.
   */
  writeAt(data: IoData, offset: Offset, options?: IoOptions): Promise<number> {
    return traced(this.#open.transfer(abi.Kind.write, data, offset, options, Reply.bytes));
  }

  /** Reads into several buffers in turn, as if they were one. */
  readvAt(data: readonly IoData[], offset: Offset, options?: IoOptions): Promise<number> {
    return traced(this.#open.vector(abi.Kind.read, data, offset, options));
  }

  /** Writes several buffers in turn, as if they were one. */
  writevAt(data: readonly IoData[], offset: Offset, options?: IoOptions): Promise<number> {
    return traced(this.#open.vector(abi.Kind.write, data, offset, options));
  }

  /**
   * Makes writes durable. Resolves when every write called on this file before, awaited or not, is on the medium
   * with its metadata: fsync(2), which on devices also flushes the drive's cache; F_FULLFSYNC on macOS. Rejects if
   * a write that it covers failed (`cause`). After a write that failed in progress, or a failed sync, every later
   * sync rejects: reopen the file. A write that was aborted or timed out makes one sync reject, with
   * `ERR_WRITE_ABORTED`.
   */
  syncAll(options?: IoOptions): Promise<void> {
    return traced(this.#open.sync(abi.Kind.syncAll, options));
  }

  /** Like `syncAll`, without metadata that is not needed to read the data back: fdatasync(2). */
  syncData(options?: IoOptions): Promise<void> {
    return traced(this.#open.sync(abi.Kind.syncData, options));
  }

  /**
   * The size in bytes; of a device, its capacity. Rejects with `ERR_DEVICE_GONE` for a disk whose capacity has
   * become 0.
   */
  size(): Promise<number> {
    return this.#open.size();
  }

  /** The same as `fstat` of `node:fs`. */
  async stat(): Promise<fs.Stats> {
    return statsOf(await this.#open.info(abi.Kind.stat));
  }

  /** Sets the length of a regular file, in bytes. */
  async truncate(size: Offset, options?: IoOptions): Promise<void> {
    const offset = checkOffset("size", size);
    const kind = abi.Kind.truncate;
    const scope = this.#open.begin(kind, options, offset, undefined);
    await this.#open.locked(kind, offset, Infinity, scope, () =>
      this.#open.run(kind, { offset, scope: scope }),
    );
  }

  /**
   * Reserves space for `length` bytes from `offset`, and extends the file over them (fallocate(2)). Rejects with ENOSPC
   * where there is less.
   *
   * FreeBSD has no such call for UFS and tmpfs, and writes zeroes (posix_fallocate(2)): that takes time, and does not
   * end sooner when it is aborted. There, free space is compared first, so that nothing is written where the range
   * cannot fit. If it fails all the same, the file gets its former length again: await it before you write past
   * the end.
   */
  async allocate(offset: Offset, length: number, options?: IoOptions): Promise<void> {
    const from = checkOffset("offset", offset);
    checkInteger("length", length, 1, Number.MAX_SAFE_INTEGER);
    checkRange(from, length);
    const kind = abi.Kind.allocate;
    const scope = this.#open.begin(kind, options, from, length);
    await this.#open.locked(kind, from, addOffset(from, length), scope, () =>
      this.#open.run(kind, { offset: from, length, scope: scope }),
    );
  }

  /**
   * Drops the file from the page cache, so that later reads come from the medium. Dirty data is written first. Rejects
   * with `ERR_DEVICE_GONE` for a disk that is gone, though the kernel has nothing to drop then.
   */
  invalidateCache(): Promise<void> {
    return this.#open.invalidateCache();
  }

  /**
   * Where a regular file has data between `start` and `end`, in ascending order; what lies between the ranges are
   * holes, which read as zeroes (SEEK_DATA and SEEK_HOLE, lseek(2)). One range where nobody can say: devices, file
   * systems without holes, and on macOS descriptors that are only borrowed (`fromFd`). None for an empty file.
   * Space that is reserved but not written may count either way. A character device has no end: without `end` the
   * length of its range is Infinity. The answer is of the moment; each iteration asks anew. The offset of the
   * descriptor stays where it is. Positions above 2^53 are rounded.
   *
   * @throws TypeError, RangeError for wrong options. Iterating rejects with the IoError of the system.
   */
  dataRanges(options?: DataRangesOptions): AsyncIterable<ByteRange> {
    return dataRangesOf(this.#open, options);
  }

  /**
   * The bytes from `start` (default 0) to `end` (exclusive; default: the end of the file), in new memory; fewer if
   * the file ends before. Holes are not read. At most 4 GiB; use `readable` for more. A character device needs an
   * `end`.
   */
  bytes(start: Offset = 0, end?: Offset, options?: IoOptions): Promise<Bytes> {
    return traced(bytesOf(this, start, end, options));
  }

  /**
   * The digest of the bytes from `start` to `end`, or to the end of the file, in lower-case hexadecimal. The file is
   * read ahead of the hashing, and holes are not read. At most 4 MiB of memory, and about a millisecond of the
   * thread at a time.
   *
   * ```ts
   * await file.hash("sha256");  // what sha256sum prints
   * ```
   */
  hash(algorithm: HashName, options?: HashOptions): Promise<string> {
    return traced(hashOf(this, algorithm, options));
  }

  /**
   * A byte stream of the bytes from `start` (default 0) up to `end` (exclusive; default: the end of the file). BYOB
   * readers are supported. `concurrency` reads (default 8) of `chunkSize` bytes (default 262144) run ahead of the
   * reader, which bounds the memory; nothing is read before the first request. The reader owns the chunks. A failed
   * read errors the stream once the bytes before it are delivered. Cancelling cancels the reads. Does not close the
   * file.
   *
   * @throws TypeError, RangeError for wrong options.
   */
  readable(options?: ReadableOptions): ReadableStream<Bytes> {
    return readableOf(this, options);
  }

  /**
   * A stream that writes its chunks in sequence from `start` (default 0). Chunks are copied before `write()`
   * resolves and gathered into aligned requests of 256 KiB, of which `concurrency` (default 8) run at once. The
   * data is in the file when `close()` has resolved, and on the medium with `sync`. On a `direct` file, partial
   * units at either end are read, modified and written back, and a regular file keeps its exact length. A failed
   * write errors the stream at once. Bytes after the last one written stay as they are. Does not close the file.
   *
   * @throws TypeError, RangeError for wrong options.
   */
  writable(options?: WritableOptions): WritableStream<IoData> {
    return writableOf(this, options);
  }

  /**
   * Waits for the operations of this file, then closes the descriptor if it is owned. Later calls on the file
   * reject with EBADF; a second `close` returns the same promise.
   */
  close(): Promise<void> {
    collected.unregister(this.#open.state);
    noteClosed(this.#open.state);
    return this.#open.close();
  }

  /** `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * `File.open` by the name that it has in `node:fs/promises`.
 *
 * @example
 * ```ts
 * import { open } from "bun-aio";
 *
 * await using file = await open("new.img", { write: true, create: true });
 * await file.writeAt(new Uint8Array(4096).fill(1), 8192);
 * await file.syncData();
 * ```
 */
export function open(path: Path, options?: OpenOptions): Promise<File> {
  return File.open(path, options);
}
