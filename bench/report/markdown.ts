// The same tables as Markdown, to paste into a page: the short ones first, the rest folded.

import type { Results } from "../results.ts";
import type { Row } from "../rows/row.ts";
import { headlinesTable } from "./headlines.ts";
import { type RunFacts, warnings } from "./json.ts";
import { machineLine } from "./machine.ts";
import { barsTable, detailTable, matrixTable, type Table } from "./tables.ts";

export function markdown(rows: readonly Row[], results: Results, facts: RunFacts): string {
  const charted = rows.filter((row) => row.charted);
  return [
    `Measured on: ${machineLine(facts.machine)}. Medians of ${facts.rounds} interleaved rounds of ` +
      `${facts.seconds} s each.`,
    ...warnings(results, facts).map((line) => `**${line}**`),
    table(barsTable(rows, results)),
    ...charted.flatMap((row) => {
      const matrix = matrixTable(row, results);
      return [`**${matrix.title}**`, table(matrix)];
    }),
    "<details><summary>Every figure: ranges, CPU time, event-loop delay, memory</summary>",
    ...rows.flatMap((row) => {
      const detail = detailTable(row, results);
      return [
        `**${detail.title}**`,
        ...(detail.lines.length === 0 ? [] : [table(detail)]),
        ...detail.notes.map((note) => `**${note}**`),
      ];
    }),
    "</details>",
    "",
  ].join("\n\n");
}

/** For README. */
export function headlinesMarkdown(rows: readonly Row[], results: Results): string {
  return table(headlinesTable(rows, results));
}

function table({ head, lines }: Table): string {
  const rule = head.map((name, column) =>
    column === 0 || name === "which means" ? "---" : "---:",
  );
  return [head, rule, ...lines]
    .map((cells) => `| ${cells.map(escapeCell).join(" | ")} |`)
    .join("\n");
}

function escapeCell(cell: string): string {
  return cell.replaceAll("|", "\\|");
}
