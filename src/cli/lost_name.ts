// Whether a file that was written can still be found under the name it was opened by.

import { fstat } from "node:fs";
import { stat } from "node:fs/promises";
import { promisify } from "node:util";
import type { File } from "../file/file.ts";
import { pathOf } from "./raw_words.ts";
import { printable } from "./terminal.ts";

/** What happened to the name; undefined while it still belongs to the file. Devices are not checked. */
export async function lostName(path: string, file: File): Promise<string | undefined> {
  if (file.kind !== "regular") return undefined;
  const written = await promisify(fstat)(file.fd, { bigint: true });
  const named = await stat(pathOf(path), { bigint: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    // The folder is not accessible any more: the link count has to do.
    return written.nlink > 0n ? written : undefined;
  });
  if (named?.ino === written.ino && named.dev === written.dev) return undefined;
  const name = printable(path);
  const became =
    named === undefined ? `${name} was removed` : `${name} was replaced by another file`;
  if (written.nlink === 0n) return `${became} while it was written: the written data is lost`;
  return `${became} while it was written: the written data is in a file with another name`;
}
