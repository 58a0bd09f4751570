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
};

export function syscallName(kind: number): string {
  return SYSCALLS[kind] ?? "operation";
}

const WRITES: ReadonlySet<number> = new Set([
  Kind.write,
  Kind.writev,
  Kind.truncate,
  Kind.allocate,
  Kind.discard,
  Kind.writeZeroes,
]);

/** What depends on the alignment. */
const DIRECT: ReadonlySet<number> = new Set([
  Kind.read,
  Kind.write,
  Kind.readv,
  Kind.writev,
  Kind.discard,
  Kind.writeZeroes,
]);

/** A sentence that helps, or undefined. */
export function hintFor(
  code: string,
  kind: number,
  file: FileFacts | undefined,
): string | undefined {
  if (kind === Kind.open) return openHint(code);
  if (kind === Kind.probe) {
    if (code !== "EBADF") return openHint(code);
    return "It is no open descriptor, or one that only names a file (O_PATH)";
  }
  if (
    file !== undefined &&
    !file.writable &&
    WRITES.has(kind) &&
    (code === "EBADF" || code === "EINVAL")
  ) {
    return "The file was opened for reading only; open it with { write: true }";
  }
  if (file !== undefined && !file.readable && !WRITES.has(kind) && code === "EBADF") {
    return "The file was opened for writing only; open it with { read: true }";
  }
  switch (code) {
    case "EBADF":
      return "The descriptor was closed outside of bun-aio";
    case "ENOSPC":
      return "The medium or the quota is full";
    case "EINVAL":
      return file === undefined ? undefined : invalidHint(kind, file);
    case "EPERM":
    case "EROFS":
      return (file?.mediaBytes ?? 0) > 0 ? "The device is read-only" : undefined;
    case "EFBIG":
      return "The offset is beyond the largest file of this file system or of RLIMIT_FSIZE";
    case "EIO":
      return "The medium or its connection reports an error; the data at this range is not reliable";
    // What libuv, and so Node, calls EOPNOTSUPP.
    case "ENOTSUP":
      return "This file system or device has no such operation";
    case "ESPIPE":
      return "Pipes, sockets and terminals have no positions";
    // Programs that run cannot even be opened for writing.
    case "ETXTBSY":
      return "The file is used as swap space; see swapoff(8)";
    default:
      return undefined;
  }
}

function invalidHint(kind: number, file: FileFacts): string | undefined {
  if (kind === Kind.truncate && file.mediaBytes > 0) {
    return "A device has the size it has; only regular files can be truncated";
  }
  if (!file.direct || !DIRECT.has(kind)) return undefined;
  const rest = file.mediaBytes % (file.ioMask + 1);
  if (rest > 0) {
    return `The device ends within a sector: no request may touch its last ${rest} bytes, which the system cannot reach`;
  }
  return "The file bypasses the page cache: offset, length and memory must suit file.alignment";
}

/** What an error of `open` means whatever the path is; open_hints.ts looks. */
function openHint(code: string): string | undefined {
  switch (code) {
    case "EACCES":
    case "EPERM":
      return "The user may not open it; block devices usually need root or the group `disk`";
    case "EISDIR":
      return "A directory cannot be read or written at positions";
    case "ESPIPE":
      return "Pipes, sockets and terminals have no positions; use Bun.file or node:fs for them";
    case "EINVAL":
      return "This file system may not support { direct: true }";
    case "EEXIST":
      return "createNew refuses what exists; use { create: true } to open it as well";
    case "EBUSY":
      return "The device is mounted or held by another program";
    case "EROFS":
      return "The file system is read-only";
    case "EMFILE":
    case "ENFILE":
      return "Too many open files: close some, or raise the limit (ulimit -n)";
    case "ETXTBSY":
      return "The file is a program that is running, or used as swap space (swapon --show)";
    case "ELOOP":
      return "Links lead to one another in a circle";
    case "ENOMEDIUM":
      return "There is no medium in the drive";
    default:
      return undefined;
  }
}
