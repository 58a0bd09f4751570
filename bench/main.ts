// npm run bench: see --help, and README.md in this folder.

import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";

import { killRunning } from "./contestants/process.ts";
import { help, type Options, parseOptions } from "./options.ts";
import { chart } from "./report/chart.ts";
import { json, type RunFacts, warnings } from "./report/json.ts";
import { describeMachine, machineLine, readCpuTicks, stolenShare } from "./report/machine.ts";
import { markdown } from "./report/markdown.ts";
import { publish } from "./report/publish.ts";
import { barsTable, detailTable } from "./report/tables.ts";
import { textTable } from "./report/text.ts";
import { Results } from "./results.ts";
import { type Progress, runProgramme } from "./runner.ts";
import { Targets } from "./targets/targets.ts";

async function main(): Promise<number> {
  let options: Options;
  try {
    options = parseOptions(process.argv.slice(2));
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${help}`);
    return 2;
  }
  if (options.help) {
    console.log(help);
    return 0;
  }

  const machine = await describeMachine(tmpdir());
  console.log(machineLine(machine));

  const before = await readCpuTicks();
  const results = new Results();
  const progress = interruptible();
  {
    await using targets = new Targets(options.size);
    await runProgramme(options, targets, results, progress);
  }
  const facts: RunFacts = {
    machine,
    rounds: options.rounds,
    seconds: options.seconds,
    warmUpSeconds: options.warmUpSeconds,
    targetBytes: options.size,
    stolenShare: stolenShare(before, await readCpuTicks()),
  };
  await report(options, results, facts);
  if (progress.interrupted) return 130;
  return bunAioFailed(options, results) ? 1 : 0;
}

/** The first interrupt ends the run in order: the devices have to be detached. */
function interruptible(): Progress {
  const state = { interrupted: false, say: (line: string): void => console.log(line) };
  const interrupt = (): void => {
    state.interrupted = true;
    killRunning();
  };
  process.on("SIGINT", interrupt);
  process.on("SIGTERM", interrupt);
  process.on("SIGHUP", interrupt);
  return state;
}

async function report(options: Options, results: Results, facts: RunFacts): Promise<void> {
  const { rows } = options;
  for (const row of rows) console.log(textTable(detailTable(row, results)));
  const bars = barsTable(rows, results);
  if (bars.lines.length > 0) console.log(textTable(bars));
  for (const line of warnings(results, facts)) console.log(`!!! ${line}`);

  if (options.publish) await publish(rows, results, facts);
  if (options.json !== undefined) await writeFile(options.json, json(rows, results, facts));
  if (options.markdown !== undefined) {
    await writeFile(options.markdown, markdown(rows, results, facts));
  }
  if (options.svg !== undefined) {
    const caption = `Medians of ${facts.rounds} rounds. ${machineLine(facts.machine)}`;
    await writeFile(options.svg, chart(rows, results, caption));
  }
}

function bunAioFailed(options: Options, results: Results): boolean {
  return options.rows.some((row) =>
    row.cases.some((one) =>
      one.contestants.some(
        ({ name }) =>
          name.startsWith("bun-aio") && results.cell(row, one, name).failures.length > 0,
      ),
    ),
  );
}

process.exitCode = await main();
