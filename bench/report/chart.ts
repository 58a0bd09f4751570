// The throughput rows as an SVG: a panel each, a line for each contestant by depth, labelled at its end, whiskers from
// the worst to the best round. Linear from zero. The colours follow the reader's light or dark setting.

import type { Results } from "../results.ts";
import type { Row } from "../rows/row.ts";
import { type Summary, summarize } from "../statistics.ts";

const PANEL = { width: 560, height: 270, left: 52, top: 34, right: 128, bottom: 26 } as const;
const COLUMNS = 2;
const HEADER = 44;
const FOOTER = 30;
const GRID_LINES = 4;
/** Between the baselines of two labels. */
const LABEL_HEIGHT = 12;

interface Ink {
  readonly light: string;
  readonly dark: string;
}

/** Told apart by lightness as well as by hue; ours are the strongest. */
const INKS: readonly { readonly name: string; readonly ink: Ink }[] = [
  { name: "bun-aio", ink: { light: "#d9480f", dark: "#ff8a4c" } },
  { name: "bun-aio, BufferPool", ink: { light: "#f08c00", dark: "#ffd43b" } },
  { name: "fs.promises", ink: { light: "#5f6b7a", dark: "#9aa7b8" } },
  { name: "fs.readSync", ink: { light: "#aab4c0", dark: "#5d6875" } },
  { name: "bare loop", ink: { light: "#1864ab", dark: "#4dabf7" } },
  { name: "fio, batch = depth", ink: { light: "#2b8a3e", dark: "#69db7c" } },
  { name: "fio, batch = 1", ink: { light: "#8cc99a", dark: "#37804a" } },
];

export function chart(rows: readonly Row[], results: Results, caption: string): string {
  const panels = rows.filter((row) => row.charted && hasFigures(row, results));
  const columns = Math.min(COLUMNS, Math.max(1, panels.length));
  const width = columns * PANEL.width;
  const height = HEADER + Math.ceil(panels.length / columns) * PANEL.height + FOOTER;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" ` +
      `width="${width}" height="${height}" role="img" aria-label="bun-aio: throughput by depth">`,
    style(),
    `<rect class="paper" width="${width}" height="${height}"/>`,
    `<text class="head" x="14" y="24">bun-aio beside others: throughput by reads in flight</text>`,
    ...panels.map((row, index) =>
      panel(
        row,
        results,
        (index % columns) * PANEL.width,
        HEADER + Math.floor(index / columns) * PANEL.height,
      ),
    ),
    `<text class="small" x="14" y="${height - 12}">${escapeXml(caption)}</text>`,
    "</svg>",
    "",
  ].join("\n");
}

function style(): string {
  const inks = (theme: keyof Ink): string =>
    INKS.map(({ ink }, index) => `.c${index}{fill:${ink[theme]};stroke:${ink[theme]}}`).join("");
  return [
    "<style>",
    "text{font:11px system-ui,sans-serif;fill:#1f2933}.head{font-size:15px;font-weight:600}",
    ".title{font-size:12px;font-weight:600}.small{font-size:10px}",
    ".end{text-anchor:end}.middle{text-anchor:middle}",
    ".paper{fill:#fff}.grid{stroke:#d5dbe1}polyline.line{fill:none;stroke-width:2}.whisker{opacity:.5}",
    "text.label{stroke:none}",
    inks("light"),
    "@media (prefers-color-scheme: dark){",
    "text{fill:#e4e8ec}.paper{fill:#0d1117}.grid{stroke:#30363d}",
    inks("dark"),
    "}",
    "</style>",
  ].join("");
}

function panel(row: Row, results: Results, x: number, y: number): string {
  const top = niceCeiling(highest(row, results));
  const plotHeight = PANEL.height - PANEL.top - PANEL.bottom;
  const scale: Scale = {
    xOf: (index) => round(PANEL.left + ((index + 0.5) * plotWidth) / row.cases.length),
    yOf: (value) => round(PANEL.top + plotHeight * (1 - value / top)),
  };
  const all = seriesOf(row, results);
  return [
    `<g transform="translate(${x} ${y})">`,
    `<text class="title" x="${PANEL.left}" y="18">${escapeXml(row.title)}, ${row.metric.name}</text>`,
    ...grid(top, scale),
    ...row.cases.map(
      ({ label }, index) =>
        `<text class="middle" x="${scale.xOf(index)}" y="${PANEL.height - PANEL.bottom + 16}">` +
        `${escapeXml(label)}</text>`,
    ),
    ...all.map((series) => drawn(row, series, scale)),
    ...labels(all, scale),
    "</g>",
  ].join("");
}

