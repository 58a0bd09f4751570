// Quotes a word for the shell, for the commands in hints.

import { isUtf8 } from "node:buffer";
import { bytesOfText, spelled } from "./text_of_bytes.ts";

/**
 * Quotes where necessary. Control characters and bytes that are not UTF-8 become $'\012', which bash, zsh and ksh
 * understand.
 */
export function shellWord(word: string | Uint8Array): string {
  const bytes = typeof word === "string" ? bytesOfText(word) : Buffer.from(word);
  const text = bytes.toString();
  if (isUtf8(bytes)) {
    if (/^[\w@%+:,./-][\w@%+=:,./-]*$/.test(text)) return text;
    if (!/\p{Cc}/u.test(text)) return `'${text.replaceAll("'", "'\\''")}'`;
  }
  const escaped = Buffer.from(bytes.toString("latin1").replace(/['\\]/g, "\\$&"), "latin1");
  return `$'${spelled(escaped, octal).replace(/\p{Cc}/gu, octalText)}'`;
}

/** Always three digits, so that a digit that follows is not taken for a fourth. */
function octal(byte: number): string {
  return `\\${byte.toString(8).padStart(3, "0")}`;
}

export function octalText(text: string): string {
  return [...bytesOfText(text)].map(octal).join("");
}
