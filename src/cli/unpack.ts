// Unpacks compressed sources as streams: gzip and zstd are built in, xz and bzip2 need their programs. A stream that is
// cut short, damaged, or followed by other data fails.

import type { Gunzip, InflateRaw } from "node:zlib";
import type { Bytes } from "../common/arguments.ts";
import type { Packing } from "./contents.ts";
import { Exit, failure, Stop } from "./exit.ts";
import { type ByteStream, streamOf } from "./streams.ts";
import { printable } from "./terminal.ts";

/** Loaded at first use: it takes 5 ms of a command's start. */
export function zlib(): typeof import("node:zlib") {
  return process.getBuiltinModule("node:zlib");
}

/** What can be unpacked as it arrives. */
export type StreamPacking = Exclude<Packing, "zip">;

export const UNPACKED_CHUNK_BYTES: number = 256 * 1024;

/** Programs that unpack standard input with `-dc`, and the packages they are in. */
const PROGRAMS = { xz: "xz-utils", bzip2: "bzip2" } as const;

/** A source that cannot be unpacked: to try it again would fail again. */
export class Damaged extends Stop {
  constructor(name: string, why: string) {
    super(Exit.failed, `${printable(name)} is damaged or cut short (${printable(why)})`);
  }
}

export class Unpacking {
  /** Compressed bytes taken. */
  read = 0;

  constructor(
    readonly packing: Packing,
    /** Compressed bytes; undefined if unknown. */
    readonly total: number | undefined,
  ) {}

  counted(packed: ByteStream): ByteStream {
    const transform = (part: Bytes, controller: TransformStreamDefaultController<Bytes>): void => {
      this.read += part.byteLength;
      controller.enqueue(part);
    };
    return packed.pipeThrough(new TransformStream<Bytes, Bytes>({ transform }));
  }
}

/**
 * The unpacked bytes of a stream; memory is bounded whatever the ratio. `name` appears in errors, which are Damaged;
 * those of `packed` pass through. `stop` ends programs.
 *
 * @throws Stop if a program is not installed.
 */
export function unpack(
  packing: StreamPacking,
  packed: ByteStream,
  name: string,
  stop: AbortSignal,
): ByteStream {
  if (packing === "gzip") {
    // Members, one after the other (RFC 1952).
    const gunzip = zlib().createGunzip({ chunkSize: UNPACKED_CHUNK_BYTES });
    return streamOf(inflated(gunzip, packed, name));
  }
  if (packing === "zstd") return streamOf(unzstd(packed, name));
  if (Bun.which(packing) === null) {
    throw failure(
      `${printable(name)} is compressed with ${packing}, which is not installed`,
      `Install it: apt install ${PROGRAMS[packing]}, or your system's package`,
    );
  }
  return streamOf(throughProgram(packing, packed, name, stop));
}

/** What a zlib of node:zlib makes of a stream, which must end where that ends; zeroes may follow, as on tapes. */
export async function* inflated(
  inflate: Gunzip | InflateRaw,
  packed: ByteStream,
  name: string,
): AsyncGenerator<Bytes> {
  const feeding = feed(inflate, packed, name).catch((error: Error) => {
    inflate.destroy(error);
    return error;
  });
  try {
    for await (const part of inflate) yield part;
  } catch (error) {
    const isOfData = error instanceof Error && "code" in error && /^Z_/.test(String(error.code));
    throw isOfData ? new Damaged(name, error.message) : error;
  }
  const failure = await feeding;
  if (failure !== undefined) throw failure;
}

async function feed(
  inflate: Gunzip | InflateRaw,
  packed: ByteStream,
  name: string,
): Promise<undefined> {
  const ended = new Promise<void>((resolve) => inflate.once("end", resolve));
  let given = 0;
  for await (const part of packed) {
    let rest = part;
    if (!inflate.readableEnded) {
      given += part.byteLength;
      // A write that goes beyond the end is never called back.
      await Promise.race([new Promise((resolve) => inflate.write(part, resolve)), ended]);
      rest = part.subarray(part.byteLength - (given - inflate.bytesWritten));
    }
    if (inflate.readableEnded && rest.some((byte) => byte !== 0)) {
      throw new Damaged(name, "other data follows");
    }
  }
  if (!inflate.readableEnded) inflate.end();
}

/** Frames, one after the other (RFC 8878). node:zlib of Bun 1.4.5 takes a frame that is cut for a whole one. */
async function* unzstd(packed: ByteStream, name: string): AsyncGenerator<Bytes> {
  try {
    for await (const part of packed.pipeThrough(new DecompressionStream("zstd"))) yield part;
  } catch (error) {
    throw error instanceof TypeError ? new Damaged(name, error.message) : error;
  }
}

async function* throughProgram(
  program: keyof typeof PROGRAMS,
  packed: ByteStream,
  name: string,
  stop: AbortSignal,
): AsyncGenerator<Bytes> {
  const child = Bun.spawn([program, "-dc"], {
    ...{ stdin: "pipe", stdout: "pipe", stderr: "pipe" },
    // Ctrl-C is for this command, which ends the program.
    detached: true,
    signal: stop,
    // Options that the user has set for the program do not count here.
    env: {
      ...process.env,
      XZ_OPT: undefined,
      XZ_DEFAULTS: undefined,
      BZIP2: undefined,
      BZIP: undefined,
    },
  });
  let failure: unknown;
  const give = async (): Promise<void> => {
    for await (const part of packed) {
      child.stdin.write(part);
      await child.stdin.flush();
    }
    await child.stdin.end();
  };
  const giving = give().catch((error: unknown) => {
    // If the program has ended before, it says why.
    if (error instanceof Error && "code" in error && error.code === "EPIPE") return;
    failure = error;
    child.kill();
  });
  const words = new Response(child.stderr).text();
  try {
    for await (const part of child.stdout) yield part;
    await Promise.race([giving, child.exited]);
  } finally {
    child.kill();
  }
  const code = await child.exited;
  if (failure !== undefined) throw failure;
  const said = (await words).trim().split("\n", 1)[0] ?? "";
  if (code === 0 && said === "") return;
  throw new Damaged(name, said === "" ? `${program} ended with ${child.signalCode ?? code}` : said);
}
