// What the tests are about: the sources, or with BUN_AIO_DIST=1 what the package ships of them, in dist/.

import { dirname, join, relative } from "node:path";

const root = dirname(dirname(import.meta.dir));
const isPacked = process.env["BUN_AIO_DIST"] === "1";

/** The file to load in place of this source. */
export function shipped(source: string): string {
  const name = relative(join(root, "src"), source).replace(/\.ts$/, ".js");
  return isPacked ? join(root, "dist", name) : source;
}

/** The file that programs import. */
export const indexPath: string = shipped(join(root, "src", "index.ts"));
/** The file of the command. */
export const mainPath: string = shipped(join(root, "src", "cli", "main.ts"));

/** From now on, an import of an entry point loads what is shipped. */
export function loadShipped(): void {
  if (!isPacked) return;
  Bun.plugin({
    name: "bun-aio/dist",
    setup(build) {
      build.onLoad({ filter: /\/src\/(testing\/)?index\.ts$/ }, ({ path }) => ({
        contents: `export * from ${JSON.stringify(shipped(path))};`,
        loader: "js",
      }));
    },
  });
}
