import { expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { File } from "../src/index.ts";

test("readAt reads from the position asked for", async () => {
  const path = join(mkdtempSync(join(tmpdir(), "bun-aio-")), "letters");
  writeFileSync(path, "abcdef");
  await using file = await File.open(path);
  const buffer = new Uint8Array(4);
  expect(await file.readAt(buffer, 2)).toBe(4);
  expect(new TextDecoder().decode(buffer)).toBe("cdef");
});
