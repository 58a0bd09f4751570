// Progress on stderr: a bar on a terminal, a line from time to time elsewhere.

import type { MultiBar, SingleBar } from "cli-progress";
import type { Progress as LibraryProgress } from "../file/progress.ts";
import { tellProgressWith } from "./signals.ts";
import { isLive, lineBegun, say } from "./terminal.ts";
import { formatClock, formatPart, formatRate, formatSeconds, formatSize } from "./units.ts";

export interface Step extends Omit<LibraryProgress, "phase"> {
  /** "copy", "verify", ... A new phase starts a new bar. */
  readonly phase: string;
  /** The part that is done, from 0 to 1, where it is not that of the bytes. */
  readonly share?: number | undefined;
  /** Seconds since the beginning, where the time is what counts, and how many there will be. */
  readonly time?: { readonly seconds: number; readonly total: number };
}

/** Interval of lines, in ms, where there is no terminal. */
const LINE_INTERVAL_MS = 2000;
const BAR_COLUMNS_MAX = 40;
const BAR_COLUMNS_MIN = 6;
/** Columns of "verify", so that the bars of all phases stand below each other. */
const PHASE_COLUMNS = 6;
/** Columns of the longest size and rate: "1023 KiB", "1023 KiB/s". */
const SIZE_COLUMNS = 8;
const RATE_COLUMNS = 10;

interface Row {
  bar: SingleBar | undefined;
  last: Step | undefined;
  told: Step | undefined;
  toldAt: number;
}

export class Progress implements Disposable {
  /** On a terminal. */
  readonly #makeBars: (() => MultiBar) | undefined;
  readonly #hasLines: boolean;
  readonly #rows: readonly Row[];
  #bars: MultiBar | undefined;

  /**
   * For `count` operations at once, each with a row. Nothing is drawn once `stop` aborts: messages about stopping are
   * printed below.
   */
  static async begin(quiet: boolean, stop: AbortSignal, count = 1): Promise<Progress> {
    return new Progress(quiet, stop, count, await barsHere(quiet));
  }

