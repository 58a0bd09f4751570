// Finds and loads the native library at first use, and refuses one that does not belong to this package.

import { dlopen, toArrayBuffer } from "bun:ffi";
import { existsSync, readFileSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { ABI_HASH, SYMBOLS } from "./abi.gen.ts";
import { embeddedLibrary, packageFolder } from "./embedded.ts";
import { imageProblem } from "./image.ts";
import { memoryFile } from "./memory_file.ts";

type Native = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];

let loaded: Native | undefined;

/** The library's file name on this platform. */
export function libraryFile(): string {
  return process.platform === "darwin" ? "libbun-aio.dylib" : "libbun-aio.so";
}

/** The native functions. Throws one error that lists every path tried. */
export function library(): Native {
  loaded ??= load();
  return loaded;
}

function load(): Native {
  const tried: string[] = [];
  for (const path of candidates()) {
    const outcome = open(path);
    if (typeof outcome !== "string") return outcome;
    tried.push(`${path}: ${outcome}`);
  }
  throw new LibraryError(tried, candidates().some(isInside));
}

/** Only BUN_AIO_LIBRARY if it is set; else the library of the package or bundle. Never the working directory. */
function candidates(): string[] {
  const forced = process.env["BUN_AIO_LIBRARY"];
  if (forced !== undefined && forced !== "") return [forced];
  const folder = packageFolder();
  if (folder === undefined) return [embeddedLibrary() ?? `(a bundle without ${libraryFile()})`];
  return [join(folder, "native", `${process.platform}-${process.arch}`, libraryFile())];
}

function open(path: string): Native | string {
  // dlopen would search for a bare name, also in the working directory.
  if (!isAbsolute(path)) return "not an absolute path";
  try {
    if (!existsSync(path)) return "no such file";
    return isInside(path) ? openInside(path) : openFile(path);
  } catch (error) {
    return wordsOf(error);
  }
}

/** Whether the path is inside this executable (`bun build --compile`). */
function isInside(path: string): boolean {
  return path.startsWith("/$bunfs/");
}

function openInside(path: string): Native | string {
  if (process.platform !== "linux") return bound(path);
  let inMemory: Native | string;
  try {
    inMemory = openFile(memoryFile(readFileSync(path)));
  } catch (error) {
    inMemory = wordsOf(error);
  }
  if (typeof inMemory !== "string") return inMemory;
  try {
    // Bun extracts it to the folder for temporary files.
    return bound(path);
  } catch (error) {
    return `${wordsOf(error)} (nor from memory: ${inMemory})`;
  }
}

function openFile(path: string): Native | string {
  return imageProblem(path) ?? bound(path);
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function bound(path: string): Native | string {
  const { symbols } = dlopen(path, SYMBOLS);
  const high = symbols.ba_abi_hash_high() >>> 0;
  const low = symbols.ba_abi_hash_low() >>> 0;
  const hash = high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0");
  if (hash === ABI_HASH) return symbols;
  return `made for another version of bun-aio (interface ${hash}, this package needs ${ABI_HASH})`;
}

/** Platforms that the package has a library for. */
const PLATFORMS = /^(linux|darwin|freebsd)-(x64|arm64)$/;

class LibraryError extends Error {
  override name = "LibraryError";
  code = "ERR_BUN_AIO_LIBRARY";

  constructor(tried: readonly string[], isCompiled: boolean) {
    const platform = `${process.platform}-${process.arch}`;
    super(
      `bun-aio's native library could not be loaded on ${platform}. Tried:\n` +
        tried.map((line) => `  ${line}\n`).join("") +
        remedy(platform, isCompiled),
    );
  }
}

function remedy(platform: string, isCompiled: boolean): string {
  if (!PLATFORMS.test(platform)) {
    return "bun-aio runs on Linux, macOS and FreeBSD, x64 and arm64; use node:fs here.";
  }
  if ((process.env["BUN_AIO_LIBRARY"] ?? "") !== "") {
    return "BUN_AIO_LIBRARY is set: unset it, or set it to the absolute path of a library of this version.";
  }
  if (isCompiled) {
    return "Set TMPDIR to a directory that this user can write to and that is not mounted noexec: Bun puts the library there to load it. Or set BUN_AIO_LIBRARY to the absolute path of a copy of it.";
  }
  if (packageFolder() === undefined) {
    return "Bundle again from a complete installation of bun-aio, or set BUN_AIO_LIBRARY to the library's absolute path.";
  }
  return "Reinstall bun-aio; in a checkout run `npm run build`; or set BUN_AIO_LIBRARY to the library's absolute path.";
}

/**
 * The memory at `address` as an ArrayBuffer. `release(memory, context)` runs when the buffer is collected,
 * detached, or torn down with its thread.
 */
export function nativeBuffer(
  address: number,
  bytes: number,
  context: number,
  release: number,
): ArrayBuffer {
  // bun-types declare only the first three parameters; the deallocator is documented in
  // https://bun.com/docs/runtime/ffi ("Memory management") and tested in test/api/buffer.test.ts.
  const make = toArrayBuffer as unknown as (
    address: number,
    offset: number,
    bytes: number,
    context: number,
    release: number,
  ) => ArrayBuffer;
  return make(address, 0, bytes, context, release);
}
