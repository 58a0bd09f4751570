// Units of file_table.ts: indexes of a ring's files.

import { expect, test } from "bun:test";
import { FILES_MAX } from "../../src/native/abi.gen.ts";
import { FileTable } from "../../src/ring/file_table.ts";

test("indexes are given once each, until they are given back", () => {
  const table = new FileTable();
  const taken = new Set(Array.from({ length: FILES_MAX }, () => table.take()));
  expect([taken.size, Math.max(...taken)]).toEqual([FILES_MAX, FILES_MAX - 1]);
  expect(() => table.take()).toThrow("EMFILE");
  table.give(7);
  expect(table.take()).toBe(7);
  expect(() => table.take()).toThrow("EMFILE");
});
