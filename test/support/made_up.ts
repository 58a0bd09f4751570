// Files that the kernel makes up while they are read, and whose size says nothing.

import { existsSync } from "node:fs";
import { backend, noLinux, unless } from "./conditions.ts";
import { isMusl } from "./libc.ts";

/** Why such a file is not to be read here, or undefined. */
export function madeUpMissing(path: string): string | undefined {
  return (
    noLinux ??
    unless(existsSync(path), `no ${path} here`) ??
    // After lseek(2) the kernel makes such a file anew from its beginning at the next read: quadratic.
    unless(
      !isMusl || backend !== "posix_aio" || path !== "/proc/kallsyms",
      "musl's AIO seeks before each read, which takes minutes in long files of /proc",
    )
  );
}
