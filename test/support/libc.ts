// The C library of this system, and what tests need of it.

import { dlopen } from "bun:ffi";
import { readFileSync } from "node:fs";

const NAMES: Readonly<Record<string, string>> = {
  linux: "libc.so.6",
  freebsd: "libc.so.7",
  darwin: "libSystem.dylib",
};

export const LIBC: string = NAMES[process.platform] ?? "libc.so";

/** PATH_MAX of limits.h, with its NUL. */
export const PATH_BYTES_MAX: number = process.platform === "linux" ? 4096 : 1024;

/** mkfifo(3): not every system has the program. */
export function makeFifo(path: string): void {
  const { symbols, close } = dlopen(LIBC, { mkfifo: { args: ["cstring", "u32"], returns: "i32" } });
  const result = symbols.mkfifo(Buffer.from(`${path}\0`), 0o600);
  close();
  if (result !== 0) throw new Error(`no FIFO at ${path}`);
}

/** Whether Bun is the one for musl (`npm run lab:musl`): its loader is its C library. Debian has it elsewhere. */
export const isMusl: boolean =
  process.platform === "linux" &&
  /\/ld-musl-|-linux-musl\/libc\.so/.test(readFileSync("/proc/self/maps", "utf8"));
