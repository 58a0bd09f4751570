// `bun scripts/declarations.js`: the declarations of the two entry points, in dist/. What both need, like `BlockDevice`,
// is in one place, so that it is one type; what nobody can import has no file. For scripts/pack.ts, which loads without
// these tools.

import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { rolldown } from "rolldown";
import { dts } from "rolldown-plugin-dts";

const root = dirname(import.meta.dir);
const dist = join(root, "dist");
rmSync(dist, { recursive: true, force: true });
const bundle = await rolldown({
  cwd: root,
  input: { index: "src/api.ts", "testing/index": "src/testing/index.ts" },
  plugins: [dts({ dtsOnly: true, generator: "oxc", tsconfig: "tsconfig.build.json" })],
  external: /^(node|bun):/,
  onLog(_, { message }) {
    throw new Error(message);
  },
});
await bundle.write({ dir: dist, chunkFileNames: "shared.d.ts" });
await bundle.close();
