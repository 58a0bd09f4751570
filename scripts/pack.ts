// `prepack` of `npm pack` and `npm publish`: the library for every platform into native/, declarations
// into dist/. Everything else in the tarball is as it stands in the repository.

import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { zigBuild } from "./build.ts";

const root = dirname(import.meta.dir);

/** The libraries of all platforms, in native/<platform>-<arch>/. */
export function packNative(): void {
  zigBuild(["package"]);
  cpSync(join(root, "zig-out", "package"), join(root, "native"), { recursive: true });
}

/** Declarations of src/, in dist/. */
export function packTypes(): void {
  const dist = join(root, "dist");
  rmSync(dist, { recursive: true, force: true });
  const tsc = Bun.spawnSync([process.execPath, "x", "tsc", "-p", "tsconfig.build.json"], {
    cwd: root,
    stdout: "pipe",
    stderr: "pipe",
  });
  if (tsc.exitCode !== 0) throw new Error(`tsc failed:\n${tsc.stdout}${tsc.stderr}`);
  for (const name of readdirSync(dist, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".d.ts")) continue;
    // The compiler leaves the extension of what it was given; others only know `.js` for it.
    const text = readFileSync(join(dist, name), "utf8");
    writeFileSync(join(dist, name), text.replace(/(["']\.{1,2}\/[^"']+)\.ts(["'])/g, "$1.js$2"));
  }
}

if (import.meta.main) {
  packNative();
  packTypes();
}
