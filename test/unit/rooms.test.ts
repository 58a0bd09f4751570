// Rooms: each folder of zig/ imports only from those before it in the list of docs/architecture.md. For src/ Biome
// checks the same, and that no imports go in a circle (biome.json).

import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const root = dirname(dirname(import.meta.dir));
/** `api.zig`, `ring.zig` and the rest at the top stand above all of them. */
const ROOMS = ["os", "engine", "lanes", "device", "fake"];
/** Programs of their own, which import the library as one module. */
const PROGRAMS = ["fuzz", "test"];
const TOP = ["abi.zig", "api.zig", "core.zig", "gen_abi.zig", "ring.zig", "root.zig"];
const LINES_MAX = 600;

function files(folder: string, ending: string): string[] {
  const found = readdirSync(join(root, folder), { recursive: true, encoding: "utf8" });
  return found.filter((name) => name.endsWith(ending)).map((name) => join(folder, name));
}

test("the root of zig/ shows the interface, the ring and the folders", () => {
  const entries = readdirSync(join(root, "zig"), { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const top = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  expect(folders.sort()).toEqual([...ROOMS, ...PROGRAMS].sort());
  expect(top.sort()).toEqual(TOP);
});

test("rooms of zig/ import only from those before them", () => {
  const wrong: string[] = [];
  let seen = 0;
  for (const path of files("zig", ".zig")) {
    const [, room = ""] = path.split("/");
    const place = ROOMS.indexOf(room);
    if (place === -1) continue;
    for (const [, name = ""] of readFileSync(join(root, path), "utf8").matchAll(
      /@import\("([^"]+\.zig)"\)/g,
    )) {
      seen++;
      const target = join(dirname(path), name);
      const [, other = ""] = target.split("/");
      if (target === "zig/abi.zig") continue;
      const at = ROOMS.indexOf(other);
      if (at === -1 || at > place) wrong.push(`${path} -> ${target}`);
    }
  }
  expect(wrong).toEqual([]);
  expect(seen).toBeGreaterThan(100);
});

test("no file is longer than one can read at a sitting", () => {
  const long = [...files("src", ".ts"), ...files("zig", ".zig")].filter(
    (path) => readFileSync(join(root, path), "utf8").split("\n").length > LINES_MAX,
  );
  expect(long).toEqual([]);
});

test("what a file exports is there when it is loaded: nothing fills it in later", () => {
  const sources = files("src", ".ts");
  expect(sources.length).toBeGreaterThan(100);
  const later = sources.filter((path) =>
    /^export (let|var)\b|^\s+static \{/m.test(readFileSync(join(root, path), "utf8")),
  );
  expect(later).toEqual([]);
});
