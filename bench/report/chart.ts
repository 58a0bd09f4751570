// The throughput rows as an SVG: a panel each, groups of bars by depth, whiskers from the worst to
// the best round. Linear from zero, so that a bar's length is its figure. The colours follow the
// reader's light or dark setting.

import type { Results } from "../results.ts";
import type { Case, Row } from "../rows/row.ts";
import { summarize } from "../statistics.ts";

const PANEL = { width: 520, height: 250, left: 52, top: 34, right: 10, bottom: 26 } as const;
const COLUMNS = 2;
const HEADER = 64;
const FOOTER = 30;
const GRID_LINES = 4;

interface Ink {
  readonly light: string;
  readonly dark: string;
}

/** Told apart by lightness as well as by hue; ours is the strongest. */
const INKS: readonly { readonly name: string; readonly ink: Ink }[] = [
  { name: "bun-aio", ink: { light: "#d9480f", dark: "#ff8a4c" } },
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
    legend(width),
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
    INKS.map(({ ink }, index) => `.c${index}{fill:${ink[theme]}}`).join("");
  return [
    "<style>",
    "text{font:11px system-ui,sans-serif;fill:#1f2933}.head{font-size:15px;font-weight:600}",
    ".title{font-size:12px;font-weight:600}.small{font-size:10px}",
    ".end{text-anchor:end}.middle{text-anchor:middle}",
    ".paper{fill:#fff}.grid{stroke:#d5dbe1}.whisker{stroke:#1f2933}",
    inks("light"),
    "@media (prefers-color-scheme: dark){",
    "text{fill:#e4e8ec}.paper{fill:#0d1117}.grid{stroke:#30363d}.whisker{stroke:#e4e8ec}",
    inks("dark"),
    "}",
    "</style>",
  ].join("");
}

function legend(width: number): string {
  const step = Math.min(150, (width - 28) / INKS.length);
  return INKS.map(({ name }, index) => {
    const x = 14 + index * step;
    return (
      `<rect class="c${index}" x="${x}" y="38" width="10" height="10"/>` +
      `<text x="${x + 15}" y="47">${escapeXml(name)}</text>`
    );
  }).join("");
}

function panel(row: Row, results: Results, x: number, y: number): string {
  const top = niceCeiling(highest(row, results));
  const plotWidth = PANEL.width - PANEL.left - PANEL.right;
  const plotHeight = PANEL.height - PANEL.top - PANEL.bottom;
  const groupWidth = plotWidth / row.cases.length;
  const heightOf = (value: number): number => (value / top) * plotHeight;
  const parts = [
    `<g transform="translate(${x} ${y})">`,
    `<text class="title" x="${PANEL.left}" y="18">${escapeXml(row.title)}, ${row.metric.name}</text>`,
  ];
  for (let line = 0; line <= GRID_LINES; line += 1) {
    const value = (top * line) / GRID_LINES;
    const lineY = round(PANEL.top + plotHeight - heightOf(value));
    parts.push(
      `<line class="grid" x1="${PANEL.left}" x2="${PANEL.width - PANEL.right}" ` +
        `y1="${lineY}" y2="${lineY}"/>`,
      `<text class="small end" x="${PANEL.left - 6}" y="${lineY + 3}">${axis(value)}</text>`,
    );
  }
  row.cases.forEach((one, index) => {
    const groupX = PANEL.left + index * groupWidth;
    parts.push(
      ...bars(row, one, results, groupX, groupWidth, PANEL.top + plotHeight, heightOf),
      `<text class="middle" x="${round(groupX + groupWidth / 2)}" ` +
        `y="${PANEL.height - PANEL.bottom + 16}">${escapeXml(one.label)}</text>`,
    );
  });
  parts.push("</g>");
  return parts.join("");
}

function bars(
  row: Row,
  one: Case,
  results: Results,
  groupX: number,
  groupWidth: number,
  floor: number,
  heightOf: (value: number) => number,
): string[] {
  const barWidth = (groupWidth * 0.86) / one.contestants.length;
  return one.contestants.flatMap(({ name }, index) => {
    const summary = summarize(results.values(row, one, name));
    if (summary === undefined) return [];
    const ink = INKS.findIndex((candidate) => candidate.name === name);
    const x = groupX + groupWidth * 0.07 + index * barWidth;
    const middle = round(x + (barWidth - 2) / 2);
    const height = heightOf(summary.median);
    return [
      `<rect class="c${ink}" x="${round(x)}" y="${round(floor - height)}" ` +
        `width="${round(barWidth - 2)}" height="${round(height)}"><title>${escapeXml(name)}, ` +
        `${escapeXml(one.label)}: ${row.metric.format(summary.median)}</title></rect>`,
      `<line class="whisker" x1="${middle}" x2="${middle}" ` +
        `y1="${round(floor - heightOf(summary.least))}" ` +
        `y2="${round(floor - heightOf(summary.most))}"/>`,
    ];
  });
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
