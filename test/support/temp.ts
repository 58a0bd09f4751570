// A directory for one test, gone when the test ends.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class TempDir implements Disposable {
  readonly path: string;

  constructor(parent: string = tmpdir()) {
    this.path = mkdtempSync(join(parent, "bun-aio-test-"));
  }

  /** Path of a file in it, made with `contents` if given. */
  file(name: string, contents?: string | Uint8Array): string {
    const path = join(this.path, name);
    if (contents !== undefined) writeFileSync(path, contents);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
