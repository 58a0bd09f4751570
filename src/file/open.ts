// Opens a path or adopts a descriptor: makes the record and the native file index behind a `File`.

import { type CancelScope, cancelScope } from "../cancellation/scope.ts";
import { argumentType, argumentValue } from "../common/argument_errors.ts";
import {
  checkBoolean,
  checkInteger,
  checkIoOptions,
  IO_OPTION_NAMES,
  type IoOptions,
} from "../common/arguments.ts";
import { IoError } from "../errors/io_error.ts";
import { type ErrorContext, ringClosedError, statusError } from "../errors/status.ts";
import * as abi from "../native/abi.gen.ts";
import { FileState } from "../ring/file_state.ts";
import type { Request } from "../ring/request.ts";
import { proactorOf, Ring } from "../ring/ring.ts";
import { systemOf } from "../system/loop_devices.ts";
import { copiedInfo, identityOf } from "./file_info.ts";
import { type Asked, explainRefusal } from "./open_hints.ts";
import { PATH_BYTES_MAX, type PathName } from "./path.ts";

/** How a file is opened. */
export interface OpenOptions extends IoOptions {
  /** Default true. */
  read?: boolean | undefined;
  /** Default false. */
  write?: boolean | undefined;
  /** Creates the file if it is missing. Default false; needs `write`. */
  create?: boolean | undefined;
  /** Creates the file, and fails if it exists (O_CREAT|O_EXCL). Default false; needs `write`. */
  createNew?: boolean | undefined;
  /** Empties the file. Default false; needs `write`. */
  truncate?: boolean | undefined;
  /** Permission bits of a new file, before the umask is applied. Default 0o666. */
  mode?: number | undefined;
  /**
   * Bypasses the page cache (O_DIRECT; F_NOCACHE on macOS). Default false. Writes must be aligned as
   * `alignment` says; reads need not be.
   */
  direct?: boolean | undefined;
  /** Each write resolves when its data is on the medium (O_DSYNC, open(2)). Default false. */
  dsync?: boolean | undefined;
  /**
   * Unaligned writes, on devices and with `direct`: "reject" (the default) refuses them with `ERR_MISALIGNED`;
   * "rmw" reads the sectors around them, modifies them and writes them back. That is atomic with respect to all
   * direct writes of this thread to the same file or device, through any `File`. Needs `read` and `write`.
   */
  unalignedWrites?: "reject" | "rmw" | undefined;
  /** The ring that carries the operations. Default: this thread's `Ring.default()`. */
  ring?: Ring | undefined;
}

export const OPEN_OPTION_NAMES: readonly string[] = [
  ...["read", "write", "create", "createNew", "truncate", "mode", "direct", "dsync", "ring"],
  "unalignedWrites",
  ...IO_OPTION_NAMES,
];

/** How a descriptor that is open already becomes a `File`. */
export interface FromFdOptions {
  /** For error messages. */
  path?: string | undefined;
  /** Whether `close` closes the descriptor. Default false. */
  ownsFd?: boolean | undefined;
  /** The ring that carries the operations. Default: this thread's `Ring.default()`. */
  ring?: Ring | undefined;
}

/** Only classes of this library may construct files. */
export const made: unique symbol = Symbol("made by bun-aio");

export interface FileInit {
  readonly key: typeof made;
  readonly state: FileState;
  readonly ring: Ring;
  /** Size in bytes when it was opened. */
  readonly size: number;
}

/**
 * Opens `name` and makes the parts of a `File`. `flags`: further `abi.OpenFlag`s. `as`: whose options hints speak
 * of. The caller disposes of `name` when this has settled.
 */
export async function openFile(
  name: PathName,
  options: OpenOptions,
  flags: number,
  as: Asked["as"] = "file",
): Promise<FileInit> {
  const { argument, mode, unaligned, context, scope } = checkOpen(name, options, flags);
  // Last: getters of the other options are the caller's code and may close the ring.
  const ring = checkRing(options.ring);
  if (ring.backend !== "simulated") name.hold(proactorOf(ring));
  let refusal = 0;
  try {
    const init = await prepare({
      ring,
      context,
      ownsFd: true,
      request: {
        kind: abi.Kind.open,
        fd: name.directoryFd,
        argument,
        mode,
        fill: (memory) => name.writeTo(memory),
        blockBytes: PATH_BYTES_MAX,
        scope,
      },
      refused: (detail) => {
        refusal = detail;
      },
    });
    init.state.dsync = (argument & abi.OpenFlag.dsync) !== 0;
    init.state.setUnalignedWrites(unaligned);
    return init;
  } catch (error) {
    throw await explainRefusal(error, name, {
      ...{ as, flags: argument, refusal, system: systemOf(proactorOf(ring)) },
    });
  }
}

/** What an open needs of its options. */
interface CheckedOpen {
  /** Bits of `abi.OpenFlag`. */
  readonly argument: number;
  readonly mode: number;
  readonly unaligned: "reject" | "rmw";
  readonly context: ErrorContext;
  readonly scope: CancelScope | undefined;
}

/** Throws for wrong options, and if the open is cancelled already. */
export function checkOpen(name: PathName, options: OpenOptions, flags: number): CheckedOpen {
  const argument = openFlags(options) | flags;
  const mode =
    options.mode === undefined ? 0o666 : checkInteger("options.mode", options.mode, 0, 0o7777);
  const unaligned = checkUnalignedWrites(options.unalignedWrites);
  if (unaligned === "rmw" && (argument & READ_AND_WRITE) !== READ_AND_WRITE) {
    throw argumentValue("options.unalignedWrites", "needs { read: true, write: true }", unaligned);
  }
  const context: ErrorContext = {
    kind: abi.Kind.open,
    file: undefined,
    syscall: "open",
    path: name.text,
  };
  const scope = cancelScope(checkIoOptions(options));
  scope?.throwIfCancelled({ ...context, transferred: 0 });
  return { argument, mode, unaligned, context, scope };
}

