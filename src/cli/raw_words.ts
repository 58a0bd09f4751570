// Words of the command line that are not UTF-8. Bun decodes them to U+FFFD, which names no file; the system still
// has the bytes. Within the command such a byte is a lone surrogate, U+DC80 to U+DCFF, so that paths stay text:
// valid UTF-8 never decodes to one. (PEP 383 does the same for Python.) `pathOf` converts paths for the library and
// system calls; terminal.ts converts what is printed.

import { type BigIntStats, readFileSync, readlinkSync } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { bytesOfText, ESCAPED, escapedText, textOf } from "../common/text_of_bytes.ts";

/** The words of the command line, whatever their bytes. */
export function ownWords(): string[] {
  const words = process.argv.slice(2);
  if (!words.some((word) => word.includes("\ufffd"))) return words;
  const bytes = wordsInProc()?.slice(-words.length);
  // Bun may have removed words for itself: use the bytes only if all words match.
  const same = words.every((word, index) => readable(bytes?.[index]) === readable(word));
  return same && bytes !== undefined ? bytes.map(escapedText) : words;
}

/** Decoders differ in the number of U+FFFD that they make. */
function readable(word: string | Buffer | undefined): string | undefined {
  return word?.toString().replace(/\ufffd+/g, "\ufffd");
}

/** proc_pid_cmdline(5). On other systems than Linux only the words of Bun are available. */
function wordsInProc(): Buffer[] | undefined {
  let rest: Buffer;
  try {
    rest = readFileSync("/proc/self/cmdline");
  } catch {
    return undefined;
  }
  const words: Buffer[] = [];
  for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
    words.push(rest.subarray(0, end));
    rest = rest.subarray(end + 1);
  }
  return words;
}

/** A path for the library and node:fs. */
export function pathOf(text: string): string | Buffer {
  return ESCAPED.test(text) ? bytesOfText(text) : text;
}

/** Undefined if there is nothing, or it cannot be seen. */
export function statOf(text: string): Promise<BigIntStats | undefined> {
  return stat(pathOf(text), { bigint: true }).catch(() => undefined);
}

/** dirname(3); the one of node:path would lose such a byte. */
export function folderOf(text: string): string {
  return escapedText(Buffer.from(dirname(bytesOfText(text).toString("latin1")), "latin1"));
}

export function absolute(text: string): string {
  const path = resolve(currentFolder().toString("latin1"), bytesOfText(text).toString("latin1"));
  return escapedText(Buffer.from(path, "latin1"));
}

function currentFolder(): Buffer {
  try {
    return readlinkSync("/proc/self/cwd", { encoding: "buffer" });
  } catch {
    return Buffer.from(process.cwd());
  }
}

/** The text for people: a byte that is not UTF-8 as `\xNN`. */
export function withoutEscapes(text: string): string {
  return ESCAPED.test(text) ? textOf(bytesOfText(text)) : text;
}
