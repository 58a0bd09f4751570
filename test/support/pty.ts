// A pseudo-terminal, for tests of files without positions.

import { dlopen } from "bun:ffi";
import fs from "node:fs";
import { LIBC } from "./libc.ts";

/** Descriptors of both ends, and the path of the slave; undefined where it cannot be had. */
export function openPty(): { master: number; slave: number; path: string } | undefined {
  try {
    const master = fs.openSync("/dev/ptmx", fs.constants.O_RDWR | fs.constants.O_NOCTTY);
    const { symbols } = dlopen(LIBC, {
      grantpt: { args: ["i32"], returns: "i32" },
      unlockpt: { args: ["i32"], returns: "i32" },
      ptsname: { args: ["i32"], returns: "cstring" },
    });
    symbols.grantpt(master);
    symbols.unlockpt(master);
    const path = String(symbols.ptsname(master));
    const slave = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NOCTTY);
    return { master, slave, path };
  } catch {
    return undefined;
  }
}
