// Preload of `bun test` (bunfig.toml).
import { ensureLibrary } from "./build.ts";

if (process.env["BUN_AIO_LIBRARY"] === undefined) {
  ensureLibrary({}, (line) => console.error(line));
}
