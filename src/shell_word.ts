// A word as the shell takes it, for commands in hints. For open_hints.ts, busy.ts and the command.

/** Quoted where it has to be; control characters and U+0080 to U+009F as $'\n', which bash, zsh and ksh know. */
export function shellWord(text: string): string {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  if (!/\p{Cc}/u.test(text)) return `'${text.replaceAll("'", "'\\''")}'`;
  const escaped = text.replace(/['\\]|\p{Cc}/gu, (character) => {
    if (character === "'" || character === "\\") return `\\${character}`;
    return [...Buffer.from(character)].map(octal).join("");
  });
  return `$'${escaped}'`;
}

/** Three digits: what follows is never taken for more of it. */
function octal(byte: number): string {
  return `\\${byte.toString(8).padStart(3, "0")}`;
}
