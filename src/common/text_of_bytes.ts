// Names as text: a file name is bytes, and need not be UTF-8.

import { isUtf8 } from "node:buffer";

/** For people: a byte that is not UTF-8 becomes `\xNN`. */
export function textOf(bytes: Uint8Array): string {
  return spelled(bytes, (byte) => `\\x${byte.toString(16)}`);
}

/** Decodes UTF-8; each byte that is not becomes `spell(byte)`. */
export function spelled(bytes: Uint8Array, spell: (byte: number) => string): string {
  if (isUtf8(bytes)) return Buffer.from(bytes).toString();
  let text = "";
  for (let at = 0; at < bytes.byteLength; ) {
    const length = characterLength(bytes, at);
    if (length === 0) text += spell(bytes[at] ?? 0);
    else text += Buffer.from(bytes.subarray(at, at + length)).toString();
    at += Math.max(1, length);
  }
  return text;
}

/** Length in bytes of the character at `at`; 0 if there is no valid one. */
function characterLength(bytes: Uint8Array, at: number): number {
  for (let length = 1; length <= 4 && at + length <= bytes.byteLength; length++) {
    if (isUtf8(bytes.subarray(at, at + length))) return length;
  }
  return 0;
}

/** A byte that is not UTF-8, in text that has to become bytes again: a lone surrogate, as in PEP 383. */
export const ESCAPED: RegExp = /[\udc80-\udcff]/;
const ESCAPE = 0xdc00;

/** Text of bytes, with a lone surrogate for each that is not UTF-8. */
export function escapedText(bytes: Uint8Array): string {
  return spelled(bytes, (byte) => String.fromCharCode(ESCAPE + byte));
}

/** The bytes of a text. */
export function bytesOfText(text: string): Buffer {
  const parts = text.split(/([\udc80-\udcff])/u);
  return Buffer.concat(
    parts.map((part) =>
      part.length === 1 && ESCAPED.test(part)
        ? Buffer.from([part.charCodeAt(0) - ESCAPE])
        : Buffer.from(part),
    ),
  );
}
