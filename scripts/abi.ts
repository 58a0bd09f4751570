// Writes src/native/abi.gen.ts from the Zig declarations; `--check` only compares.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { zigBuild } from "./build.ts";

const root = dirname(import.meta.dir);
const committed = join(root, "src", "native", "abi.gen.ts");
zigBuild(["abi"]);
const fresh = readFileSync(join(root, "zig-out", "abi.gen.ts"), "utf8");
if (process.argv.includes("--check")) {
  if (readFileSync(committed, "utf8") !== fresh) {
    console.error("src/native/abi.gen.ts is stale: run `npm run abi` and commit the result.");
    process.exit(1);
  }
  console.log("src/native/abi.gen.ts is fresh");
} else {
  writeFileSync(committed, fresh);
  console.log("wrote src/native/abi.gen.ts");
}
