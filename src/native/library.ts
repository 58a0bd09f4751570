// Finds and loads the native library, and refuses one that does not belong to this package.
// Called by ring.ts and buffer.ts at first use: importing the package loads nothing.

import { dlopen, toArrayBuffer } from "bun:ffi";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { ABI_HASH, SYMBOLS } from "./abi.gen.ts";

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
    if (!existsSync(path)) {
      tried.push(`${path}: no such file`);
      continue;
    }
    const outcome = open(path);
    if (typeof outcome !== "string") return outcome;
    tried.push(`${path}: ${outcome}`);
  }
  throw new LibraryError(tried);
}

/** BUN_AIO_LIBRARY alone if set; else the package's own. Never the working directory. */
function candidates(): string[] {
  const forced = process.env["BUN_AIO_LIBRARY"];
  if (forced !== undefined && forced !== "") return [forced];
  const root = dirname(dirname(import.meta.dir));
  return [join(root, "native", `${process.platform}-${process.arch}`, libraryFile())];
}

function open(path: string): Native | string {
  let symbols: Native;
  try {
    symbols = dlopen(path, SYMBOLS).symbols;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const high = symbols.ba_abi_hash_high() >>> 0;
  const low = symbols.ba_abi_hash_low() >>> 0;
  const hash = high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0");
  if (hash === ABI_HASH) return symbols;
  return `made for another version of bun-aio (interface ${hash}, this package needs ${ABI_HASH})`;
}

class LibraryError extends Error {
  override name = "LibraryError";
  code = "ERR_BUN_AIO_LIBRARY";

  constructor(tried: readonly string[]) {
    super(
      `bun-aio's native library could not be loaded on ${process.platform}-${process.arch}. Tried:\n` +
        tried.map((line) => `  ${line}`).join("\n") +
        "\nReinstall bun-aio; in a checkout run `npm run build`; or set BUN_AIO_LIBRARY to the file.",
    );
  }
}

/**
 * The memory at `address` as an ArrayBuffer; `release(memory, context)` runs when it is collected,
 * detached or torn down with its thread.
 */
export function nativeBuffer(
  address: number,
  bytes: number,
  context: number,
  release: number,
): ArrayBuffer {
  // bun-types declare only the first three parameters; the deallocator is documented in
  // https://bun.com/docs/runtime/ffi ("Memory management") and tested in test/buffer.test.ts.
  const make = toArrayBuffer as unknown as (
    address: number,
    offset: number,
    bytes: number,
    context: number,
    release: number,
  ) => ArrayBuffer;
  return make(address, 0, bytes, context, release);
}
