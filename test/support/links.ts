// Links and pictures of Markdown pages that lead nowhere, as GitHub, the registry and editors resolve them.

import fs from "node:fs";
import { dirname, join, relative } from "node:path";

const FENCED = /^\s*```[\s\S]*?^\s*```/gm;
const LINK =
  /\]\(([^()\s]*)(?:\s+"[^"]*")?\)|^\[[^\]]+\]:\s*(\S+)|\b(?:src|srcset|href)="([^"]*)"/gm;

/** `page: link` for each relative link or `#anchor` of `pages`, paths from `root`, whose goal is not in `root`. */
export function brokenLinks(root: string, pages: readonly string[]): string[] {
  return pages.flatMap((page) =>
    linksOf(fs.readFileSync(join(root, page), "utf8"))
      .filter((link) => !leadsSomewhere(root, page, link))
      .map((link) => `${page}: ${link}`),
  );
}

function linksOf(text: string): string[] {
  const prose = text.replace(FENCED, "").replace(/`[^`\n]*`/g, "");
  return [...prose.matchAll(LINK)]
    .map(([, inline, reference, attribute]) => inline ?? reference ?? attribute ?? "")
    .filter((link) => !/^[a-z]+:/i.test(link));
}

function leadsSomewhere(root: string, page: string, link: string): boolean {
  const [path = "", anchor] = link.split("#", 2);
  const goal = path === "" ? join(root, page) : join(root, dirname(page), decodeURI(path));
  if (link === "" || relative(root, goal).startsWith("..") || !fs.existsSync(goal)) return false;
  if (anchor === undefined) return true;
  return goal.endsWith(".md") && anchorsOf(fs.readFileSync(goal, "utf8")).has(anchor);
}

/** What GitHub makes of headings: lower case, without punctuation, hyphens for spaces; the second of a kind has `-1`. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading = ""] of text.replace(FENCED, "").matchAll(/^#{1,6}\s+(.*?)\s*#*$/gm)) {
    const words = heading.replace(/\]\([^)]*\)/g, "").toLowerCase();
    const anchor = words.replace(/[^\p{L}\p{N}\p{M} _-]/gu, "").replaceAll(" ", "-");
    let unique = anchor;
    for (let n = 1; anchors.has(unique); n++) unique = `${anchor}-${n}`;
    anchors.add(unique);
  }
  for (const [, name = ""] of text.matchAll(/\b(?:id|name)="([^"]+)"/g)) anchors.add(name);
  return anchors;
}
