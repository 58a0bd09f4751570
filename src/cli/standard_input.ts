// Standard input, "-". A file or disk is read by position, from the offset of its descriptor, and the descriptor is
// advanced by what was read, as cat(1) does: Bun's own stream of a file starts at 0 whatever that offset is, and
// does not move it. Everything else (a pipe, a terminal) is read as a stream.

import { read } from "node:fs";
import { readlink } from "node:fs/promises";
import { promisify } from "node:util";
import { IoError } from "../errors/io_error.ts";
import { File } from "../file/file.ts";
import { library } from "../native/library.ts";
import { usage } from "./exit.ts";
import { lookAt, type Place } from "./places.ts";

const FD = 0;
/** Its name in messages. */
export const STANDARD_INPUT = "standard input";

export class StandardInput implements AsyncDisposable {
  constructor(
    readonly file: File,
    /** The rest of it: `end` counts from `start`. */
    readonly place: Place,
    /** Offset of the descriptor: bytes from the start of the file. */
    readonly start: number,
  ) {}

  /** Records that so many bytes from `start` were taken: the next reader continues after them. */
  took(bytes: number): void {
    library().ba_seek(FD, this.start + bytes);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.file.close();
  }
}

/** Standard input by position; undefined if it must be read as a stream. */
export async function standardInput(): Promise<StandardInput | undefined> {
  const file = await fileOfInput();
  if (file === undefined) return undefined;
  const start = library().ba_seek(FD, -1);
  if ((file.kind !== "regular" && file.kind !== "disk") || start < 0) {
    await file.close();
    return undefined;
  }
  try {
    await refuseWriteOnly(start);
    const realPath = await readlink(`/proc/self/fd/${FD}`).catch(() => STANDARD_INPUT);
    const place = await lookAt(file, STANDARD_INPUT, realPath);
    const end = place.end === undefined ? undefined : Math.max(0, place.end - start);
    return new StandardInput(file, { ...place, end }, start);
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function fileOfInput(): Promise<File | undefined> {
  try {
    return await File.fromFd(FD, { path: STANDARD_INPUT });
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    // It has no positions.
    if (error.code === "ESPIPE") return undefined;
    // Also open for appending. That concerns only writes, and a descriptor of our own for reading lacks it.
    if (error.code === "ERR_APPEND_MODE") return File.open(`/dev/fd/${FD}`);
    throw error;
  }
}

/** Refuses a write-only descriptor, by a read that does not move the offset. */
async function refuseWriteOnly(start: number): Promise<void> {
  const reading = promisify(read)(FD, new Uint8Array(1), 0, 1, start);
  const code = await reading.then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error.code,
  );
  if (code !== "EBADF") return;
  throw usage(`${STANDARD_INPUT} is open for writing only`, "Give it something to read: < FILE");
}
