// `expect(...).rejects` and `.resolves` that nobody awaits assert nothing: the test is over before they look. The linter
// does not see them, because bun-types say that they return nothing; other promises it does (noFloatingPromises).

import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "..", "..");

/** Lines of statements that begin with such an expectation: our formatter lets every statement begin a line. */
function forgotten(text: string): number[] {
  const found: number[] = [];
  for (const { index, 0: begin } of text.matchAll(/^ *(?:void )?expect\(/gm)) {
    const end = closing(text, index + begin.length);
    if (!/^\s*\.(not\.)?(rejects|resolves)\b/.test(text.slice(end))) continue;
    found.push(text.slice(0, index).split("\n").length);
  }
  return found;
}

/** Behind the parenthesis that closes the one before `from`. */
function closing(text: string, from: number): number {
  // Strings, templates and comments count as a whole.
  const tokens = /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|\/\/.*|[()]/g;
  tokens.lastIndex = from;
  let depth = 1;
  for (let token = tokens.exec(text); token !== null; token = tokens.exec(text)) {
    if (token[0] === "(") depth++;
    else if (token[0] === ")") depth--;
    if (depth === 0) return tokens.lastIndex;
  }
  return text.length;
}

test("every expectation of a promise is awaited", () => {
  const places: string[] = [];
  for (const folder of ["test", "examples", "bench", "scripts"]) {
    for (const name of readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })) {
      if (!name.endsWith(".ts")) continue;
      for (const line of forgotten(readFileSync(join(root, folder, name), "utf8"))) {
        places.push(`${folder}/${name}:${line}`);
      }
    }
  }
  expect(places).toEqual([]);
});

test("it finds them, over one line and over several", () => {
  const one = "expect(a()).rejects.toThrow();";
  const several = "  expect(\n    a({\n      b,\n    }),\n  ).resolves.toBe(\n    1,\n  );";
  const inside =
    "expect(a()).not.toMatchObject({\n  b: 1,\n});\nawait expect(c()).rejects.toThrow();";
  const chained = "    expect(a())\n      .rejects.toThrow();";
  expect([one, several, inside, chained].map(forgotten)).toEqual([[1], [1], [], [1]]);
  expect(forgotten("await expect(a()).rejects.toThrow();")).toEqual([]);
  expect(forgotten("const b = expect(a()).rejects.toThrow();")).toEqual([]);
});
