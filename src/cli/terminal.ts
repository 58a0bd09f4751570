// Output: data to stdout, messages to stderr. Colour only on a terminal, and never with NO_COLOR
// (https://no-color.org) or TERM=dumb.

import { styleText } from "node:util";
import { octalText } from "../common/shell_word.ts";
import { withoutEscapes } from "./raw_words.ts";

type Style = Parameters<typeof styleText>[0];

interface Stream {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

/** A terminal with fewer columns gets lines that end between words. */
const NARROW_COLUMNS = 60;

export function isNarrow(stream: Stream): boolean {
  return isLive(stream) && (stream.columns || NARROW_COLUMNS) < NARROW_COLUMNS;
}

/** What is written of a line: for people, and in a narrow terminal in lines that end between words. */
function written(line: string, stream: Stream): string {
  const text = withoutEscapes(line);
  if (!isNarrow(stream)) return `${text}\n`;
  return `${text
    .split("\n")
    .map((part) => wrapped(part, stream.columns ?? 0))
    .join("\n")}\n`;
}

/** A word that is longer than a line stays whole. */
function wrapped(line: string, columns: number): string {
  if (Bun.stringWidth(line) <= columns) return line;
  const indent = /^ */.exec(line)?.[0] ?? "";
  const lines: string[] = [];
  let begun = indent;
  for (const word of line.trim().split(/ +/)) {
    const longer = begun.trim() === "" ? begun + word : `${begun} ${word}`;
    if (Bun.stringWidth(longer) <= columns || begun.trim() === "") begun = longer;
    else {
      lines.push(begun);
      begun = `${indent}  ${word}`;
    }
  }
  return [...lines, begun].join("\n");
}

/** Whether the stream is a terminal that can move its cursor. */
export function isLive(stream: Stream): boolean {
  return stream.isTTY === true && process.env["TERM"] !== "dumb";
}

export function paint(stream: Stream, style: Style, text: string): string {
  const plain = !isLive(stream) || (process.env["NO_COLOR"] ?? "") !== "";
  return plain ? text : styleText(style, text, { validateStream: false });
}

/** Ends the unfinished line: a bar, or a question. */
let finishLine: (() => void) | undefined;

/**
 * Sets the function that ends the unfinished line before anything else is printed; undefined: the line is finished.
 */
export function lineBegun(finish: (() => void) | undefined): void {
  finishLine = finish;
}

/** Ends the unfinished line; false if there is none. */
export function endLine(): boolean {
  const finish = finishLine;
  finishLine = undefined;
  finish?.();
  return finish !== undefined;
}

/** A line of data, on stdout. */
export function print(line: string): void {
  if (process.stdout.isTTY) endLine();
  process.stdout.write(written(line, process.stdout));
}

/** A line for the user, on stderr; `done` is called when it has been written, or cannot be. */
export function say(line: string, done?: () => void): void {
  endLine();
  process.stderr.write(written(line, process.stderr), done);
}

/** A command to be pasted: in a narrow terminal its options are on lines of their own, which a shell joins. */
export function sayCommand(command: string): void {
  endLine();
  const parts = /['"]/.test(command) ? [command] : command.split(/ (?=--)/);
  const line = isNarrow(process.stderr) ? parts.join(" \\\n    ") : command;
  process.stderr.write(`  ${withoutEscapes(line)}\n`);
}

export function warn(text: string): void {
  say(`${paint(process.stderr, "yellow", "warning:")} ${text}`);
}

export function complain(text: string, hint?: string): void {
  say(`${paint(process.stderr, "red", "error:")} ${text}`);
  if (hint !== undefined) say(hint);
}

export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** The line typed after `question`; undefined at end of input or when `signal` aborts. */
export function ask(question: string, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve) => {
    // Not as a terminal: the tty edits the line, and Ctrl-C stays a signal.
    const { createInterface } = process.getBuiltinModule("node:readline");
    const lines = createInterface({ input: process.stdin, terminal: false });
    const end = (answer: string | undefined): void => {
      signal.removeEventListener("abort", stopped);
      lineBegun(undefined);
      // First, because closing reports the end at once.
      resolve(answer);
      lines.close();
    };
    const stopped = (): void => {
      endLine();
      end(undefined);
    };
    lines.once("line", end);
    lines.once("close", () => resolve(undefined));
    signal.addEventListener("abort", stopped, { once: true });
    process.stderr.write(question);
    // The question stays open whatever is printed meanwhile.
    lineBegun(() => process.stderr.write("\n"));
    if (signal.aborted) stopped();
  });
}

/** Text from a medium or a path, made safe for a terminal, where control characters could do anything. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, "?");
}

/** Quotes a word for the shell, without control characters and bytes that are not UTF-8: printf(1) makes them. */
export function quoted(word: string): string {
  if (/^[\w@%+:,./-][\w@%+=:,./-]*$/.test(word)) return word;
  const plain = word.replaceAll("'", "'\\''");
  // A command substitution drops trailing newlines; they are harmless.
  const controls = /(?:[^\P{Cc}\n]|[\udc80-\udcff])+/gu;
  return `'${plain.replace(controls, (text) => `'"$(printf '${octalText(text)}')"'`)}'`;
}

/** Aligns columns to their longest entry; those in `right` are right-aligned, for numbers. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, Bun.stringWidth(cell));
    });
  }
  const pad = (cell: string, column: number): string => {
    const blanks = " ".repeat((widths[column] ?? 0) - Bun.stringWidth(cell));
    return right.includes(column) ? blanks + cell : cell + blanks;
  };
  return rows.map((row) => row.map(pad).join("  ").trimEnd()).join("\n");
}
