// Runs the flasher as users get it: one executable, made by `bun build --compile`, on loop devices.

import { afterAll, beforeAll, describe, expect } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { run } from "../../test/support/child.ts";
import { testUnless } from "../../test/support/conditions.ts";
import { LoopDevice, loopMissing } from "../../test/support/control.ts";
import { pattern } from "../../test/support/random.ts";
import { TempDir } from "../../test/support/temp.ts";

const MIB = 2 ** 20;
const IMAGE = pattern(3 * MIB + 512);

const built = new TempDir();
const flasher = join(built.path, "flasher");

beforeAll(async () => {
  if (loopMissing !== undefined) return;
  const source = join(import.meta.dir, "flasher.ts");
  const build = [process.execPath, "build", "--compile", source, "--outfile", flasher];
  expect(await run(build)).toMatchObject({ end: 0 });
}, 60_000);
afterAll(() => rmSync(built.path, { recursive: true }));

function has(path: string): boolean {
  return Buffer.compare(readFileSync(path).subarray(0, IMAGE.length), IMAGE) === 0;
}

describe("the flasher", () => {
  testUnless(
    loopMissing,
    "writes to several disks at once, from a file and from a packed URL",
    async () => {
      using dir = new TempDir();
      const image = dir.file("image", IMAGE);
      using one = new LoopDevice(dir.file("one", new Uint8Array(4 * MIB)));
      using two = new LoopDevice(dir.file("two", new Uint8Array(5 * MIB)));
      using small = new LoopDevice(dir.file("small", new Uint8Array(MIB)));
      const list = await run([flasher]);
      for (const { path } of [one, two, small]) expect(list.stdout).toContain(`${path}  0.0 GB`);
      const all = await run([flasher, image, one.path, small.path, two.path, "--yes"]);
      // One that is too small drops out alone.
      expect(all.end).toBe(1);
      expect(all.stderr).toContain(`${small.path}: ENOSPC`);
      expect(all.stdout).toBe(
        [one, two]
          .map(({ path }) => `${path}: ${IMAGE.length} bytes written and read back\n`)
          .join(""),
      );
      expect([has(dir.file("one")), has(dir.file("two"))]).toEqual([true, true]);
      using server = Bun.serve({ port: 0, fetch: () => new Response(Bun.gzipSync(IMAGE)) });
      using other = new LoopDevice(dir.file("other", new Uint8Array(4 * MIB)));
      const url = await run([flasher, `${server.url}image.gz`, other.path, "--yes"]);
      expect([url.end, has(dir.file("other"))]).toEqual([0, true]);
    },
  );

  testUnless(loopMissing, "goes on with a copy, and asks before it writes", async () => {
    using dir = new TempDir();
    const image = dir.file("image", IMAGE);
    const begun = new Uint8Array(4 * MIB);
    begun.set(IMAGE.subarray(0, MIB));
    using disk = new LoopDevice(dir.file("disk", begun));
    const unasked = await run([flasher, image, disk.path]);
    expect([unasked.end, unasked.stderr.includes("This will be overwritten")]).toEqual([3, true]);
    expect(has(dir.file("disk"))).toBe(false);
    const rest = await run([flasher, image, disk.path, "--yes", "--from", String(MIB)]);
    expect([rest.end, rest.stdout]).toEqual([
      0,
      expect.stringContaining(": 2097664 bytes written"),
    ]);
    expect(has(dir.file("disk"))).toBe(true);
    const none = await run([flasher, image, "/dev/no-such", "--yes"]);
    expect([none.end, none.stderr]).toEqual([1, "/dev/no-such is no disk that can be written\n"]);
  });

  testUnless(loopMissing, "a packed image that is cut short is no image", async () => {
    using dir = new TempDir();
    const packed = dir.file("image.zst", Bun.zstdCompressSync(IMAGE).subarray(0, -1));
    using disk = new LoopDevice(dir.file("disk", new Uint8Array(4 * MIB)));
    const { end, stdout } = await run([flasher, packed, disk.path, "--yes"]);
    expect([end, stdout]).toEqual([1, ""]);
  });
});
