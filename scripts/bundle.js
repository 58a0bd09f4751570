// `bun scripts/bundle.js`: what the package runs, in dist/: some forty files that Bun neither compiles nor looks for one
// by one, instead of 180 sources. Importing them takes two thirds of the time. Nothing is minified: stacks can be read.

import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { rolldown } from "rolldown";

const root = dirname(import.meta.dirname);
const src = join(root, "src");
const dist = join(root, "dist");

/** Not bundled: finds the package's files from where it lies. */
const EMBEDDED = "native/embedded.ts";
const INDEX = "index.ts";

/** What index.ts loads when it is needed. */
const later = Array.from(
  readFileSync(join(src, INDEX), "utf8").matchAll(/\brequire\("\.\/(.+)\.ts"\)/g),
  ([, name = ""]) => name,
);
if (later.length === 0)
  throw new Error(`${INDEX} loads nothing later: is it written in another way?`);
const entries = ["index", "testing/index", "cli/main", ...later];

/**
 * `require` has to be in the output as it is in the source, so that the bundler of a program follows it: it passes under
 * a name that this bundler does not know.
 * @type {import("rolldown").Plugin}
 */
const plugin = {
  name: "bun-aio",
  resolveId: (id) =>
    id.endsWith("/embedded.ts") ? { id: `./${EMBEDDED}`, external: true } : undefined,
  transform: (code, id) =>
    id === join(src, INDEX)
      ? code.replaceAll(/\brequire\("(.+)\.ts"\)/g, 'requireLater("$1.js")')
      : undefined,
};

/**
 * A file of dist/, from what was bundled. Bun compiles index.js, which makes `require` known; what the library is found
 * by is looked for at once, not when all that imports it has been parsed. Bun takes all others as they are, by their first
 * line; as Latin-1, so that they are ASCII.
 * @param {string} name
 * @param {string} code
 */
function shipped(name, code) {
  if (name === "index.js") {
    return `import "./${EMBEDDED}";\n${code.replaceAll("requireLater(", "require(")}`;
  }
  const [first = ""] = /^#!.*\n/.exec(code) ?? [];
  return `${first}// @bun\n${inAscii(code.slice(first.length))}`;
}

/**
 * Only strings and patterns have other characters.
 * @param {string} code
 */
function inAscii(code) {
  return code.replace(
    /[^\0-\x7f]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** What an earlier build left; declarations stay. */
function removeOld() {
  for (const name of readdirSync(dist, { recursive: true, encoding: "utf8" })) {
    if (name.endsWith(".js")) rmSync(join(dist, name));
  }
}

const bundle = await rolldown({
  cwd: src,
  input: Object.fromEntries(entries.map((name) => [name, join(src, `${name}.ts`)])),
  platform: "node",
  external: /^(node:|bun:|cli-progress$)/,
  plugins: [plugin],
  onLog(_, { message }) {
    throw new Error(message);
  },
});
const { output } = await bundle.generate({ chunkFileNames: "[name].js", comments: false });
await bundle.close();
mkdirSync(join(dist, dirname(EMBEDDED)), { recursive: true });
removeOld();
copyFileSync(join(src, EMBEDDED), join(dist, EMBEDDED));
for (const file of output) {
  if (file.type !== "chunk") throw new Error(`unexpected: ${file.fileName}`);
  mkdirSync(dirname(join(dist, file.fileName)), { recursive: true });
  writeFileSync(join(dist, file.fileName), shipped(file.fileName, file.code));
}