const READ_AND_WRITE = abi.OpenFlag.read | abi.OpenFlag.write;

function checkUnalignedWrites(mode: unknown): "reject" | "rmw" {
  if (mode === undefined || mode === "reject") return "reject";
  if (mode === "rmw") return mode;
  throw argumentValue("options.unalignedWrites", 'must be "reject" or "rmw"', mode);
}

/** Examines `fd` and makes the parts of a `File`. */
export async function adoptFd(fd: number, options: FromFdOptions): Promise<FileInit> {
  checkInteger("fd", fd, 0, 2 ** 31 - 1);
  const { path, ownsFd } = options;
  if (path !== undefined && typeof path !== "string")
    throw argumentType("options.path", "a string", path);
  const owns = ownsFd !== undefined && checkBoolean("options.ownsFd", ownsFd);
  const context: ErrorContext = {
    kind: abi.Kind.probe,
    file: undefined,
    syscall: "fstat",
    path: path ?? `fd ${fd}`,
  };
  const init = await prepare({
    ring: checkRing(options.ring),
    context,
    ownsFd: owns,
    request: {
      kind: abi.Kind.probe,
      fd,
      argument: owns ? 1 : 0,
      blockBytes: abi.FileInfo.SIZE,
    },
  });
  init.state.path = path;
  return init;
}

interface Preparation {
  readonly ring: Ring;
  readonly context: ErrorContext;
  readonly ownsFd: boolean;
  /** An open or a probe. */
  readonly request: Omit<Request, "file">;
  /** Called with the detail that the native side reports beside the error. */
  readonly refused?: (detail: number) => void;
}

async function prepare(preparation: Preparation): Promise<FileInit> {
  const { ring, context, ownsFd, request, refused } = preparation;
  const proactor = proactorOf(ring);
  const state = new FileState();
  state.path = context.path;
  state.ownsFd = ownsFd;
  state.index = proactor.fileTable.take();
  const outcome = await proactor.start({ ...request, file: state });
  let size = 0;
  try {
    if (outcome.error !== undefined) throw outcome.error;
    if (outcome.status !== abi.Status.ok) {
      refused?.(outcome.detail);
      throw statusError(outcome.status, outcome.errno, context);
    }
    const info = copiedInfo(proactor, outcome.block);
    fillState(state, info);
    size = info.getFloat64(abi.FileInfo.size, true);
    if (state.writable && info.getUint32(abi.FileInfo.append, true) !== 0) {
      throw new IoError("ERR_APPEND_MODE", {
        reason: "the descriptor appends (O_APPEND): the kernel would ignore offsets of writes",
        path: context.path,
        syscall: "fcntl",
        hint: 'Open it without O_APPEND (flag "a" of node:fs)',
      });
    }
    // Without `direct` the kernel does the read-modify-write, and no lock is needed.
    state.identity = identityOf(proactor, info);
    const shares =
      state.ioMask > 0 && (state.kind === abi.FileKind.regular || state.kind === abi.FileKind.disk);
    const identity = shares ? state.identity : undefined;
    state.lock.join(identity, (found) => proactor.eachFastWrite(state, found));
  } catch (error) {
    // A descriptor that was not adopted must not be closed when the ring is torn down.
    proactor.forgetFile(state.index);
    proactor.fileTable.give(state.index);
    throw error;
  } finally {
    proactor.releaseBlock(outcome.block);
  }
  return { key: made, state, ring, size };
}

function fillState(state: FileState, info: DataView): void {
  const u32 = (field: number): number => info.getUint32(field, true);
  state.fd = info.getInt32(abi.FileInfo.fd, true);
  state.kind = u32(abi.FileInfo.kind);
  state.direct = u32(abi.FileInfo.direct) !== 0;
  state.readable = u32(abi.FileInfo.readable) !== 0;
  state.writable = u32(abi.FileInfo.writable) !== 0;
  state.waits = u32(abi.FileInfo.waits) !== 0;
  state.setAlignment(u32(abi.FileInfo.memoryAlignment), u32(abi.FileInfo.offsetAlignment));
  if (state.kind === abi.FileKind.disk) state.mediaBytes = info.getFloat64(abi.FileInfo.size, true);
}

function openFlags(options: OpenOptions): number {
  const given = (name: keyof OpenOptions, fallback: boolean): boolean => {
    const value = options[name];
    return value === undefined ? fallback : checkBoolean(`options.${name}`, value);
  };
  const read = given("read", true);
  const write = given("write", false);
  if (!read && !write) throw argumentValue("options", "must ask for read or write", options);
  let flags = (read ? abi.OpenFlag.read : 0) | (write ? abi.OpenFlag.write : 0);
  for (const name of ["create", "createNew", "truncate"] as const) {
    if (!given(name, false)) continue;
    if (!write) throw argumentValue(`options.${name}`, "needs { write: true }", true);
    flags |= abi.OpenFlag[name];
  }
  if (given("direct", false)) flags |= abi.OpenFlag.direct;
  if (given("dsync", false)) flags |= abi.OpenFlag.dsync;
  return flags;
}

export function checkRing(ring: unknown): Ring {
  if (ring === undefined) return Ring.default();
  if (!(ring instanceof Ring)) throw argumentType("options.ring", "a Ring", ring);
  const { closing, lostErrno } = proactorOf(ring);
  if (!closing) return ring;
  throw ringClosedError(lostErrno, { hint: "Open another with Ring.open" });
}
