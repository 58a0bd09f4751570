// Paths as callers pass them: text, a file: URL, or bytes, because a name need not be UTF-8. They are checked,
// copied, and resolved against the directory that is current at the call.

import { existsSync, statSync } from "node:fs";
import { argumentType, argumentValue } from "../common/argument_errors.ts";
import { checkBytes, isUint8Array } from "../common/memory_views.ts";
import { shellWord } from "../common/shell_word.ts";
import { textOf } from "../common/text_of_bytes.ts";
import { hintFor } from "../errors/hints.ts";
import { IoError, systemError } from "../errors/io_error.ts";
import { Kind } from "../native/abi.gen.ts";

/**
 * The name of a file: text, a `file:` URL, or bytes, for names that are not UTF-8 (`readdir` with `encoding:
 * "buffer"`). A relative path is resolved against the directory that is current at the call.
 */
export type Path = string | URL | Uint8Array;

/** PATH_MAX, with its NUL: path_resolution(7) on Linux, sys/syslimits.h on FreeBSD and macOS. */
export const PATH_BYTES_MAX: number = process.platform === "linux" ? 4096 : 1024;

const SLASH = 0x2f;
const PERCENT = 0x25;

/** A checked path. After `hold`, a relative path is resolved against one directory until it is disposed of. */
export class PathName implements Disposable {
  /** As the caller wrote it; bytes that are not UTF-8 as `\xNN`. */
  readonly text: string;
  readonly #bytes: Buffer;
  #directory: Directory | undefined;

  /** `name`: of the argument. */
  constructor(name: string, path: unknown) {
    const bytes = bytesIn(name, path);
    this.text = textOf(bytes);
    this.#bytes = bytes;
    if (bytes.includes(0)) throw argumentValue(name, "must not contain NUL characters", path);
    if (bytes.byteLength === 0) {
      throw new IoError("ENOENT", { reason: "the path is empty", syscall: "open", path: "" });
    }
    if (bytes.byteLength >= PATH_BYTES_MAX) {
      throw new IoError("ENAMETOOLONG", {
        reason: `the path has ${bytes.byteLength} bytes, more than ${PATH_BYTES_MAX - 1}`,
        syscall: "open",
        path: `${this.text.slice(0, 60)}...`,
      });
    }
  }

