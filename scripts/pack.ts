// `prepack` of `npm pack` and `npm publish`: the library for every platform into native/, declarations
// into dist/. Everything else in the tarball is as it stands in the repository.

import { cpSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { rolldown } from "rolldown";
import { dts } from "rolldown-plugin-dts";
import { zigBuild } from "./build.ts";

const root = dirname(import.meta.dir);

/** The libraries of all platforms, in native/<platform>-<arch>/. */
export function packNative(): void {
  zigBuild(["package"], "inherit");
  cpSync(join(root, "zig-out", "package"), join(root, "native"), { recursive: true });
}

/**
 * The declarations of the two entry points, in dist/. What both need, like `BlockDevice`, is in one place, so that it is
 * one type; what nobody can import has no file.
 */
export async function packTypes(): Promise<void> {
  const dist = join(root, "dist");
  rmSync(dist, { recursive: true, force: true });
  await using bundle = await rolldown({
    cwd: root,
    input: { index: "src/api.ts", "testing/index": "src/testing/index.ts" },
    plugins: [dts({ dtsOnly: true, generator: "oxc", tsconfig: "tsconfig.build.json" })],
    external: /^(node|bun):/,
    onLog(_, { message }) {
      throw new Error(message);
    },
  });
  await bundle.write({ dir: dist, chunkFileNames: "shared.d.ts" });
}

if (import.meta.main) {
  packNative();
  await packTypes();
}
