// Preload of `bun test` (bunfig.toml).
import { loadShipped } from "../test/support/under_test.ts";
import { ensureLibrary } from "./build.ts";

// Empty is as good as unset, as in src/native/library.ts.
if ((process.env["BUN_AIO_LIBRARY"] ?? "") === "") {
  ensureLibrary({}, (line) => console.error(line));
}
loadShipped();
