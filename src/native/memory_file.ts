// The library of a compiled program as a file in memory (memfd_create(2), Linux only). dlopen(3) loads only files.
// Bun would write the library to the folder for temporary files, where it stays, and where it cannot be loaded if
// that folder is mounted noexec or read-only.

import { dlopen } from "bun:ffi";
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";

/** linux/memfd.h; MFD_EXEC since Linux 6.3, needed where vm.memfd_noexec is 1. */
const MFD_CLOEXEC = 1;
const MFD_EXEC = 0x10;
const DESCRIPTORS = "/proc/self/fd";

/**
 * Path of a file in memory with these contents. Its descriptor stays open: other threads with the same contents get
 * the same file, and the system maps it once. Throws if that is impossible.
 */
export function memoryFile(contents: Uint8Array): string {
  const name = `bun-aio-${Bun.hash(contents).toString(16)}`;
  return existing(name, contents) ?? made(name, contents);
}

/** In /proc the name is "/memfd:NAME (deleted)". */
function existing(name: string, contents: Uint8Array): string | undefined {
  for (const fd of readdirSync(DESCRIPTORS)) {
    const path = `${DESCRIPTORS}/${fd}`;
    if (targetOf(path) !== `/memfd:${name} (deleted)`) continue;
    // Another thread may be writing it at this moment.
    if (readFileSync(path).byteLength === contents.byteLength) return path;
  }
  return undefined;
}

function targetOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    // Closed meanwhile, like the descriptor of the folder itself.
    return undefined;
  }
}

function made(name: string, contents: Uint8Array): string {
  // The name of glibc; musl accepts it, too.
  const { memfd_create: create } = dlopen("libc.so.6", {
    memfd_create: { args: ["ptr", "u32"], returns: "i32" },
  }).symbols;
  const words = Buffer.from(`${name}\0`);
  let fd = create(words, MFD_CLOEXEC | MFD_EXEC);
  if (fd < 0) fd = create(words, MFD_CLOEXEC);
  if (fd < 0) throw new Error("memfd_create fails");
  writeFileSync(fd, contents);
  return `${DESCRIPTORS}/${fd}`;
}