  /**
   * Holds the current directory: a relative path is resolved against it from now on. Must be called in the turn of
   * the call.
   */
  hold(owner: Owner): void {
    if (this.#directory !== undefined || this.#bytes[0] === SLASH) return;
    this.#directory = Directory.hold(owner, this.text);
  }

  /** Writes the path for the kernel: its bytes and a NUL. */
  writeTo(memory: Uint8Array): void {
    memory.set(this.#bytes);
    memory[this.#bytes.byteLength] = 0;
  }

  /** Descriptor of the directory that a relative path is resolved against, or -1. */
  get directoryFd(): number {
    return this.#directory?.fd ?? -1;
  }

  /**
   * The path for node:fs, valid while this is held. Without /proc it depends on the directory that is current then.
   */
  get place(): Buffer {
    return Buffer.concat([Buffer.from(this.#prefix), this.#bytes]);
  }

  /** A `place`, or a folder above it, in the form the caller would write. */
  shown(place: Buffer): string {
    const text = textOf(place.subarray(this.#prefix.length));
    return text === "" ? "." : text;
  }

  /** The same, quoted for the shell. */
  word(place: Buffer): string {
    const bytes = place.subarray(this.#prefix.length);
    return bytes.byteLength === 0 ? "." : shellWord(bytes);
  }

  get #prefix(): string {
    if (this.#directory === undefined || process.platform !== "linux") return "";
    const link = `/proc/self/fd/${this.#directory.fd}`;
    return existsSync(link) ? `${link}/` : "";
  }

  [Symbol.dispose](): void {
    this.#directory?.release();
  }
}

function bytesIn(name: string, path: unknown): Buffer {
  if (typeof path === "string") {
    if (path.isWellFormed()) return Buffer.from(path);
    // It would be encoded as U+FFFD, and name another file.
    throw argumentValue(name, "contains a lone surrogate, which no file name can", path);
  }
  if (path instanceof URL) return bytesOfUrl(name, path);
  // A copy: the caller may change the bytes.
  if (isUint8Array(path)) return Buffer.from(checkBytes(name, path));
  throw argumentType(name, "a string, a file: URL or a Uint8Array", path);
}

function bytesOfUrl(name: string, url: URL): Buffer {
  const { protocol, host, pathname } = url;
  if (protocol !== "file:") {
    throw argumentValue(name, "must be a file: URL", `${protocol}`, "ERR_INVALID_URL_SCHEME");
  }
  if (host !== "") {
    throw argumentValue(name, "must be on this host", host, "ERR_INVALID_FILE_URL_HOST");
  }
  if (/%2f/i.test(pathname)) {
    throw argumentValue(
      name,
      "must not contain a / encoded as %2F",
      pathname,
      "ERR_INVALID_FILE_URL_PATH",
    );
  }
  return percentDecoded(pathname);
}

/** Decodes byte by byte (https://url.spec.whatwg.org/#percent-decode): the bytes need not be UTF-8. */
function percentDecoded(text: string): Buffer {
  const encoded = Buffer.from(text);
  const bytes = Buffer.alloc(encoded.byteLength);
  let length = 0;
  for (let i = 0; i < encoded.byteLength; i++) {
    const digits = encoded.toString("latin1", i + 1, i + 3);
    const isCoded = encoded[i] === PERCENT && /^[\da-f]{2}$/i.test(digits);
    bytes[length++] = isCoded ? Number.parseInt(digits, 16) : (encoded[i] ?? 0);
    if (isCoded) i += 2;
  }
  return bytes.subarray(0, length);
}

// The directory of a call -------------------------------------------------------------------------------

/** Opens directories, and closes them when this thread ends before they are released: the ring (proactor.ts). */
export interface Owner {
  readonly fileTable: { take(): number; give(index: number): void };
  openDirectory(index: number): number;
  closeDirectory(index: number): void;
}

/**
 * A directory that was current, held by descriptor: its name may be changed meanwhile, be below a folder this user
 * may not enter, or be gone.
 */
class Directory {
  /** Directories in use, usually one: opening many files at once takes one descriptor more. */
  static readonly #held: Directory[] = [];
  readonly fd: number;
  readonly #owner: Owner;
  readonly #index: number;
  readonly #identity: string;
  #users = 1;

  private constructor(owner: Owner, identity: string, path: string) {
    this.#owner = owner;
    this.#identity = identity;
    this.#index = owner.fileTable.take();
    this.fd = owner.openDirectory(this.#index);
    if (this.fd >= 0) return;
    owner.fileTable.give(this.#index);
    throw notOpened(-this.fd, path);
  }

  /** `path`: what begins there, for errors. */
  static hold(owner: Owner, path: string): Directory {
    const identity = currentIdentity();
    const known = Directory.#held.find(
      (held) => held.#identity === identity && held.#owner === owner,
    );
    if (known !== undefined) {
      known.#users++;
      return known;
    }
    const made = new Directory(owner, identity, path);
    Directory.#held.push(made);
    return made;
  }

  release(): void {
    this.#users--;
    if (this.#users > 0) return;
    Directory.#held.splice(Directory.#held.indexOf(this), 1);
    this.#owner.closeDirectory(this.#index);
    this.#owner.fileTable.give(this.#index);
  }
}

/** Includes the name: one directory may be mounted at two places, each with its own "..". */
function currentIdentity(): string {
  const { dev, ino } = statSync(".", { bigint: true });
  try {
    return `${dev} ${ino} ${process.cwd()}`;
  } catch {
    return `${dev} ${ino}`;
  }
}

function notOpened(errno: number, path: string): IoError {
  const { code } = systemError(errno);
  return new IoError(code, {
    reason: "the current directory, where the path begins, cannot be opened",
    errno: -errno,
    syscall: "open",
    path,
    hint: hintFor(code, Kind.open, undefined),
  });
}
