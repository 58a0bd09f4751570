// Reads the JUnit report of `bun test`: if bun takes the reader for a program, its output omits skipped tests.

import { type Case, NO_REASON } from "./counts.ts";

const ENTITIES: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };

function unescaped(text: string): string {
  return text.replace(/&(#x?)?(\w+);/g, (_, numeric: string | undefined, name: string) => {
    if (numeric === undefined) return ENTITIES[name] ?? "";
    return String.fromCodePoint(Number.parseInt(name, numeric === "#x" ? 16 : 10));
  });
}

function attribute(tag: string, name: string): string {
  return unescaped(new RegExp(` ${name}="([^"]*)"`).exec(tag)?.[1] ?? "");
}

/** `testUnless` and `describeUnless` (test/support/conditions.ts) put the reason there. */
const REASON = / ?\[skipped: ([^\]]*)\]/;

/** The first reason in a name, and the name without reasons. */
export function reasonIn(name: string): { reason: string | undefined; bare: string } {
  return { reason: REASON.exec(name)?.[1], bare: name.replaceAll(new RegExp(REASON, "g"), "") };
}

/** The tests of a report, in its order. */
export function readReport(xml: string): Case[] {
  const cases: Case[] = [];
  const groups: string[] = [];
  let reason: string | undefined;
  for (const [tag, end, element, closed] of xml.matchAll(
    /<(\/?)(testsuite|testcase|skipped|failure|error)\b[^>]*?(\/?)>/g,
  )) {
    const last = cases.at(-1);
    if (element === "testsuite") {
      if (end === "/") groups.pop();
      else if (closed !== "/") groups.push(attribute(tag, "name"));
    } else if (end === "/") {
      // Of a test: the next one begins by itself.
    } else if (element === "testcase") {
      const [file = "", ...names] = [...groups, attribute(tag, "name")];
      const parts = reasonIn(names.join(" > "));
      reason = parts.reason;
      const assertions = Number(attribute(tag, "assertions"));
      cases.push({ file, name: parts.bare, skipped: undefined, failed: false, assertions });
    } else if (last !== undefined && element === "skipped") {
      last.skipped = reason ?? NO_REASON;
    } else if (last !== undefined) {
      last.failed = true;
    }
  }
  return cases;
}
