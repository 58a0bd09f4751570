// Sources of `bun-aio copy` and `verify` that are more than a file: archives, pipes. The archives are made by gzip(1),
// zstd(1), xz(1), bzip2(1) and zip(1); what was copied is checked by cmp(1).

import { describe, expect, test } from "bun:test";
import { createCipheriv } from "node:crypto";
import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { run } from "../support/child.ts";
import { bunAio, Fed, shell } from "../support/command.ts";
import { noLinux, testUnless, without } from "../support/conditions.ts";
import { LoopDevice, loopMissing } from "../support/control.ts";
import { TempDir } from "../support/temp.ts";
import { mainPath } from "../support/under_test.ts";

/** How each kind is made of `image`, and the name that is the file. */
const KINDS = [
  { kind: "gzip", file: "image.gz", make: "gzip -k image" },
  { kind: "zstd", file: "image.zst", make: "zstd -q image" },
  { kind: "xz", file: "image.xz", make: "xz -k image" },
  { kind: "bzip2", file: "image.bz2", make: "bzip2 -k image" },
  { kind: "zip", file: "image.zip", make: "zip -q image.zip image" },
] as const;

const missing = without("gzip", "zstd", "xz", "bzip2", "zip");

/** Bytes that cannot be compressed between zeroes. */
const IMAGE = Buffer.alloc(1_200_001);
createCipheriv("aes-128-ctr", Buffer.alloc(16), Buffer.alloc(16))
  .update(Buffer.alloc(400_001))
  .copy(IMAGE, 400_000);

/** A folder with the image, packed. */
async function packed(make: string, image: Uint8Array = IMAGE): Promise<TempDir> {
  const dir = new TempDir();
  dir.file("image", image);
  const { end, stderr } = await run(["sh", "-c", make], { cwd: dir.path });
  expect([end, stderr]).toEqual([0, ""]);
  return dir;
}

async function expectImage(dir: TempDir, name = "out"): Promise<void> {
  const { end, stdout, stderr } = await run(["cmp", dir.file("image"), dir.file(name)]);
  expect([end, stdout, stderr]).toEqual([0, "", ""]);
}

/** A line of the shell in the folder. */
function inFolder(dir: TempDir, line: string): ReturnType<typeof shell> {
  return shell(`cd '${dir.path}'; ${line}`);
}

