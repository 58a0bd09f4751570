// Progress on stderr: a bar on a terminal, a line from time to time elsewhere.

import { SingleBar } from "cli-progress";
import { tellProgressWith } from "./signals.ts";
import { isLive, lineBegun, say } from "./terminal.ts";
import { formatRate, formatSeconds, formatSize } from "./units.ts";

export interface Step {
  /** "copy", "verify", ... A new phase starts a new bar. */
  readonly phase: string;
  readonly bytes: number;
  readonly total: number | undefined;
  readonly bytesPerSecond: number;
  readonly secondsLeft: number | undefined;
}

/** Interval of lines, in ms, where there is no terminal. */
const LINE_INTERVAL_MS = 2000;
/** Columns taken by everything but the bar. */
const TEXT_COLUMNS = 58;

export class Progress implements Disposable {
  readonly #mode: "bar" | "lines" | "none";
  #bar: SingleBar | undefined;
  #last: Step | undefined;
  #toldAt = -Infinity;
  #told: Step | undefined;

  /** Nothing is drawn once `stop` aborts: messages about stopping are printed below. */
  constructor(
    quiet: boolean,
    readonly stop: AbortSignal,
  ) {
    this.#mode = quiet ? "none" : isLive(process.stderr) ? "bar" : "lines";
  }

  update(step: Step): void {
    // Also if nothing is drawn: a signal may ask for it.
    tellProgressWith(() => text(step));
    if (this.stop.aborted) return;
    if (this.#last !== undefined && this.#last.phase !== step.phase) this.#finishPhase();
    this.#last = step;
    if (this.#mode === "bar") this.#draw(step);
    if (this.#mode === "lines") this.#line(step);
  }

  /** Leaves the last state on the screen. */
  [Symbol.dispose](): void {
    this.#finishPhase();
  }

  #finishPhase(): void {
    this.#endBar();
    const last = this.#last;
    if (this.#mode === "lines" && !this.stop.aborted && last !== undefined && this.#told !== last)
      say(text(last));
    this.#last = undefined;
    this.#toldAt = -Infinity;
  }

  #endBar(): void {
    if (this.#bar === undefined) return;
    this.#bar.stop();
    this.#bar = undefined;
    lineBegun(undefined);
  }

  #draw(step: Step): void {
    const { total, bytes } = step;
    if (this.#bar === undefined) {
      const columns = process.stderr.columns || 80;
      this.#bar = new SingleBar({
        format: total === undefined ? "{text}" : "{phase} {bar} {text}",
        stream: process.stderr,
        barsize: Math.min(40, Math.max(8, columns - TEXT_COLUMNS)),
        barCompleteChar: "█",
        barIncompleteChar: "░",
        hideCursor: true,
        // It would exit on signals that must be ignored, too.
        gracefulExit: false,
      });
      // Messages meanwhile are printed below it; the next step starts a new bar.
      lineBegun(() => this.#endBar());
      this.#bar.start(Math.max(1, total ?? 1), 0, { phase: step.phase, text: "" });
    }
    const words = total === undefined ? text(step) : text(step).slice(step.phase.length + 1);
    // An empty copy is a complete one.
    this.#bar.update(total === 0 ? 1 : bytes, { phase: step.phase, text: words });
  }

  #line(step: Step): void {
    const now = performance.now();
    // #finishPhase reports the end of a phase.
    if (this.#toldAt === -Infinity) this.#toldAt = now;
    if (now - this.#toldAt < LINE_INTERVAL_MS) return;
    this.#toldAt = now;
    this.#told = step;
    say(text(step));
  }
}

function text({ phase, bytes, total, bytesPerSecond, secondsLeft }: Step): string {
  const rate = formatRate(bytesPerSecond);
  if (total === undefined) return `${phase} ${formatSize(bytes)} ${rate}`;
  const share = total === 0 ? 100 : Math.floor((bytes / total) * 100);
  const left =
    secondsLeft === undefined || bytes >= total ? "" : ` ${formatSeconds(secondsLeft)} left`;
  return `${phase} ${share}% ${formatSize(bytes)} of ${formatSize(total)} ${rate}${left}`;
}
