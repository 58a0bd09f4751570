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

export class Matrix {
  readonly #columns: string[] = [];
  readonly #rows = new Map<string, Map<string, Tally>>();

  /** What a file of tests did on a kernel and backend. */
  add(kernel: string, backend: string, cases: readonly Case[]): void {
    const column = `${kernel} ${backend}`;
    if (!this.#columns.includes(column)) this.#columns.push(column);
    for (const { file, name, skipped, failed } of cases) {
      const row = rowOf(file, name);
      const cells = this.#rows.get(row) ?? new Map<string, Tally>();
      const tally = cells.get(column) ?? { passed: 0, failed: 0, skipped: 0 };
      if (skipped !== undefined) tally.skipped++;
      else if (failed) tally.failed++;
      else tally.passed++;
      this.#rows.set(row, cells.set(column, tally));
    }
  }

  /** Markdown; disks first, in the order of the lab. */
  toString(): string {
    const order = (row: string): number => {
      const index = diskNames.indexOf(row as DiskName);
      return index === -1 ? diskNames.length : index;
    };
    const rows = [...this.#rows].sort(([a], [b]) => order(a) - order(b) || a.localeCompare(b));
    return [
      `| | ${this.#columns.join(" | ")} |`,
      `| --- | ${this.#columns.map(() => "---").join(" | ")} |`,
      ...rows.map(([row, cells]) => {
        const texts = this.#columns.map((column) => cellOf(cells.get(column)));
        return `| ${row} | ${texts.join(" | ")} |`;
      }),
    ].join("\n");
  }

  /** Replaces the table of docs/platforms.md. */
  record(): void {
    const path = join(root, "docs/platforms.md");
    const text = readFileSync(path, "utf8");
    const [before = "", rest = ""] = text.split(BEGIN);
    const [, after = ""] = rest.split(END);
    const commit = Bun.spawnSync(["git", "rev-parse", "--short", "HEAD"], { cwd: root });
    const date = new Date().toISOString().slice(0, 10);
    const line = `Run on ${date} at commit ${commit.stdout.toString().trim()}.`;
    writeFileSync(path, `${before}${BEGIN}\n${line}\n\n${this}\n${END}${after}`);
  }
}

/** The disk that a test names, or what its file is about. */
function rowOf(file: string, name: string): string {
  const named = diskNames.filter((disk) => name.startsWith(disk));
  const disk = named.sort((a, b) => b.length - a.length)[0];
  if (disk !== undefined) return disk;
  const topic = file.replace(/^.*\//, "").replace(/\.ts$/, "").replaceAll("_", " ");
  return topic === "kernel disks" ? (name.split(" > ")[0] ?? topic) : topic;
}

function cellOf(tally: Tally | undefined): string {
  if (tally === undefined) return "";
  const { passed, failed, skipped } = tally;
  const parts = [`${passed}`];
  if (failed > 0) parts.push(`**${failed} failed**`);
  if (skipped > 0) parts.push(`${skipped} skipped`);
  return parts.join(", ");
}
