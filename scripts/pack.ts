// `prepack` of `npm pack` and `npm publish`: the library for every platform into native/, what runs and
// its declarations into dist/. Everything else in the tarball is as it stands in the repository.

import { cpSync } from "node:fs";
import { dirname, join } from "node:path";
import { zigBuild } from "./build.ts";

const root = dirname(import.meta.dir);

/** The libraries of all platforms, in native/<platform>-<arch>/. */
export function packNative(): void {
  zigBuild(["package"], "inherit");
  cpSync(join(root, "zig-out", "package"), join(root, "native"), { recursive: true });
}

/** What runs, in dist/. */
export function packRuntime(): void {
  runScript("bundle.js");
}

/** The declarations alone, in dist/. */
export function packTypes(): void {
  runScript("declarations.js");
}

function runScript(name: string): void {
  const made = Bun.spawnSync([process.execPath, `scripts/${name}`], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (made.exitCode !== 0) throw new Error(`scripts/${name} failed`);
}

if (import.meta.main) {
  packNative();
  packTypes();
  packRuntime();
}
