// Draws latencies as an SVG: the share of operations that were faster than a given time. The horizontal axis counts
// nines (90 %, 99 %, 99.9 %), so that the slow tail has room; the vertical axis is logarithmic.

import { formatMicroseconds } from "./units.ts";

export interface Series {
  readonly name: string;
  /** In ascending order; `upTo` in microseconds. */
  readonly buckets: readonly { readonly upTo: number; readonly count: number }[];
  readonly marks: readonly { readonly name: string; readonly us: number }[];
}

export interface Chart {
  readonly title: string;
  readonly series: readonly Series[];
}

const WIDTH = 860;
const HEIGHT = 460;
const LEFT = 76;
const RIGHT = 24;
const TOP = 64;
const LEGEND_ROW = 20;
const TITLE_LETTERS = 100;

/** Blue and orange: distinguishable with any kind of colour vision, on white and on black. */
const COLOURS = ["#2f7fd1", "#d9730d"];

const NINES = [
  { share: 0, label: "0%" },
  { share: 0.5, label: "50%" },
  { share: 0.9, label: "90%" },
  { share: 0.99, label: "99%" },
  { share: 0.999, label: "99.9%" },
  { share: 0.9999, label: "99.99%" },
  { share: 0.99999, label: "99.999%" },
  { share: 0.999999, label: "99.9999%" },
] as const;

export function latencyChart({ title, series }: Chart): string {
  const bottom = HEIGHT - 56 - series.length * LEGEND_ROW;
  const scale = scaleFor(series, bottom);
  const body = [
    text(LEFT, 30, shortened(title), "title"),
    text(LEFT, 50, "share of operations (across) that took no longer than (up)", "note"),
    ...grid(scale, bottom),
    ...series.flatMap((one, index) => line(one, COLOURS[index] ?? "#888888", scale)),
    ...series.flatMap((one, index) => legend(one, COLOURS[index] ?? "#888888", bottom, index)),
  ];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${STYLE}</style>`,
    `<rect class="paper" width="${WIDTH}" height="${HEIGHT}"/>`,
    ...body,
    "</svg>",
    "",
  ].join("\n");
}

/** Keeps the end of the title: a path can be long, and what is measured comes last. */
function shortened(title: string): string {
  return title.length <= TITLE_LETTERS ? title : `...${title.slice(3 - TITLE_LETTERS)}`;
}

const STYLE =
  ".paper{fill:#fff}text{font:12px system-ui,sans-serif;fill:#333}" +
  ".title{font-size:14px;font-weight:600}.note{fill:#666}.grid{stroke:#ddd}" +
  ".curve{fill:none;stroke-width:2;stroke-linejoin:round}" +
  "@media(prefers-color-scheme:dark){.paper{fill:#161616}text{fill:#ddd}.note{fill:#aaa}.grid{stroke:#3a3a3a}}";

interface Scale {
  readonly x: (share: number) => number;
  readonly y: (us: number) => number;
  readonly shareMax: number;
  readonly usMin: number;
  readonly usMax: number;
}

/** 0.9 is one nine, 0.99 two. */
function nines(share: number): number {
  return -Math.log10(1 - share);
}

function scaleFor(series: readonly Series[], bottom: number): Scale {
  const all = series.flatMap(({ buckets }) => buckets);
  const count = Math.max(10, ...series.map(({ buckets }) => total(buckets)));
  // The last share that a single operation out of `count` can show.
  const shareMax = Math.min(0.999999, 1 - 1 / count);
  const values = all.map(({ upTo }) => upTo);
  const usMin = 10 ** Math.floor(Math.log10(Math.min(...values, 1000)));
  const usMax = 10 ** Math.ceil(Math.log10(Math.max(...values, usMin * 10)));
  const width = WIDTH - LEFT - RIGHT;
  const height = bottom - TOP;
  return {
    x: (share) => LEFT + (nines(Math.min(share, shareMax)) / nines(shareMax)) * width,
    y: (us) => bottom - (Math.log10(us / usMin) / Math.log10(usMax / usMin)) * height,
    shareMax,
    usMin,
    usMax,
  };
}

function total(buckets: Series["buckets"]): number {
  return buckets.reduce((sum, { count }) => sum + count, 0);
}

function grid({ x, y, shareMax, usMin, usMax }: Scale, bottom: number): string[] {
  const out: string[] = [];
  for (const { share, label } of NINES) {
    if (share > shareMax) continue;
    const at = round(x(share));
    out.push(`<line class="grid" x1="${at}" y1="${TOP}" x2="${at}" y2="${bottom}"/>`);
    out.push(text(at, bottom + 18, label, "", "middle"));
  }
  for (let us = usMin; us <= usMax * 1.001; us *= 10) {
    const at = round(y(us));
    out.push(`<line class="grid" x1="${LEFT}" y1="${at}" x2="${WIDTH - RIGHT}" y2="${at}"/>`);
    out.push(text(LEFT - 8, at + 4, formatMicroseconds(us), "", "end"));
  }
  return out;
}

/** Draws steps: the latency of a bucket holds from the share before it to the share with it. */
function line({ buckets }: Series, colour: string, { x, y }: Scale): string[] {
  const count = total(buckets);
  const points: string[] = [];
  let seen = 0;
  for (const { upTo, count: here } of buckets) {
    points.push(`${round(x(seen / count))},${round(y(upTo))}`);
    seen += here;
    points.push(`${round(x(seen / count))},${round(y(upTo))}`);
  }
  return [`<polyline class="curve" stroke="${colour}" points="${points.join(" ")}"/>`];
}

function legend({ name, marks }: Series, colour: string, bottom: number, index: number): string[] {
  const y = bottom + 46 + index * LEGEND_ROW;
  const words = marks.map((mark) => `${mark.name} ${formatMicroseconds(mark.us)}`).join("   ");
  return [
    `<rect x="${LEFT}" y="${y - 10}" width="12" height="12" rx="2" fill="${colour}"/>`,
    text(LEFT + 20, y, `${name}    ${words}`, ""),
  ];
}

function text(x: number, y: number, words: string, kind: string, anchor = "start"): string {
  const style = kind === "" ? "" : ` class="${kind}"`;
  return `<text x="${x}" y="${y}"${style} text-anchor="${anchor}" xml:space="preserve">${escaped(words)}</text>`;
}

function escaped(words: string): string {
  return words
    .replace(/\p{Cc}/gu, "?")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
