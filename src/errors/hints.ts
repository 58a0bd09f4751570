// Hints: what to do about an error whose cause is known. Also the names of system calls in errors.

import { Kind } from "../native/abi.gen.ts";
import type { FileFacts } from "./file_facts.ts";

const SYSCALLS: Readonly<Record<number, string>> = {
  [Kind.read]: "read",
  [Kind.write]: "write",
  [Kind.readv]: "readv",
  [Kind.writev]: "writev",
  [Kind.syncAll]: "fsync",
  [Kind.syncData]: "fdatasync",
  [Kind.open]: "open",
  [Kind.close]: "close",
  [Kind.stat]: "fstat",
  [Kind.truncate]: "ftruncate",
  [Kind.allocate]: "fallocate",
  [Kind.invalidateCache]: "fadvise",
  [Kind.probe]: "fstat",
  [Kind.geometry]: "ioctl",
  [Kind.discard]: "discard",
  [Kind.writeZeroes]: "zeroout",
  [Kind.rereadPartitions]: "ioctl",
  [Kind.deviceCommand]: "device",
  [Kind.loopStatus]: "ioctl",
  [Kind.dataRanges]: "lseek",
  [Kind.copyRange]: "copy_file_range",
  [Kind.unmount]: "umount",
};

export function syscallName(kind: number): string {
  return SYSCALLS[kind] ?? "operation";
}

const WRITES: ReadonlySet<number> = new Set([
  ...[Kind.write, Kind.writev, Kind.truncate, Kind.allocate, Kind.discard, Kind.writeZeroes],
  Kind.copyRange,
]);

/** Operations that fail with EINVAL if they are misaligned. */
const DIRECT: ReadonlySet<number> = new Set([
  ...[Kind.read, Kind.write, Kind.readv, Kind.writev, Kind.discard, Kind.writeZeroes],
]);

export function hintFor(
  code: string,
  kind: number,
  file: FileFacts | undefined,
): string | undefined {
  if (kind === Kind.probe && code === "EBADF") {
    return "The descriptor is not open, or was opened with O_PATH";
  }
  if (kind === Kind.open || kind === Kind.probe) return OPEN_HINTS.get(code);
  const writes = WRITES.has(kind);
  if (file?.writable === false && writes && (code === "EBADF" || code === "EINVAL")) {
    return "The file was opened for reading only; open it with { write: true }";
  }
  if (file?.readable === false && !writes && code === "EBADF") {
    return "The file was opened for writing only; open it with { read: true }";
  }
  if (code === "ENOSPC") return fullHint(file);
  if (code === "EINVAL") return file && invalidHint(kind, file);
  if (code === "EPERM" || code === "EROFS") {
    return (file?.mediaBytes ?? 0) > 0 ? "The device is read-only" : undefined;
  }
  return HINTS.get(code);
}

const BAD_MEDIUM =
  "The medium or its connection reports an error; the data in this range is not reliable";

/** Hints that hold for every operation but `open`. */
const HINTS: ReadonlyMap<string, string> = new Map([
  ["EBADF", "The descriptor was closed outside of bun-aio"],
  ["EDQUOT", "The disk quota of the user or group is exhausted"],
  ["EFBIG", "The offset exceeds the maximum file size of this file system, or RLIMIT_FSIZE"],
  // What the block layer of Linux makes of a disk's answer (blk_errors in block/blk-core.c).
  ["EIO", BAD_MEDIUM],
  ["ENODATA", BAD_MEDIUM], // medium
  ["EILSEQ", BAD_MEDIUM], // protection information
  ["EREMOTEIO", BAD_MEDIUM], // target
  ["ENOLINK", BAD_MEDIUM], // transport
  ["ETIMEDOUT", BAD_MEDIUM],
  ["ETIME", BAD_MEDIUM],
  ["EBADE", "Another host has reserved the disk (sg_persist(8))"],
  // The name that libuv, and so Node, has for EOPNOTSUPP.
  ["ENOTSUP", "This file system or device does not support the operation"],
  ["ESPIPE", "Pipes, sockets and terminals have no positions"],
  // A running program cannot be opened for writing.
  ["ETXTBSY", "The file is used as swap space; see swapoff(8)"],
]);

function fullHint(file: FileFacts | undefined): string {
  if ((file?.mediaBytes ?? 0) === 0)
    return "The file system is full, or the disk quota is exhausted";
  return "The device ends there, or the storage behind it (a thin volume, the file of a loop device) is full";
}

function invalidHint(kind: number, file: FileFacts): string | undefined {
  if (kind === Kind.truncate && file.mediaBytes > 0) {
    return "The size of a device is fixed; only regular files can be truncated";
  }
  if (!file.direct || !DIRECT.has(kind)) return undefined;
  const rest = file.mediaBytes % (file.ioMask + 1);
  if (rest > 0) {
    return `The device ends within a sector: its last ${rest} bytes cannot be read or written`;
  }
  return "The file bypasses the page cache: offset, length and memory must be aligned as file.alignment says";
}

const NOT_ALLOWED = "The user may not open it; block devices usually need root or the group `disk`";
export const TOO_MANY_FILES = "Too many open files: close some, or raise the limit (ulimit -n)";

/** Hints for `open` that hold for every path; open_hints.ts examines the path. */
const OPEN_HINTS: ReadonlyMap<string, string> = new Map([
  ["EACCES", NOT_ALLOWED],
  ["EPERM", NOT_ALLOWED],
  ["EISDIR", "A directory cannot be read or written at positions"],
  ["ESPIPE", "Pipes, sockets and terminals have no positions; use Bun.file or node:fs for them"],
  ["EINVAL", "This file system may not support { direct: true }"],
  ["EEXIST", "createNew refuses a file that exists; use { create: true } to open that as well"],
  ["EBUSY", "The device is mounted or held by another program"],
  ["EROFS", "The file system is read-only"],
  ["EMFILE", TOO_MANY_FILES],
  ["ENFILE", TOO_MANY_FILES],
  ["ETXTBSY", "The file is a program that is running, or used as swap space (swapon --show)"],
  ["ELOOP", "The path goes through a loop of symbolic links"],
  ["ENOMEDIUM", "There is no medium in the drive"],
]);
