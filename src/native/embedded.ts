// The native library inside a bundle. `bun build` copies files that are required by a constant name to its output,
// and with --compile into the executable; hence one literal name for each platform. Only for bundles: elsewhere Bun
// would try to run the library as a script.

import { isAbsolute, join } from "node:path";

/** Whether this runs from the package's own files. */
export function isBundled(): boolean {
  return !import.meta.path.endsWith(join("src", "native", "embedded.ts"));
}

/** Path of the library in the bundle, or undefined. */
export function embeddedLibrary(): string | undefined {
  const name = required();
  if (typeof name !== "string") return undefined;
  // The name is absolute in an executable, else relative to the bundle: never to the working directory.
  return isAbsolute(name) ? name : join(import.meta.dir, name);
}

function required(): unknown {
  // `try`: only here does the bundler accept a missing file, and a checkout has only one of them.
  try {
    if (process.platform === "linux") {
      if (process.arch === "x64") return require("../../native/linux-x64/libbun-aio.so");
      if (process.arch === "arm64") return require("../../native/linux-arm64/libbun-aio.so");
    }
    if (process.platform === "darwin") {
      if (process.arch === "x64") return require("../../native/darwin-x64/libbun-aio.dylib");
      if (process.arch === "arm64") return require("../../native/darwin-arm64/libbun-aio.dylib");
    }
    if (process.platform === "freebsd") {
      if (process.arch === "x64") return require("../../native/freebsd-x64/libbun-aio.so");
      if (process.arch === "arm64") return require("../../native/freebsd-arm64/libbun-aio.so");
    }
    return undefined;
  } catch {
    return undefined;
  }
}
