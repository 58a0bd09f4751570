// Finding the native library: one error lists what was tried and says what to do.

import { expect, test } from "bun:test";
import fs from "node:fs";
import { join } from "node:path";
import { ABI_HASH } from "../../src/native/abi.gen.ts";
import { libraryFile } from "../../src/native/library.ts";
import { runCode } from "../support/child.ts";
import { noLinux, testUnless, unless } from "../support/conditions.ts";
import { TempDir } from "../support/temp.ts";

const CODE = `
for (const use of [() => Ring.default(), () => allocBuffer(1), () => new BufferPool({ size: 1, count: 1 })]) {
  try { use(); console.log("worked"); }
  catch (error) { console.log(error.name, error.code); console.error(error.message); }
}
await File.open("/dev/null").then((f) => f.close(), (error) => console.log("rejected", error.code));
`;

const REFUSED = "LibraryError ERR_BUN_AIO_LIBRARY\n"
  .repeat(3)
  .concat("rejected ERR_BUN_AIO_LIBRARY\n");

/** The library under test. */
const path =
  process.env["BUN_AIO_LIBRARY"] ||
  join(import.meta.dir, "..", "..", "native", `${process.platform}-${process.arch}`, libraryFile());

test("a library that is missing is named, with the remedy", async () => {
  using dir = new TempDir();
  const missing = dir.file("no-such.so");
  const child = await runCode(CODE, { env: { BUN_AIO_LIBRARY: missing } });
  expect(child.stdout).toBe(REFUSED);
  expect(child.stderr).toContain(`${missing}: no such file`);
  expect(child.stderr).toContain(`could not be loaded on ${process.platform}-${process.arch}`);
  expect(child.stderr).toContain("unset it, or set it to the absolute path");
  expect(child.stderr).toContain("BUN_AIO_LIBRARY");
});

test("a library that is none is named, with the loader's reason", async () => {
  using dir = new TempDir();
  for (const content of ["", "not a library at all", fs.readFileSync(path).subarray(0, 100)]) {
    const garbage = dir.file("garbage.so", content);
    const child = await runCode(CODE, { env: { BUN_AIO_LIBRARY: garbage } });
    expect(child.stdout).toBe(REFUSED);
    expect(child.stderr).toContain(`${garbage}: `);
    expect(child.end).toBe(0);
  }
});

testUnless(noLinux, "a library without our functions is refused", async () => {
  const other = fs.existsSync("/lib/x86_64-linux-gnu/libm.so.6")
    ? "/lib/x86_64-linux-gnu/libm.so.6"
    : path.replace(/[^/]*$/, "nothing");
  const child = await runCode(CODE, { env: { BUN_AIO_LIBRARY: other } });
  expect(child.stdout).toBe(REFUSED);
  expect(child.stderr).toContain(`${other}: `);
});

/** The library with another hash, or undefined where the hash is not found in it. */
const otherVersion = ((): Buffer | undefined => {
  const image = Buffer.from(fs.readFileSync(path));
  // The hash is in the code, in two halves, as immediate operands of `mov` or in a constant pool.
  let patched = 0;
  for (const half of [ABI_HASH.slice(0, 8), ABI_HASH.slice(8)]) {
    const bytes = Buffer.from(half, "hex").reverse();
    for (let at = image.indexOf(bytes); at >= 0; at = image.indexOf(bytes, at + 4)) {
      image.writeUInt8((image[at] ?? 0) ^ 1, at);
      patched++;
    }
  }
  return patched > 0 ? image : undefined;
})();
// Other processors may put it together from smaller parts.
const noHash = unless(
  otherVersion !== undefined || process.arch === "x64",
  "the hash is not to be found in this library's code",
);

testUnless(noHash, "a library of another version is refused by its hash", async () => {
  using dir = new TempDir();
  if (otherVersion === undefined) throw new Error("the hash is not in the code");
  const other = dir.file("other.so", otherVersion);
  const child = await runCode(CODE, { env: { BUN_AIO_LIBRARY: other } });
  expect(child.stdout).toBe(REFUSED);
  expect(child.stderr).toContain("made for another version of bun-aio");
  expect(child.stderr).toContain(`this package needs ${ABI_HASH}`);
});

test("the library named in the environment is used", async () => {
  using dir = new TempDir();
  const copy = dir.file("copy.so", fs.readFileSync(path));
  const child = await runCode(CODE, { env: { BUN_AIO_LIBRARY: copy } });
  expect(child).toMatchObject({ end: 0, stdout: "worked\nworked\nworked\n", stderr: "" });
});
