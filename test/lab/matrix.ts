// The table of docs/platforms.md: how many tests passed on each kernel, backend and disk.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../../scripts/suite/command.ts";
import type { Case } from "../../scripts/suite/counts.ts";
import { type DiskName, diskNames } from "./disks.ts";

const BEGIN = "<!-- matrix:begin -->";
const END = "<!-- matrix:end -->";

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

/** Cells by row and column. */
type Table = Map<string, Map<string, string>>;

export class Matrix {
  readonly #tallies = new Map<string, Map<string, Tally>>();

  /** What a file of tests did on a kernel and backend. */
  add(kernel: string, backend: string, cases: readonly Case[]): void {
    const column = `${kernel} ${backend}`;
    const tallies = this.#tallies.get(column) ?? new Map<string, Tally>();
    this.#tallies.set(column, tallies);
    for (const { file, name, skipped, failed } of cases) {
      const row = rowOf(file, name);
      const tally = tallies.get(row) ?? { passed: 0, failed: 0, skipped: 0 };
      if (skipped !== undefined) tally.skipped++;
      else if (failed) tally.failed++;
      else tally.passed++;
      tallies.set(row, tally);
    }
  }

  /** Puts its columns into the table of docs/platforms.md; those of other kernels stay. */
  record(): void {
    const path = join(root, "docs/platforms.md");
    const text = readFileSync(path, "utf8");
    const [before = "", rest = ""] = text.split(BEGIN);
    const [old = "", after = ""] = rest.split(END);
    const table = parsed(old);
    const commit = Bun.spawnSync(["git", "rev-parse", "--short", "HEAD"], { cwd: root });
    const when = `${new Date().toISOString().slice(0, 10)} ${commit.stdout.toString().trim()}`;
    for (const [column, tallies] of this.#tallies) {
      put(table, RUN, column, when);
      for (const [row, tally] of tallies) put(table, row, column, cellOf(tally));
    }
    writeFileSync(path, `${before}${BEGIN}\n${formatted(table)}\n${END}${after}`);
  }
}

/** The row that says when and at which commit a column was run. */
const RUN = "run on, at commit";

function put(table: Table, row: string, column: string, text: string): void {
  table.set(row, (table.get(row) ?? new Map<string, string>()).set(column, text));
}

function parsed(markdown: string): Table {
  const lines = markdown.split("\n").filter((line) => line.startsWith("|"));
  const rows = lines.map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  const table: Table = new Map();
  const [[, ...columns] = [], , ...others] = rows;
  for (const [row = "", ...cells] of others)
    for (const [index, cell] of cells.entries()) put(table, row, columns[index] ?? "", cell);
  return table;
}

/** Disks first, in the order of the lab; kernels from old to new. */
function formatted(table: Table): string {
  const place = (row: string): number => {
    const index = diskNames.indexOf(row as DiskName);
    if (row === RUN) return -1;
    return index === -1 ? diskNames.length : index;
  };
  const rows = [...table].sort(([a], [b]) => place(a) - place(b) || a.localeCompare(b));
  const columns = [...new Set(rows.flatMap(([, cells]) => [...cells.keys()]))];
  columns.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  return [
    `| | ${columns.join(" | ")} |`,
    `| --- | ${columns.map(() => "---").join(" | ")} |`,
    ...rows.map(
      ([row, cells]) =>
        `| ${row} | ${columns.map((column) => cells.get(column) ?? "").join(" | ")} |`,
    ),
  ].join("\n");
}

/** The disk that a test names, or what its file is about. */
function rowOf(file: string, name: string): string {
  const named = diskNames.filter((disk) => name.startsWith(disk));
  const disk = named.sort((a, b) => b.length - a.length)[0];
  if (disk !== undefined) return disk;
  const topic = file.replace(/^.*\//, "").replace(/\.ts$/, "").replaceAll("_", " ");
  // Groups of kernel_disks.ts are named for their disks.
  return topic === "kernel disks" ? (name.split(" > ")[0] ?? topic) : topic;
}

function cellOf({ passed, failed, skipped }: Tally): string {
  const parts = [`${passed}`];
  if (failed > 0) parts.push(`**${failed} failed**`);
  if (skipped > 0) parts.push(`${skipped} skipped`);
  return parts.join(", ");
}
