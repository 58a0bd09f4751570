// Words of the command line that are not UTF-8. Bun decodes them to U+FFFD, which names nothing; the system still has
// the bytes. Within the command such a byte is a lone surrogate, U+DC80 to U+DCFF, so that paths stay text: no UTF-8
// decodes to one. (PEP 383 does the same for Python.) What goes to the library or a system call goes by `pathOf`,
// what is printed by terminal.ts.

import { readFileSync, readlinkSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { bytesOfText, ESCAPED, escapedText } from "../common/text_of_bytes.ts";

/** The command's own words, whatever their bytes. */
export function ownWords(): string[] {
  const words = process.argv.slice(2);
  if (!words.some((word) => word.includes("\ufffd"))) return words;
  const bytes = wordsInProc()?.slice(-words.length);
  // Bun may have taken words for itself: only what reads the same is the same.
  const same = words.every((word, index) => readable(bytes?.[index]) === readable(word));
  return same && bytes !== undefined ? bytes.map(escapedText) : words;
}

/** Decoders differ in how many U+FFFD they make. */
function readable(word: string | Buffer | undefined): string | undefined {
  return word?.toString().replace(/\ufffd+/g, "\ufffd");
}

/** proc_pid_cmdline(5); elsewhere than on Linux Bun's words are all there is. */
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

/** A path as the library and node:fs take it. */
export function pathOf(text: string): string | Buffer {
  return ESCAPED.test(text) ? bytesOfText(text) : text;
}

/** dirname(3); that of node:path would lose such a byte. */
export function folderOf(text: string): string {
  return escapedText(Buffer.from(dirname(bytesOfText(text).toString("latin1")), "latin1"));
}

/** From the root on. */
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

/** For people. */
export function withoutEscapes(text: string): string {
  return text.replace(
    /[\udc80-\udcff]/gu,
    (one) => `\\x${(one.charCodeAt(0) - 0xdc00).toString(16)}`,
  );
}
