// Puts a run where readers look: the chart and six figures into README.md, everything into docs/.

import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { Results } from "../results.ts";
import type { Row } from "../rows/row.ts";
import { chart } from "./chart.ts";
import type { RunFacts } from "./json.ts";
import { machineLine } from "./machine.ts";
import { headlinesMarkdown, markdown } from "./markdown.ts";

const repository = dirname(dirname(import.meta.dirname));
const BEGIN = "<!-- bench:begin -->";
const END = "<!-- bench:end -->";

export async function publish(
  rows: readonly Row[],
  results: Results,
  facts: RunFacts,
): Promise<void> {
  const machine = machineLine(facts.machine);
  const caption = `Medians of ${facts.rounds} rounds. ${machine}`;
  await writeFile(join(repository, "docs", "benchmark.svg"), chart(rows, results, caption));
  const everything = `# The benchmark, as measured\n\nWritten by \`npm run bench -- --publish\`.\n\n`;
  const page = everything + markdown(rows, results, facts);
  await writeFile(join(repository, "docs", "benchmark.md"), page);
  const block = [
    "![Reads a second and MiB a second, by depth](docs/benchmark.svg)",
    headlinesMarkdown(rows, results),
    `${machine}; medians of ${facts.rounds} interleaved rounds. All rows, ranges, processor time, memory, and what was ` +
      "to be reached and was missed: [docs/benchmark.md](docs/benchmark.md). Where the time goes: " +
      "[docs/performance.md](docs/performance.md).",
  ].join("\n\n");
  await replaceBlock(join(repository, "README.md"), block);
}

async function replaceBlock(path: string, block: string): Promise<void> {
  const text = await readFile(path, "utf8");
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (begin === -1 || end < begin) throw new Error(`README.md has no ${BEGIN} ... ${END}`);
  const after = `${text.slice(0, begin + BEGIN.length)}\n${block}\n${text.slice(end)}`;
  await writeFile(path, after);
}
