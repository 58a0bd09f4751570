// Preload of `bun test` (bunfig.toml).

import { setDefaultTimeout } from "bun:test";
import { ensureLibrary } from "./build.ts";

// Generous: what hangs fails late, and a loaded machine fails nothing. bunfig.toml has no such key.
setDefaultTimeout(60_000);

if (process.env["BUN_AIO_LIBRARY"] === undefined) {
  ensureLibrary({}, (line) => console.error(line));
}
