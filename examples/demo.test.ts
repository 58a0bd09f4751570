// The demo, with an image of 4 MiB and for half a second.

import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import { join } from "node:path";
import { run } from "../test/support/child.ts";
import { pattern } from "../test/support/random.ts";
import { TempDir } from "../test/support/temp.ts";

const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

test("copies beside readers, tells both rates, and verifies the copy", async () => {
  const [source, target] = [join(dir.path, "image"), join(dir.path, "copy")];
  const image = pattern(4 << 20);
  fs.writeFileSync(source, image);
  const demo = join(import.meta.dir, "demo.ts");
  const args = ["--source", source, "--target", target, "--seconds", "0.5"];
  const { end, stdout, stderr } = await run([process.execPath, demo, ...args], {});
  expect(`${end} ${stderr}`).toBe("0 ");
  expect(stdout).toMatch(/^bun-aio +\d+ MB\/s +[\d,]+\/s +[\d.]+ ms +[\d.]+ ms$/m);
  expect(stdout).toMatch(/^node:fs\/promises +\d+ MB\/s +[\d,]+\/s +[\d.]+ ms +[\d.]+ ms$/m);
  const digest = new Bun.CryptoHasher("sha256").update(image).digest("hex");
  expect(stdout).toContain(`it is identical. sha256 ${digest}`);
  expect(Bun.hash(fs.readFileSync(target))).toBe(Bun.hash(image));
});