describe("archives", () => {
  for (const { kind, file, make } of KINDS) {
    testUnless(
      missing,
      `${kind}: unpacked, whatever its name; --raw copies it as it is`,
      async () => {
        using dir = await packed(`${make} && mv ${file} odd`);
        const { end, stdout, stderr } = await inFolder(dir, "bun-aio copy odd out --verify --hash");
        expect(end).toBe(0);
        await expectImage(dir);
        const { stdout: sum } = await run(["sha256sum", dir.file("image")]);
        expect(stdout.slice(0, 64)).toBe(sum.slice(0, 64));
        expect(stderr).toContain(`unpacking odd (${kind}); --raw copies it as it is`);
        expect(stderr).toMatch(/^copy 100% 1.14 MiB /m);
        expect(stderr).toContain("verified bytes 0 to 1,200,001");
        const raw = await inFolder(dir, "bun-aio copy odd raw --raw -q && cmp odd raw");
        expect(raw).toEqual({ end: 0, stdout: "", stderr: "" });
      },
    );
  }

  testUnless(missing, "members, frames and streams, one after the other", async () => {
    for (const { kind, file, make } of KINDS) {
      if (kind === "zip") continue;
      using dir = await packed(`${make} && cat ${file} ${file} >two`);
      const line = "bun-aio copy two out -q && cat image image | cmp - out";
      expect([kind, await inFolder(dir, line)]).toEqual([kind, { end: 0, stdout: "", stderr: "" }]);
    }
  });

  testUnless(missing, "zeroes may follow gzip, as on tapes; other data is damage", async () => {
    using dir = await packed("gzip -k image; cp image.gz more.gz; echo more >>more.gz");
    truncateSync(dir.file("image.gz"), statSync(dir.file("image.gz")).size + 300_000);
    expect((await inFolder(dir, "bun-aio copy image.gz out")).end).toBe(0);
    await expectImage(dir);
    const { end, stderr } = await inFolder(dir, "bun-aio copy more.gz other");
    expect([end, stderr]).toEqual([1, expect.stringContaining("more.gz is damaged or cut short")]);
  });

  for (const { kind, file, make } of KINDS) {
    testUnless(
      missing,
      `${kind}: cut or damaged anywhere, it fails and nothing is verified`,
      async () => {
        using dir = await packed(make);
        const whole = readFileSync(dir.file(file));
        const middle = Math.floor(whole.length / 2);
        const flipped = whole.map((byte, at) => (at === middle ? byte ^ 0x10 : byte));
        const bad = [
          whole.subarray(0, 11),
          whole.subarray(0, middle),
          whole.subarray(0, -1),
          flipped,
        ];
        const results = bad.map(async (bytes, index) => {
          const source = dir.file(`bad${index}`, bytes);
          return bunAio(["copy", source, dir.file(`out${index}`), "--verify", "--hash"]);
        });
        for (const { end, stdout, stderr } of await Promise.all(results)) {
          expect([end, stdout]).toEqual([1, ""]);
          expect(stderr).toMatch(/error: .*bad\d is damaged or cut short/);
          // What to do next: nothing would help.
          expect(stderr).not.toMatch(/verified|To /);
        }
      },
    );
  }

  testUnless(missing, "--length takes so much, and the rest is not looked at", async () => {
    using dir = await packed("gzip -k image; truncate -s 350000 image.gz");
    const { end, stderr } = await inFolder(dir, "bun-aio copy image.gz out --length 500000");
    expect([end, stderr]).toEqual([0, expect.stringContaining("copy 100% 488 KiB of 488 KiB")]);
    expect(Buffer.compare(readFileSync(dir.file("out")), IMAGE.subarray(0, 500_000))).toBe(0);
  });

  testUnless(missing, "--skip counts unpacked bytes, and --rescue does not unpack", async () => {
    using dir = await packed("gzip -k image");
    const part = "tail -c +500001 image | cmp - out";
    const { end } = await inFolder(dir, `bun-aio copy image.gz out --skip 500000 -q && ${part}`);
    expect(end).toBe(0);
    const rescue = "bun-aio copy image.gz rescued --rescue -q && cmp image.gz rescued";
    expect((await inFolder(dir, rescue)).end).toBe(0);
  });

  testUnless(missing, "of standard input, a pipe, a FIFO and a process substitution", async () => {
    for (const { kind, file, make } of KINDS) {
      if (kind === "xz" || kind === "bzip2") continue;
      using dir = await packed(`${make}; mkfifo fifo`);
      const ways = [
        `bun-aio copy - out -q <${file}`,
        `cat ${file} | bun-aio copy - out -q`,
        `cat ${file} >fifo & bun-aio copy fifo out -q`,
        `bun-aio copy <(cat ${file}) out -q`,
      ];
      for (const [index, way] of ways.entries()) {
        const result = await inFolder(dir, `rm -f out; ${way}`);
        if (kind === "zip" && index > 0) {
          expect([way, result.end]).toEqual([way, 1]);
          expect(result.stderr).toContain("Save it as a file first");
        } else {
          expect([way, result]).toEqual([way, { end: 0, stdout: "", stderr: "" }]);
          await expectImage(dir);
        }
      }
    }
  });

  testUnless(
    missing,
    "a program that is not installed is named before anything is written",
    async () => {
      for (const [file, make, packages] of [
        ["image.xz", "xz -k image", "xz-utils"],
        ["image.bz2", "bzip2 -k image", "bzip2"],
      ] as const) {
        using dir = await packed(make);
        const { end, stderr } = await run(
          [process.execPath, mainPath, "copy", dir.file(file), dir.file("out")],
          { env: { PATH: dir.file("nothing") } },
        );
        expect([end, existsSync(dir.file("out"))]).toEqual([1, false]);
        expect(stderr).toContain("which is not installed");
        expect(stderr).toContain(`apt install ${packages}`);
      }
    },
  );

  testUnless(
    missing ?? loopMissing,
    "one that is larger than the disk fills it, and says so",
    async () => {
      using dir = await packed("gzip -k image; zip -q image.zip image");
      using loop = new LoopDevice(dir.file("disk", new Uint8Array(2 ** 20)));
      const { end, stderr } = await bunAio(["copy", dir.file("image.gz"), loop.path, "-y"]);
      expect([end, stderr]).toEqual([1, expect.stringContaining("ENOSPC")]);
      // A zip archive tells its size.
      const zip = await bunAio(["copy", dir.file("image.zip"), loop.path, "-y"]);
      expect([zip.end, zip.stderr]).toEqual([3, expect.stringContaining("is too small")]);
    },
  );

  testUnless(
    missing ?? loopMissing,
    "a disk is copied as it is, whatever it begins with",
    async () => {
      using dir = await packed("gzip -k image; truncate -s 2M image.gz");
      using loop = new LoopDevice(dir.file("image.gz"));
      expect((await bunAio(["copy", loop.path, dir.file("out"), "-q"])).end).toBe(0);
      expect((await run(["cmp", dir.file("image.gz"), dir.file("out")])).end).toBe(0);
    },
  );

  testUnless(noLinux ?? missing, "memory is bounded, whatever it unpacks to", async () => {
    using dir = new TempDir();
    // Not by getrusage(2), where a child begins with the size of its parent.
    const preload = dir.file(
      "preload.ts",
      `
      import { readFileSync } from "node:fs";
      process.on("exit", () => console.log(readFileSync("/proc/self/status", "utf8")));
    `,
    );
    for (const program of ["gzip -1", "zstd -q"]) {
      const part = `head -c 32M /dev/zero | ${program} >part; rm -f packed`;
      const make = `${part}; for i in $(seq 20); do cat part >>packed; done`;
      expect((await inFolder(dir, make)).end).toBe(0);
      const copy = [mainPath, "copy", dir.file("packed"), "/dev/null", "-q"];
      const { end, stdout } = await run([process.execPath, "--preload", preload, ...copy]);
      expect(end).toBe(0);
      const kibibytes = Number(/^VmHWM:\s+(\d+) kB$/m.exec(stdout)?.[1]);
      expect(kibibytes).toBeLessThan(256 * 1024);
    }
  });
});

