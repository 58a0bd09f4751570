// The files of the suite: what runs once for each backend.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { root } from "./command.ts";

/** Their paths, from the project's folder on. */
export function suiteFiles(): string[] {
  return readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".test.ts"))
    .sort()
    .map((name) => `./test/${name}`);
}
