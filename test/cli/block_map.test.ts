// `bun-aio copy` with block maps, which bmaptool(1) has made, and of images that are too large by zeroes only. What was
// copied is checked by cmp(1), and by what bmaptool itself copies.

import { describe, expect } from "bun:test";
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { run } from "../support/child.ts";
import { bunAio, shell } from "../support/command.ts";
import { testUnless, without } from "../support/conditions.ts";
import { LoopDevice, loopMissing } from "../support/control.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const MIB = 2 ** 20;
/** Ends in the middle of a block. */
const SIZE = 8 * MIB + 123;

/** A folder with a sparse image and its block map. */
async function mapped(): Promise<TempDir> {
  const dir = new TempDir();
  const path = dir.file("image", "");
  truncateSync(path, SIZE);
  for (const [at, bytes] of [
    [0, 5000],
    [MIB, MIB],
    [5 * MIB, 100_000],
    [SIZE - 50, 50],
  ] as const) {
    write(path, pattern(bytes), at);
  }
  const { end, stderr } = await run(["bmaptool", "create", "image", "-o", "image.bmap"], {
    cwd: dir.path,
  });
  if (end !== 0) throw new Error(stderr);
  return dir;
}

function write(path: string, bytes: Uint8Array, at: number): void {
  const fd = openSync(path, "r+");
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
}

async function expectSame(dir: TempDir, a: string, b: string, bytes = SIZE): Promise<void> {
  const { end, stdout } = await run(["cmp", "-n", String(bytes), a, b], { cwd: dir.path });
  expect([end, stdout]).toEqual([0, ""]);
}

function inFolder(dir: TempDir, line: string): ReturnType<typeof shell> {
  return shell(`cd '${dir.path}'; ${line}`);
}

const missing = without("bmaptool");