describe("streams", () => {
  testUnless(
    without("mkfifo"),
    "a FIFO that nobody writes to can be waited for, and stopped",
    async () => {
      using dir = new TempDir();
      expect((await run(["mkfifo", dir.file("fifo")])).end).toBe(0);
      await using fed = new Fed(["copy", dir.file("fifo"), dir.file("out")]);
      await fed.handles("SIGINT");
      fed.kill("SIGINT");
      expect(await fed.end()).toBe(130);
      expect(fed.said).toContain("stopped after 0 bytes");
    },
  );

  test("--length gives the progress of a stream a total, and is held against its end", async () => {
    using dir = new TempDir();
    dir.file("image", IMAGE);
    const line = "cat image | bun-aio copy - out --length";
    const done = await inFolder(dir, `${line} 1000000`);
    expect([done.end, done.stderr]).toEqual([
      0,
      expect.stringMatching(/^copy 100% 977 KiB of 977 KiB /m),
    ]);
    const short = await inFolder(dir, `${line} 2000000 --yes`);
    expect([short.end, short.stderr]).toEqual([
      1,
      expect.stringContaining("the source ends after 1200001 of 2000000 bytes"),
    ]);
  });
});

describe("zip archives", () => {
  testUnless(missing, "stored, deflated, zip64, of a pipe, and with a comment", async () => {
    for (const make of [
      "zip -q -0 a.zip image",
      "zip -q -9 a.zip image",
      "zip -q -fz a.zip image",
      "zip -q - image | cat >a.zip",
      "cat image | zip -q -fz a.zip -",
      "echo comment | zip -q -z a.zip image >/dev/null",
    ]) {
      using dir = await packed(make);
      const result = await inFolder(dir, "bun-aio copy a.zip out -q");
      expect([make, result]).toEqual([make, { end: 0, stdout: "", stderr: "" }]);
      await expectImage(dir);
    }
  });

  testUnless(missing, "the image beside other files, and folders", async () => {
    using dir = await packed(
      "mkdir d; mv image d/disk.IMG; echo x >README; zip -q -r a.zip d README",
    );
    const result = await inFolder(dir, "bun-aio copy a.zip out -q && cmp d/disk.IMG out");
    expect(result).toEqual({ end: 0, stdout: "", stderr: "" });
  });

  testUnless(
    missing,
    "none, or several images, or an encrypted one: nothing is written",
    async () => {
      for (const [make, words] of [
        ["mv image a.img; cp a.img b.iso; zip -q a.zip a.img b.iso", "with 2 images: a.img, b.iso"],
        ["echo x >a; zip -q a.zip a image", "with no image: a, image"],
        ["mkdir d; zip -q -r a.zip d", "with no image"],
        ["zip -q -P secret a.zip image", "image in a.zip is encrypted"],
        ["zip -q -Z bzip2 a.zip image", "image in a.zip is compressed with method 12"],
      ] as const) {
        using dir = await packed(make);
        const { end, stderr } = await inFolder(dir, "bun-aio copy a.zip out");
        expect([end, stderr]).toEqual([1, expect.stringContaining(words)]);
        expect(existsSync(dir.file("out"))).toBe(false);
      }
    },
  );

  testUnless(missing, "a CRC that does not fit is damage, stored or deflated", async () => {
    for (const option of ["-0", "-6"]) {
      using dir = await packed(`zip -q ${option} a.zip image`);
      const bytes = readFileSync(dir.file("a.zip"));
      const entry = bytes.lastIndexOf(Buffer.from("PK\x01\x02"));
      bytes.writeUInt32LE(bytes.readUInt32LE(entry + 16) ^ 1, entry + 16);
      writeFileSync(dir.file("a.zip"), bytes);
      const { end, stderr } = await inFolder(dir, "bun-aio copy a.zip out --verify");
      expect([end, stderr]).toEqual([1, expect.stringContaining("CRC-32 of image")]);
      expect(stderr).not.toContain("verified");
    }
  });
});