const plotWidth = PANEL.width - PANEL.left - PANEL.right;

interface Scale {
  /** Of the case with this index. */
  xOf(index: number): number;
  yOf(value: number): number;
}

interface Point {
  /** Of the case. */
  readonly index: number;
  readonly label: string;
  readonly summary: Summary;
}

/** What one contestant reached. */
interface Series {
  readonly name: string;
  readonly ink: number;
  readonly points: readonly Point[];
}

function seriesOf(row: Row, results: Results): Series[] {
  const names = new Set(row.cases.flatMap((one) => one.contestants.map(({ name }) => name)));
  return [...names].map((name) => {
    const ink = INKS.findIndex((candidate) => candidate.name === name);
    if (ink === -1) throw new Error(`the chart has no ink for "${name}": give it one`);
    const points = row.cases.flatMap((one, index) => {
      const summary = summarize(results.values(row, one, name));
      return summary === undefined ? [] : [{ index, label: one.label, summary }];
    });
    return { name, ink, points };
  });
}

function grid(top: number, { yOf }: Scale): string[] {
  return Array.from({ length: GRID_LINES + 1 }, (_, line) => {
    const value = (top * line) / GRID_LINES;
    return (
      `<line class="grid" x1="${PANEL.left}" x2="${PANEL.width - PANEL.right}" ` +
      `y1="${yOf(value)}" y2="${yOf(value)}"/>` +
      `<text class="small end" x="${PANEL.left - 6}" y="${yOf(value) + 3}">${axis(value)}</text>`
    );
  });
}

function drawn(row: Row, { name, ink, points }: Series, { xOf, yOf }: Scale): string {
  const path = points.map(({ index, summary }) => `${xOf(index)},${yOf(summary.median)}`);
  const marks = points.map(({ index, label, summary }) => {
    const [x, y] = [xOf(index), yOf(summary.median)];
    const words = `${name}, ${label}: ${row.metric.format(summary.median)}`;
    return (
      `<line class="c${ink} whisker" x1="${x}" x2="${x}" y1="${yOf(summary.least)}" y2="${yOf(summary.most)}"/>` +
      `<circle class="c${ink}" cx="${x}" cy="${y}" r="3"><title>${escapeXml(words)}</title></circle>`
    );
  });
  return `<polyline class="c${ink} line" points="${path.join(" ")}"/>${marks.join("")}`;
}

interface Label {
  readonly name: string;
  readonly ink: number;
  readonly x: number;
  readonly y: number;
}

/** At the end of each line. */
function labels(all: readonly Series[], { xOf, yOf }: Scale): string[] {
  const ends = all.flatMap(({ name, ink, points }): Label[] => {
    const last = points.at(-1);
    if (last === undefined) return [];
    return [{ name, ink, x: xOf(last.index) + 8, y: yOf(last.summary.median) + 3 }];
  });
  return [...Map.groupBy(ends, ({ x }) => x).values()]
    .flatMap(movedApart)
    .map(
      ({ name, ink, x, y }) =>
        `<text class="c${ink} label" x="${x}" y="${round(y)}">${escapeXml(name)}</text>`,
    );
}

/** Where lines end close to each other. */
function movedApart(ends: readonly Label[]): Label[] {
  let above = -Infinity;
  const placed = ends
    .toSorted((a, b) => a.y - b.y)
    .map((end) => {
      above = Math.max(end.y, above + LABEL_HEIGHT);
      return { ...end, y: above };
    });
  // What was pushed below the axis pushes back.
  const beyond = Math.max(0, above - (PANEL.height - PANEL.bottom));
  return placed.map((label) => ({ ...label, y: label.y - beyond }));
}

function hasFigures(row: Row, results: Results): boolean {
  return highest(row, results) > 0;
}

function highest(row: Row, results: Results): number {
  const values = row.cases.flatMap((one) =>
    one.contestants.flatMap(({ name }) => results.values(row, one, name)),
  );
  return Math.max(0, ...values);
}

/** The next of 1, 2, 4, 8 times a power of ten: divisible by the four grid lines. */
function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  const factor = [1, 2, 4, 8, 10].find((candidate) => candidate * power >= value) ?? 10;
  return factor * power;
}

function axis(value: number): string {
  return value >= 10_000 ? `${value / 1000} k` : String(value);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