describe("a block map", () => {
  testUnless(missing, "beside the source is used, and said; --no-bmap does without", async () => {
    using dir = await mapped();
    dir.file("target", pattern(9 * MIB));
    const { end, stdout, stderr } = await inFolder(
      dir,
      "bun-aio copy image target -y --verify --hash",
    );
    expect(end).toBe(0);
    expect(stderr).toContain(
      "copying the ranges in image.bmap: 1.11 MiB of 8.00 MiB; --no-bmap copies",
    );
    expect(stderr).toMatch(/^copy 100% 1.11 MiB of 1.11 MiB/m);
    expect(stderr).toMatch(/copied 1.11 MiB .* verified the ranges of image.bmap$/m);
    expect(stdout).toMatch(/^sha256 [0-9a-f]{64} {2}the ranges of image.bmap\n$/);
    // A file has holes between the ranges, and the length of the image.
    await expectSame(dir, "image", "target");
    expect(statSync(dir.file("target")).size).toBe(SIZE);
    const all = await inFolder(dir, "bun-aio copy image other --no-bmap");
    expect([all.end, all.stderr]).toEqual([0, expect.stringMatching(/^copied 8.00 MiB/m)]);
  });

  testUnless(
    missing ?? loopMissing,
    "a disk keeps what it has between the ranges, as with bmaptool",
    async () => {
      using dir = await mapped();
      using loop = new LoopDevice(dir.file("ours", pattern(9 * MIB)));
      dir.file("theirs", pattern(9 * MIB));
      const { end, stderr } = await inFolder(dir, `bun-aio copy image ${loop.path} -y --verify`);
      expect([end, stderr]).toEqual([0, expect.stringContaining("where image.bmap has data")]);
      using other = new LoopDevice(dir.file("theirs"));
      const theirs = await run([
        "bmaptool",
        "copy",
        "--bmap",
        dir.file("image.bmap"),
        dir.file("image"),
        other.path,
      ]);
      expect([theirs.end, theirs.stderr]).toEqual([0, expect.any(String)]);
      await expectSame(dir, loop.path, other.path, 9 * MIB);
    },
  );

  testUnless(missing ?? without("gzip"), "of what is packed, a pipe, and by --bmap", async () => {
    using dir = await mapped();
    for (const line of [
      "gzip -k image; bun-aio copy image.gz a && cmp image a",
      "mv image.bmap map; cat image.gz | bun-aio copy - b --bmap map && cmp image b",
      "bun-aio copy image c --bmap map --sparse && cmp image c",
    ]) {
      const { end, stdout, stderr } = await inFolder(dir, line);
      expect([line, end, stdout]).toEqual([line, 0, ""]);
      expect(stderr).toContain("copying the ranges in ");
    }
  });

  testUnless(
    missing,
    "a range without its checksum ends with 4, and nothing is verified",
    async () => {
      using dir = await mapped();
      write(dir.file("image"), new Uint8Array([1]), MIB + 77_777);
      for (const source of ["image", "<(cat image)", "image.gz"]) {
        const line = `gzip -kf image; bun-aio copy ${source} out -y --verify --bmap image.bmap`;
        const { end, stdout, stderr } = await inFolder(dir, line);
        expect([source, end, stdout]).toEqual([source, 4, ""]);
        expect(stderr).toContain(
          "is damaged, or not the image that image.bmap describes: bytes 1,048,576 to 2,097,152",
        );
        expect(stderr).not.toMatch(/verified|To /);
      }
    },
  );

  testUnless(
    missing,
    "that is damaged, or of another image, ends with 4: nothing is written",
    async () => {
      using dir = await mapped();
      const text = readFileSync(dir.file("image.bmap"), "utf8");
      for (const [bmap, code, words] of [
        [text.replace(/(<Range chksum=")./, "$10"), 4, "its checksum does not match"],
        [text.replace(String(SIZE), String(SIZE + 1)), 4, "its checksum does not match"],
        [text.replace('version="2.0"', 'version="1.3"'), 4, "does not have the format"],
        [text.slice(0, 1000), 1, "is not a block map"],
        ["", 1, "is not a block map"],
      ] as const) {
        writeFileSync(dir.file("image.bmap"), bmap);
        const { end, stderr } = await inFolder(dir, "bun-aio copy image out");
        expect([end, stderr]).toEqual([code, expect.stringContaining(words)]);
        expect(existsSync(dir.file("out"))).toBe(false);
      }
      writeFileSync(dir.file("image.bmap"), text);
      truncateSync(dir.file("image"), SIZE - 1);
      const { end, stderr } = await inFolder(dir, "bun-aio copy image out");
      expect([end, stderr]).toEqual([
        4,
        expect.stringContaining(`describes an image of ${SIZE} bytes`),
      ]);
      const none = await inFolder(dir, "bun-aio copy image out --bmap nowhere");
      expect([none.end, none.stderr]).toEqual([1, expect.stringContaining("nowhere")]);
    },
  );

  testUnless(missing, "a copy goes on where a range begins, and not within one", async () => {
    using dir = await mapped();
    const part = "bun-aio copy image out -y --bmap image.bmap --from";
    expect(
      (await inFolder(dir, `bun-aio copy image out -q && ${part} 5M && cmp image out`)).end,
    ).toBe(0);
    const { end, stderr } = await inFolder(dir, `${part} 1052672`);
    const words = "begins or ends at 1,052,672 cuts a range of image.bmap: 1,048,576 to 2,097,152";
    expect([end, stderr]).toEqual([2, expect.stringContaining(words)]);
  });
});

describe("an image that is too large", () => {
  testUnless(loopMissing, "by zeroes only: the --length that fits is said", async () => {
    using dir = new TempDir();
    using loop = new LoopDevice(dir.file("disk", new Uint8Array(4 * MIB)));
    const image = dir.file("image", pattern(3 * MIB));
    const copy = ["copy", image, loop.path, "--yes"];
    for (const size of [4 * MIB + 1, 6 * MIB, 2 ** 40]) {
      truncateSync(image, size);
      const { end, stderr } = await bunAio(copy);
      expect(end).toBe(3);
      expect(stderr).toContain(`is too small: it has room for 4 MiB`);
      expect(stderr).toContain(`Only zeroes do not fit: --length ${4 * MIB} copies`);
    }
    const fits = /--length \d+/.exec((await bunAio([...copy, "--seek", "512k"])).stderr)?.[0] ?? "";
    expect(fits).toBe(`--length ${3.5 * MIB}`);
    expect((await bunAio([...copy, "--seek", "512k", ...fits.split(" "), "--verify"])).end).toBe(0);
    for (const at of [4 * MIB, 5 * MIB + 7, 6 * MIB - 1]) {
      truncateSync(image, 3 * MIB);
      truncateSync(image, 6 * MIB);
      write(image, new Uint8Array([1]), at);
      const { end, stderr } = await bunAio(copy);
      expect([at, end, stderr.includes("--length")]).toEqual([at, 3, false]);
    }
  });
});
