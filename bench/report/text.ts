// Tables for a terminal.

import type { Table } from "./tables.ts";

export function textTable(table: Table): string {
  const all = [table.head, ...table.lines];
  const widths = table.head.map((_, column) =>
    Math.max(...all.map((line) => line[column]?.length ?? 0)),
  );
  const write = (line: readonly string[]): string =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  const rule = widths.map((width) => "-".repeat(width)).join("  ");
  const body = table.lines.length === 0 ? [] : [write(table.head), rule, ...table.lines.map(write)];
  return [`\n${table.title}`, ...body, ...table.notes.map((note) => `!!! ${note}`)].join("\n");
}
