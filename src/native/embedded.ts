// Where this package lies, or the bundle of a program that it became a part of. The package contains this file as it is,
// in src/ and in dist/, and everything else that it runs in other files.
//
// `bun build` copies files that are required by a constant name to its output, and with --compile into the executable;
// hence one literal name for each platform. Only for bundles: elsewhere Bun would try to run the library as a script.

import { isAbsolute, join, sep } from "node:path";

/** The folder of this code, with a separator at its end: frames of stacks that are in it are not the caller's. */
export const OWN_FOLDER: string = join(import.meta.dir, "..", sep);

/** The package's folder, or undefined in the bundle of a program. */
export function packageFolder(): string | undefined {
  const isOurs = import.meta.path.endsWith(join("native", "embedded.ts"));
  return isOurs ? join(import.meta.dir, "..", "..") : undefined;
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
