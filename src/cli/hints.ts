// Hints for users of the command. Hints of the library speak of its API; these speak of options and shell commands.

import type { IoError } from "../errors/io_error.ts";
import { failure, Stop } from "./exit.ts";
import { statOf } from "./raw_words.ts";
import { complain, printable, quoted } from "./terminal.ts";

export type Role = "source" | "target" | "either";

/** Names and arguments of the library's API. */
const OF_API =
  /[{}]|\w\(\)|`cause`|\b(?:readAt|Bun\.file|node:fs|file\.alignment|geometry\.\w+|Uint8Array|allocBuffer|BufferPool|Ring|File\.open|Reopen|buffer|promise|createNew)\b/;

export function wordsOf(error: IoError): { text: string; hint: string | undefined } {
  const { message, hint } = error;
  if (hint === undefined) return { text: printable(message), hint };
  const end = `. ${hint}`;
  const text = printable(message.endsWith(end) ? message.slice(0, -end.length) : message);
  if (!OF_API.test(hint)) return { text, hint };
  return { text, hint: error.syscall === "open" ? openHint(error) : OTHER_HINTS.get(error.code) };
}

function openHint({ code, hint = "" }: IoError): string | undefined {
  if (code !== "ENOENT") return OPEN_HINTS.get(code);
  if (hint.includes("U+FFFD")) return "Names that are not UTF-8 work only on Linux";
  return hint.includes("no such device")
    ? "There is no such device; bun-aio info lists the devices"
    : undefined;
}

const OPEN_HINTS: ReadonlyMap<string, string> = new Map([
  ["EINVAL", "This file system may have no direct I/O: leave out --direct"],
  ["EROFS", "The device or its file system is read-only"],
  ["ESPIPE", "Pipes, sockets and terminals have no positions"],
]);

const OTHER_HINTS: ReadonlyMap<string, string> = new Map([
  ["EINVAL", "--direct needs whole sectors: leave it out"],
  ["ERR_OUTCOME_UNKNOWN", "The data in flight may still be written at any later time"],
]);

/** The error for a file without positions: how to read or write its bytes otherwise. */
export async function withoutPositions(path: string, role: Role): Promise<Stop> {
  const found = await statOf(path);
  const kind = found?.isFIFO() ? "a pipe" : found?.isSocket() ? "a socket" : "a stream of bytes";
  const text = `${printable(path)} is ${kind}: it has no positions`;
  if (role === "either" || found?.isSocket() === true) {
    return failure(text, "Only files and disks have positions");
  }
  const word = quoted(path);
  const way =
    role === "source"
      ? `Give it as standard input: cat ${word} | bun-aio copy - DST`
      : `Write to it with cat: cat SRC > ${word}`;
  return failure(text, way);
}

/** `before`: words before the message. */
export function complainOf(error: IoError, before = ""): void {
  const { cause } = error;
  // What ended a stream says it better than the copy that it ended.
  const isStop = cause instanceof Stop;
  const { text, hint } = isStop ? { text: cause.message, hint: cause.hint } : wordsOf(error);
  complain(before + text, hint);
}
