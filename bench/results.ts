// What was measured, by row, case and contestant, and what could not be.

import type { Contestant } from "./contestants/contestant.ts";
import type { Sample } from "./job.ts";
import type { Case, Row } from "./rows/row.ts";
import { summarize } from "./statistics.ts";

export interface Cell {
  readonly samples: Sample[];
  readonly failures: string[];
}

export class Results {
  readonly #cells = new Map<string, Cell>();
  readonly #skippedRows = new Map<string, string>();
  readonly #absentContestants = new Map<string, string>();

  cell(row: Row, one: Case, contestant: string): Cell {
    const key = JSON.stringify([row.name, one.label, contestant]);
    let cell = this.#cells.get(key);
    if (cell === undefined) {
      cell = { samples: [], failures: [] };
      this.#cells.set(key, cell);
    }
    return cell;
  }

  /** The figures of a row, one a round; empty where there are none. */
  values(row: Row, one: Case, contestant: string): number[] {
    return this.cell(row, one, contestant).samples.map((sample) => row.metric.of(sample));
  }

  median(row: Row, one: Case, contestant: string): number | undefined {
    return summarize(this.values(row, one, contestant))?.median;
  }

  skipRow(row: Row, reason: string): void {
    this.#skippedRows.set(row.name, reason);
  }

  skipContestant(contestant: Contestant, reason: string): void {
    this.#absentContestants.set(contestant.name, reason);
  }

  whySkipped(row: Row): string | undefined {
    return this.#skippedRows.get(row.name);
  }

  whyAbsent(contestant: Contestant): string | undefined {
    return this.#absentContestants.get(contestant.name);
  }

  /** One line for everything that was left out. */
  omissions(): string[] {
    return [
      ...[...this.#skippedRows].map(([row, reason]) => `row ${row} was SKIPPED: ${reason}`),
      ...[...this.#absentContestants].map(([name, reason]) => `${name} was SKIPPED: ${reason}`),
    ];
  }
}