  private constructor(
    quiet: boolean,
    readonly stop: AbortSignal,
    count: number,
    makeBars: (() => MultiBar) | undefined,
  ) {
    this.#makeBars = makeBars;
    this.#hasLines = !quiet && makeBars === undefined;
    this.#rows = Array.from({ length: count }, () => ({
      ...{ bar: undefined, last: undefined, told: undefined, toldAt: -Infinity },
    }));
  }

  update(step: Step, index = 0): void {
    const row = this.#rows[index];
    if (row === undefined) return;
    const before = row.last;
    // One operation leaves the bar of its last phase on the screen.
    if (before !== undefined && before.phase !== step.phase && !this.stop.aborted) {
      if (this.#rows.length === 1) this.#finish();
      else if (this.#hasLines) this.#sayLast(row);
    }
    row.last = step;
    // Also if nothing is drawn: a signal may ask for it.
    tellProgressWith(() => this.#rows.flatMap(({ last }) => (last ? [text(last)] : [])).join("\n"));
    if (this.stop.aborted) return;
    if (this.#makeBars !== undefined) this.#draw(row, step, this.#makeBars);
    if (this.#hasLines) this.#line(row, step);
  }

  /** Leaves the last state on the screen. */
  [Symbol.dispose](): void {
    this.#finish();
  }

  #finish(): void {
    this.#endBars();
    for (const row of this.#rows) {
      if (this.#hasLines && !this.stop.aborted) this.#sayLast(row);
      row.last = undefined;
    }
  }

  #sayLast(row: Row): void {
    const { last, told } = row;
    if (last !== undefined && told !== last) say(text(last));
    row.toldAt = -Infinity;
  }

  #endBars(): void {
    if (this.#bars === undefined) return;
    this.#bars.stop();
    this.#bars = undefined;
    for (const row of this.#rows) row.bar = undefined;
    lineBegun(undefined);
  }

  #draw(row: Row, step: Step, makeBars: () => MultiBar): void {
    if (this.#bars === undefined) {
      this.#bars = makeBars();
      // Messages meanwhile are printed below it; the next step starts new bars.
      lineBegun(() => this.#endBars());
      for (const other of this.#rows) {
        if (other.last !== undefined) other.bar = this.#bars.create(1, 0, { step: other.last });
      }
    }
    row.bar ??= this.#bars.create(1, 0, { step });
    row.bar.update(0, { step });
  }

  #line(row: Row, step: Step): void {
    const now = performance.now();
    // #finish reports the end of a phase.
    if (row.toldAt === -Infinity) row.toldAt = now;
    if (now - row.toldAt < LINE_INTERVAL_MS) return;
    row.toldAt = now;
    row.told = step;
    say(text(step));
  }
}

/** What makes bars, where they are wanted: the library takes 25 ms to load. */
async function barsHere(quiet: boolean): Promise<(() => MultiBar) | undefined> {
  if (quiet || !isLive(process.stderr)) return undefined;
  const { MultiBar } = await import("cli-progress");
  return () =>
    new MultiBar({
      // Called for each frame: it follows the width of the terminal.
      format: (_options, _params, payload: { step: Step }) =>
        barLine(payload.step, process.stderr.columns || 80),
      stream: process.stderr,
      hideCursor: true,
      // It would exit on signals that must be ignored, too.
      gracefulExit: false,
    });
}

/** What is shown of a step, one column each. */
interface Columns {
  readonly share: number | undefined;
  readonly amount: string;
  /** The amount in few columns. */
  readonly amountShort: string;
  readonly rate: string;
  readonly secondsLeft: number | undefined;
}

function columnsOf(step: Step): Columns {
  const { bytes, total, time, secondsLeft } = step;
  // An empty copy is a complete one.
  const ofBytes = total === undefined ? undefined : total === 0 ? 1 : bytes / total;
  const share = time === undefined ? (step.share ?? ofBytes) : time.seconds / time.total;
  const rate = formatRate(step.bytesPerSecond);
  const left = share === undefined || share >= 1 || time !== undefined ? undefined : secondsLeft;
  const shown = { share, rate, secondsLeft: left };
  if (time !== undefined) {
    const amount = `${formatSeconds(time.seconds)} of ${formatSeconds(time.total)}`;
    return { ...shown, amount, amountShort: amount };
  }
  const amount = formatSize(bytes);
  if (total === undefined) return { ...shown, amount, amountShort: amount };
  const amountShort = formatPart(bytes, total);
  return { ...shown, amount: `${amount} of ${formatSize(total)}`, amountShort };
}

function text(step: Step): string {
  const { share, amount, rate, secondsLeft } = columnsOf(step);
  const left = secondsLeft === undefined ? [] : [`${formatSeconds(secondsLeft)} left`];
  return [step.phase, ...percentOf(share), amount, rate, ...left].join(" ");
}

/**
 * A line with a bar, in columns that stay where they are. In a narrow terminal the columns are narrower; then the bar is
 * left out, at last the time that is left.
 */
function barLine(step: Step, width: number): string {
  const { share, amount, amountShort, rate, secondsLeft } = columnsOf(step);
  if (share === undefined) return [step.phase, amount, rate].join(" ").slice(0, width);
  const percent = percentOf(share).map((words) => words.padStart(4));
  const whole = step.total === undefined ? "" : formatSize(step.total);
  const rateColumn = rate.padStart(RATE_COLUMNS);
  const longColumn = amount.padEnd(
    SIZE_COLUMNS + (whole === "" ? 0 : " of ".length + whole.length),
  );
  const shortColumn = amountShort.padEnd(whole === "" ? 0 : "1023/".length + whole.length);
  const timeLeft = secondsLeft === undefined ? "" : `${formatSeconds(secondsLeft)} left`;
  const clock = secondsLeft === undefined ? "" : formatClock(secondsLeft);
  const phase = step.phase.padStart(PHASE_COLUMNS);
  for (const [amounts, left, leftColumns] of [
    [longColumn, timeLeft, "59 min 59 s left".length],
    [shortColumn, clock, "59:59".length],
  ] as const) {
    const words = [...percent, amounts, rateColumn].join(" ");
    const room = width - phase.length - words.length - leftColumns - 3;
    if (room < BAR_COLUMNS_MIN) continue;
    const columns = Math.min(BAR_COLUMNS_MAX, room);
    const done = Math.round(columns * Math.min(1, share));
    const bar = "█".repeat(done) + "░".repeat(columns - done);
    return `${phase} ${bar} ${words} ${left}`.trimEnd();
  }
  const short = [step.phase, ...percentOf(share), amountShort, rate];
  const lines = [text(step), [...short, clock].join(" ").trimEnd(), short.join(" ")];
  return lines.find((line) => line.length <= width) ?? short.join(" ").slice(0, width);
}

function percentOf(share: number | undefined): string[] {
  return share === undefined ? [] : [`${Math.min(100, Math.floor(share * 100))}%`];
}