describe("verify", () => {
  testUnless(missing, "unpacks an archive, unless the other is packed so, too", async () => {
    for (const { file, make } of KINDS) {
      using dir = await packed(`${make}; cp ${file} same; (cat image; echo) >longer`);
      const like = await inFolder(dir, `bun-aio verify ${file} image`);
      expect([like.end, like.stdout]).toEqual([0, expect.stringContaining("1,200,001 bytes")]);
      expect((await inFolder(dir, `bun-aio verify ${file} longer -q`)).end).toBe(4);
      const both = await inFolder(dir, `bun-aio verify ${file} same`);
      const { size } = statSync(dir.file(file));
      const words = expect.stringContaining(`${size.toLocaleString("en-US")} bytes`);
      expect([both.end, both.stdout]).toEqual([0, words]);
      expect((await inFolder(dir, `bun-aio verify ${file} image --raw -q`)).end).toBe(4);
    }
  });

  testUnless(missing, "a damaged archive is no difference, but a failure", async () => {
    using dir = await packed("gzip -k image; truncate -s 350000 image.gz");
    const { end, stdout, stderr } = await inFolder(dir, "bun-aio verify image.gz image");
    expect([end, stdout]).toEqual([1, ""]);
    expect(stderr).toContain("image.gz is damaged or cut short");
  });
});
