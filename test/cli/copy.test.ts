// `bun-aio copy` and `bun-aio verify` in pipes; what they wrote is checked by cmp and sha256sum.

import { describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import type { Place } from "../../src/cli/places.ts";
import { refuseShared } from "../../src/cli/writing.ts";
import { imageDevice } from "../../src/testing/index.ts";
import { run } from "../support/child.ts";
import { bunAio, shell } from "../support/command.ts";
import { noLinux, testUnless, without } from "../support/conditions.ts";
import { LoopDevice, loopMissing } from "../support/control.ts";
import { madeUpMissing } from "../support/made_up.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";
import { mainPath } from "../support/under_test.ts";

/** Fails unless cmp(1) finds the same bytes. */
async function same(a: string, b: string, bytes?: number): Promise<void> {
  const limit = bytes === undefined ? [] : ["-n", String(bytes)];
  const { end, stdout, stderr } = await run(["cmp", ...limit, a, b]);
  expect([end, stdout, stderr]).toEqual([0, "", ""]);
}

async function sha256(path: string): Promise<string> {
  const { stdout } = await run(["sha256sum", path]);
  return stdout.split(" ", 1)[0] ?? "";
}

function place(path: string): Place {
  const bytes = { size: 1, end: 1 };
  return { path, realPath: path, kind: "disk", ...bytes, identity: path, device: undefined };
}

/** Why nothing can be mounted here. */
function mountUnavailable(): string | undefined {
  const missing = without("mkfs.ext4", "mount");
  if (missing !== undefined) return missing;
  using dir = new TempDir();
  const tried = Bun.spawnSync(["mount", "-t", "tmpfs", "none", dir.path]);
  if (tried.exitCode !== 0) return `mount fails: ${tried.stderr.toString().trim()}`;
  Bun.spawnSync(["umount", dir.path]);
  return undefined;
}

describe("copy", () => {
  test("makes a file, verifies it, prints its digest", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(3_000_001));
    const target = dir.file("target");
    const { end, stdout, stderr } = await bunAio(["copy", source, target, "--verify", "--hash"]);
    expect(end).toBe(0);
    await same(source, target);
    expect(stdout).toBe(`${await sha256(target)}  ${source}\n`);
    // Lines, because stderr is no terminal: the end of each phase, and the summary.
    expect(stderr).toMatch(/^copy 100% 2.86 MiB of 2.86 MiB .*\/s$/m);
    expect(stderr).toMatch(/^verify 100% /m);
    expect(stderr).toMatch(
      /^copied 2.86 MiB \(3,000,001 bytes\) in .* s, .*\/s, verified bytes 0 to 3,000,001$/m,
    );
    expect(stderr).not.toContain("\x1b");
  });

  test("--json and --quiet: one object on stdout, nothing on stderr", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(100_000));
    const args = ["copy", source, dir.file("target"), "--json", "--quiet", "--bs", "4k"];
    const { end, stdout, stderr } = await bunAio([...args, "--depth", "3"]);
    expect([end, stderr]).toEqual([0, ""]);
    expect(JSON.parse(stdout)).toMatchObject({ bytesCopied: 100_000, prefix: 100_000 });
    await same(source, dir.file("target"));
  });

  test("does not write over a file unasked, and ends it where the copy ends", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(50_000));
    const target = dir.file("target", new Uint8Array(90_000).fill(7));
    const refused = await bunAio(["copy", source, target]);
    expect(refused.end).toBe(3);
    expect(refused.stderr).toContain("This will be overwritten:");
    expect(refused.stderr).toContain("87.9 KiB");
    expect(refused.stderr).toContain("Pass --yes");
    expect(readFileSync(target).every((byte) => byte === 7)).toBe(true);
    const done = await bunAio(["copy", source, target, "--yes"]);
    expect(done.end).toBe(0);
    await same(source, target);
  });

  test("--sparse leaves holes that read as zeroes, also over old data", async () => {
    using dir = new TempDir();
    const contents = new Uint8Array(4 * 2 ** 20);
    contents.set(pattern(100_000), 2 ** 20);
    const source = dir.file("source", contents);
    const target = dir.file("target", new Uint8Array(contents.length).fill(0xff));
    const { end, stderr } = await bunAio(["copy", source, target, "--yes", "--sparse", "--direct"]);
    expect(end).toBe(0);
    expect(stderr).toContain("of zeroes left out");
    await same(source, target);
    expect(statSync(target).blocks * 512).toBeLessThan(contents.length);
  });

  test("--skip, --seek and --length copy a part and keep the rest", async () => {
    using dir = new TempDir();
    const bytes = pattern(20_000);
    const source = dir.file("source", bytes);
    const target = dir.file("target", new Uint8Array(30_000).fill(9));
    const part = ["--skip", "1000", "--seek", "5k", "--length", "2000"];
    expect((await bunAio(["copy", source, target, ...part, "-yq"])).end).toBe(0);
    const expected = new Uint8Array(30_000).fill(9);
    expected.set(bytes.subarray(1000, 3000), 5120);
    expect(Buffer.compare(readFileSync(target), expected)).toBe(0);
  });

  test("reads standard input, which can also be gone on with", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(2_500_000));
    const target = dir.file("target");
    const whole = await shell(`cat '${source}' | bun-aio copy - '${target}' --verify`);
    expect(whole.end).toBe(0);
    await same(source, target);
    writeFileSync(target, readFileSync(source).subarray(0, 1_048_576));
    const rest = await shell(`cat '${source}' | bun-aio copy - '${target}' --from 1M --yes -q`);
    expect([rest.end, rest.stderr]).toEqual([0, ""]);
    await same(source, target);
  });

  describe("standard input that is a file or disk is read from where it stands", () => {
    /** Lines of the shell with `source` as standard input; `o` and `rest` are what they wrote. */
    async function fromSource(lines: string, contents = LINES): Promise<Record<string, string>> {
      using dir = new TempDir();
      dir.file("source", contents);
      const { end, stderr } = await shell(`cd '${dir.path}'; { ${lines}; cat >rest; } <source`);
      expect([end, stderr]).toEqual([0, ""]);
      const text = (name: string): string => {
        return existsSync(dir.file(name)) ? readFileSync(dir.file(name), "utf8") : "";
      };
      return { o: text("o"), p: text("p"), rest: text("rest") };
    }
    const LINES = Array.from({ length: 300_000 }, (_, line) => `${line}\n`).join("");
    const behindFirst = LINES.slice(2);

    test("behind the line that read took", async () => {
      const { o, rest } = await fromSource("read -r line; bun-aio copy - o -q --verify");
      expect(o === behindFirst).toBe(true);
      expect(rest).toBe("");
    });

    test("two copies in a row", async () => {
      const lines = "read -r line; bun-aio copy - o -q --length 1000; bun-aio copy - p -q";
      const { o = "", p = "", rest } = await fromSource(lines);
      expect(o.length).toBe(1000);
      expect(o + p === behindFirst).toBe(true);
      expect(rest).toBe("");
    });

    test("--skip counts from there, --seek in the target; what is left is left", async () => {
      const lines = "read -r line; bun-aio copy - o -q --skip 5 --seek 3 --length 4096";
      const { o, rest } = await fromSource(lines);
      expect(o).toBe(`\0\0\0${behindFirst.slice(5, 5 + 4096)}`);
      expect(rest === behindFirst.slice(5 + 4096)).toBe(true);
    });

    test("at its end there is nothing, and behind it nothing can begin", async () => {
      const lines = "cat >p; bun-aio copy - o -q; bun-aio copy - x --skip 1 -q 2>/dev/null || :";
      const { o, rest } = await fromSource(lines, "some");
      expect([o, rest]).toEqual(["", ""]);
      using dir = new TempDir();
      const source = dir.file("source", "a\nbc");
      const copy = `bun-aio copy - '${dir.file("x")}' --skip 4`;
      const beyond = await shell(`{ read -r l; ${copy}; } <'${source}'`);
      expect([beyond.end, existsSync(dir.file("x"))]).toEqual([2, false]);
      expect(beyond.stderr).toContain("standard input has only 2 bytes: cannot begin at 4");
    });

    test("verify, on either side, goes on behind what it compared", async () => {
      const lines = "read -r l; cat >p; exec <source; read -r l";
      const both = await fromSource(
        `${lines}; bun-aio verify - p -q >o; bun-aio copy - o --yes -q`,
      );
      expect(both["o"]).toBe("");
      const part = await fromSource(`${lines}; bun-aio verify p - --length 4k -q >o`);
      expect(part["o"]).toContain(" 4,096 bytes");
      expect(part["rest"] === behindFirst.slice(4096)).toBe(true);
    });

    test("a part that fails: what was not written is left", async () => {
      using dir = new TempDir();
      dir.file("source", LINES);
      // A file of 512 KiB at most: the copy fails on the way.
      const copy = "bun-aio copy - target --bs 64k --json -q >json";
      const { end, stderr } = await shell(
        `cd '${dir.path}'; { read -r l; (trap '' XFSZ; ulimit -f 512; ${copy}) || cat >rest; } <source`,
      );
      expect([end, stderr]).toEqual([0, expect.stringContaining("EFBIG")]);
      const { prefix } = JSON.parse(readFileSync(dir.file("json"), "utf8"));
      expect(prefix).toBeGreaterThan(0);
      expect(readFileSync(dir.file("rest"), "utf8") === behindFirst.slice(prefix)).toBe(true);
      const written = readFileSync(dir.file("target"), "utf8").slice(0, prefix);
      expect(written === behindFirst.slice(0, prefix)).toBe(true);
    });

    testUnless(noLinux, "one that is stopped: what was not written is left", async () => {
      using dir = new TempDir();
      const source = dir.file("source", "");
      truncateSync(source, 2 ** 40);
      const fd = openSync(source, "r");
      readSync(fd, new Uint8Array(1000));
      const child = Bun.spawn([process.execPath, mainPath, "copy", "-", "/dev/null", "--json"], {
        ...{ stdin: fd, stdout: "pipe", stderr: "pipe" },
      });
      // It copies when it tells of its progress.
      await child.stderr.getReader().read();
      child.kill("SIGINT");
      expect(await child.exited).toBe(130);
      const { prefix } = JSON.parse(await child.stdout.text());
      expect(prefix).toBeGreaterThan(0);
      const position = /^pos:\t(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1];
      expect(Number(position)).toBe(1000 + prefix);
      closeSync(fd);
    });

    testUnless(loopMissing, "a disk", async () => {
      using dir = new TempDir();
      const image = dir.file("image", pattern(2 ** 20));
      using loop = new LoopDevice(image);
      const skip = "dd bs=1000 count=1 of=/dev/null status=none";
      const copies = "bun-aio copy - o -q --length 5000 --hash >h; bun-aio copy - p -q; cat >rest";
      const { end, stderr } = await shell(
        `cd '${dir.path}'; { ${skip}; ${copies}; } <${loop.path}`,
      );
      expect([end, stderr]).toEqual([0, ""]);
      const parts = ["o", "p", "rest"].map((name) => readFileSync(dir.file(name)));
      expect(parts.map(({ byteLength }) => byteLength)).toEqual([5000, 2 ** 20 - 6000, 0]);
      expect(Buffer.compare(Buffer.concat(parts), readFileSync(image).subarray(1000))).toBe(0);
    });

    test("one that is open for writing only is wrong usage, for appending too is not", async () => {
      using dir = new TempDir();
      const source = dir.file("source", "data");
      for (const redirection of ["0>>", "0>"]) {
        const copy = `bun-aio copy - '${dir.file("o")}' -q ${redirection}'${source}'`;
        const { end, stderr } = await shell(copy);
        expect([end, stderr]).toEqual([2, expect.stringContaining("is open for writing only")]);
      }
      expect(existsSync(dir.file("o"))).toBe(false);
      const fd = openSync(dir.file("both", "data"), "a+");
      const child = Bun.spawn([process.execPath, mainPath, "copy", "-", dir.file("o"), "-q"], {
        stdin: fd,
      });
      expect(await child.exited).toBe(0);
      closeSync(fd);
      expect(readFileSync(dir.file("o"), "utf8")).toBe("data");
    });

    test("a file is not copied onto itself", async () => {
      using dir = new TempDir();
      const source = dir.file("source", "data");
      const { end, stderr } = await shell(`bun-aio copy - '${source}' --yes <'${source}'`);
      expect([end, stderr]).toEqual([
        3,
        expect.stringMatching(/standard input and .* are the same file/),
      ]);
    });
  });

  // The target is open before standard input is read.
  const whenOpen = "while [ ! -e target ]; do :; done";
  for (const [name, command, said] of [
    ["removed", "rm target", "target was removed while it was written: the written data is lost"],
    ["replaced", "echo >other; mv other target", "replaced by another file while it was written: "],
    ["moved", "mv target other", "removed while it was written: the written data is in a file "],
    ["moved with its folder", "mkdir new; mv ../a ../b", "is in a file with another name"],
  ] as const) {
    test(`a target that was ${name} while it was written is no success`, async () => {
      using dir = new TempDir();
      mkdirSync(dir.file("a"));
      const copy = `bun-aio copy - '${dir.file("a")}/target' --verify --json -q`;
      const line = `cd '${dir.file("a")}'; { echo 1; ${whenOpen}; ${command}; echo 2; } | ${copy}`;
      const { end, stdout, stderr } = await shell(line);
      expect([end, stderr]).toEqual([1, expect.stringContaining(said)]);
      expect(JSON.parse(stdout)).toMatchObject({ bytesCopied: 4, error: "ENOENT" });
    });
  }

  test("nor is one that could not be finished told how to go on with", async () => {
    using dir = new TempDir();
    const path = dir.file("target");
    const copy = `bun-aio copy - '${path}' --length 1M`;
    const waits = `while [ ! -e '${path}' ]; do :; done`;
    const { end, stderr } = await shell(
      `{ head -c 500000 /dev/zero; ${waits}; rm '${path}'; } | ${copy}`,
    );
    expect(end).toBe(1);
    expect(stderr).toContain("the source ends after 500000 of 1048576 bytes");
    expect(stderr).toContain("was removed while it was written");
    expect(stderr).not.toContain("To continue");
  });

  test("a target that has no name from the beginning keeps it", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(10_000));
    const path = dir.file("target");
    const copy = `bun-aio copy '${source}' /dev/fd/3 --yes -q`;
    const { end, stderr } = await shell(`exec 3<>'${path}'; rm '${path}'; ${copy}`);
    expect([end, stderr]).toEqual([0, ""]);
  });

  // A few bytes of the page that stat tells of; none; the same, and more than one chunk of it.
  for (const path of ["/sys/devices/system/cpu/possible", "/proc/version", "/proc/kallsyms"]) {
    testUnless(
      madeUpMissing(path),
      `${path}, whose size says nothing, is copied, verified and compared to its end`,
      async () => {
        using dir = new TempDir();
        const target = dir.file("target");
        const copied = await bunAio(["copy", path, target, "--verify", "--hash", "--json"]);
        expect(copied.end).toBe(0);
        const expected = readFileSync(path);
        const digest = Bun.CryptoHasher.hash("sha256", expected, "hex");
        expect(JSON.parse(copied.stdout)).toMatchObject({
          ...{ prefix: expected.byteLength, verified: true, digest },
        });
        expect(Buffer.compare(readFileSync(target), expected)).toBe(0);
        expect((await bunAio(["verify", path, target, "-q"])).end).toBe(0);
        const same = await bunAio(["verify", target, path, "--json", "-q"]);
        expect(same.end).toBe(0);
        expect(JSON.parse(same.stdout)).toMatchObject({
          ...{ identical: true, compared: expected.byteLength },
          b: { size: expected.byteLength, sha256: digest },
        });
        const longer = dir.file("longer", Buffer.concat([expected, Buffer.from("x")]));
        const shorter = dir.file("shorter", expected.subarray(0, -1));
        for (const [other, first] of [
          [longer, expected.byteLength],
          [shorter, expected.byteLength - 1],
        ] as const) {
          const differ = await bunAio(["verify", path, other, "-q"]);
          expect(differ.end).toBe(4);
          expect(differ.stdout).toContain(`first at ${first}\n`);
        }
      },
    );
  }

  test("refuses what cannot be right, before it writes", async () => {
    using dir = new TempDir();
    const source = dir.file("source", "data");
    mkdirSync(dir.file("folder"));
    const cases: [string, number, string][] = [
      ["/dev/bun-aio-no-such-disk", 3, "there is no device"],
      [dir.file("none/target"), 3, "there is no directory"],
      [source, 3, "are the same file or disk"],
      [dir.file("folder"), 1, "EISDIR"],
      ["-", 2, "DST must be a file"],
    ];
    const results = await Promise.all(
      cases.map(([target]) => bunAio(["copy", source, target, "--yes"])),
    );
    results.forEach(({ end, stdout, stderr }, index) => {
      const [target, code, words] = cases[index] ?? ["", -1, "?"];
      expect([target, end, stdout]).toEqual([target, code, ""]);
      expect(stderr).toContain(words);
    });
    expect(readFileSync(source, "utf8")).toBe("data");
  });

  test("refuses a range that the source does not have, before it writes", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(5000));
    const target = dir.file("target", pattern(20_000, 2));
    const cases: [string[], string][] = [
      [["--from", "8k"], "has only 4.88 KiB (5,000 bytes): cannot begin at 8192"],
      [["--skip", "4k", "--length", "1k"], "cannot read 1024 bytes from 4096"],
      [["--from", "1", "--skip", "1"], "--from sets both --skip and --seek"],
    ];
    const results = await Promise.all(
      cases.map(([args]) => bunAio(["copy", source, target, "--yes", ...args])),
    );
    results.forEach(({ end, stdout, stderr }, index) => {
      expect([end, stdout]).toEqual([2, ""]);
      expect(stderr).toContain(cases[index]?.[1] ?? "?");
    });
    expect(Buffer.compare(readFileSync(target), pattern(20_000, 2))).toBe(0);
  });

  testUnless(
    noLinux,
    "asks before it writes to a character device, but for the harmless ones",
    async () => {
      using dir = new TempDir();
      const source = dir.file("source", "data");
      const asked = await bunAio(["copy", source, "/dev/urandom"]);
      expect([asked.end, asked.stdout]).toEqual([3, ""]);
      expect(asked.stderr).toContain("/dev/urandom  (character device)");
      expect((await bunAio(["copy", source, "/dev/null"])).end).toBe(0);
    },
  );

  test("says where a link leads, and nothing of the kind for a path that is none", async () => {
    using dir = new TempDir();
    dir.file("source", "data");
    dir.file("target", "old");
    symlinkSync("target", dir.file("link"));
    const options = { cwd: dir.path };
    const plain = await bunAio(["copy", "source", "target"], options);
    expect(plain.stderr).toContain("\n  target  (file, 3 bytes)\n");
    const linked = await bunAio(["copy", "source", "link"], options);
    expect(linked.stderr).toContain(`\n  link -> ${realpathSync(dir.file("target"))}  (file`);
  });
});

const noDevice = imageDevice.unavailable();

describe("copy onto devices", () => {
  testUnless(noDevice, "writes an image, which cmp and sha256sum confirm", async () => {
    using dir = new TempDir();
    // No whole number of sectors.
    const image = pattern(1_500_100);
    const source = dir.file("image", image);
    await using device = await imageDevice({ size: 4 * 2 ** 20, exclusive: false });
    const path = device.path ?? "";
    const args = ["copy", source, path, "--yes", "--verify"];
    const { end, stderr } = await bunAio(args);
    expect(stderr).toContain(`${path}  (disk, 4 MiB`);
    expect(stderr).toContain("only zeroes at its start");
    expect(stderr).toContain("the rest stays as it is");
    expect(end).toBe(0);
    await same(source, path, image.length);
    const back = await bunAio(["copy", path, dir.file("back"), "--length", String(image.length)]);
    expect(back.end).toBe(0);
    expect(await sha256(dir.file("back"))).toBe(await sha256(source));
    const verified = await bunAio(["verify", source, path]);
    expect(verified.end).toBe(0);
    expect(verified.stdout).toContain(`sha256 ${await sha256(source)}`);
  });

  testUnless(noDevice, "refuses a device that is too small, or held by somebody", async () => {
    using dir = new TempDir();
    const large = dir.file("large", new Uint8Array(2 * 2 ** 20));
    const small = dir.file("small", new Uint8Array(4096));
    await using device = await imageDevice({ size: 2 ** 20 });
    const path = device.path ?? "";
    const tooSmall = await bunAio(["copy", large, path, "--yes"]);
    expect(tooSmall.end).toBe(3);
    expect(tooSmall.stderr).toContain("is too small: it has room for 1 MiB");
    const held = await bunAio(["copy", small, path, "--yes"]);
    expect(held.end).toBe(3);
    expect(held.stderr).toContain("EBUSY");
    expect(held.stderr).toContain(`pid ${process.pid}`);
  });

  testUnless(noDevice ?? loopMissing, "refuses two names of the same blocks", async () => {
    using dir = new TempDir();
    const image = dir.file("image", pattern(2 ** 20));
    using loop = new LoopDevice(image);
    for (const [source, target] of [
      [image, loop.path],
      [loop.path, image],
    ] as const) {
      const { end, stdout, stderr } = await bunAio(["copy", source, target, "--yes"]);
      expect([end, stdout]).toEqual([3, ""]);
      expect(stderr).toContain("attached as");
    }
    expect(Buffer.compare(readFileSync(image), pattern(2 ** 20))).toBe(0);
  });

  testUnless(
    noDevice ?? loopMissing,
    "says that a source is compressed in a way that is not unpacked, even to who asked for quiet",
    async () => {
      using dir = new TempDir();
      using loop = new LoopDevice(dir.file("image", new Uint8Array(2 ** 20)));
      const packed = dir.file("image.lz4", "\x04\x22\x4d\x18 and more");
      const plain = dir.file("plain", pattern(100_000));
      const quiet = ["--yes", "--quiet"];
      const { end, stdout, stderr } = await bunAio(["copy", packed, loop.path, ...quiet]);
      expect([end, stdout]).toEqual([0, ""]);
      expect(stderr).toBe(
        "warning: the source is compressed and will be written as it is; decompress it first?\n",
      );
      for (const args of [[plain], [packed, "--raw"]]) {
        const other = await bunAio(["copy", ...args, loop.path, ...quiet]);
        expect([other.end, other.stderr]).toEqual([0, ""]);
      }
      for (const input of [`<'${packed}'`, `< <(cat '${packed}')`]) {
        const piped = await shell(`bun-aio copy - ${loop.path} --yes --quiet ${input}`);
        expect([piped.end, piped.stderr]).toEqual([0, stderr]);
      }
    },
  );

  test("a disk and a partition of it are the same blocks", async () => {
    const part = { ...place("/dev/sdz1"), device: undefined };
    const disk = { ...place("/dev/sdz"), device: { partitions: [{ path: "/dev/sdz1" }] } as never };
    await expect(refuseShared(disk, part)).rejects.toThrow("/dev/sdz1 is a partition of /dev/sdz");
    await expect(refuseShared(part, disk)).rejects.toThrow("/dev/sdz1 is a partition of /dev/sdz");
    await refuseShared(part, part);
  });

  const noMount = noDevice ?? mountUnavailable();

  testUnless(noMount, "refuses a mounted device, naming the mount point", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(65536));
    await using device = await imageDevice({ size: 8 * 2 ** 20, exclusive: false });
    const path = device.path ?? "";
    expect((await run(["mkfs.ext4", "-q", "-L", "precious", path])).end).toBe(0);
    const point = dir.file("mounted");
    mkdirSync(point);
    expect((await run(["mount", path, point])).end).toBe(0);
    try {
      for (const args of [
        ["copy", source, path, "--yes"],
        ["bench", path, "--rw", "write", "--yes"],
      ]) {
        const { end, stdout, stderr } = await bunAio(args);
        expect([end, stdout]).toEqual([3, ""]);
        expect(stderr).toContain(`${path} is mounted at ${point}`);
        expect(stderr).toContain(`umount ${point}`);
      }
    } finally {
      expect((await run(["umount", point])).end).toBe(0);
    }
    expect((await run(["fsck.ext4", "-fn", path])).end).toBe(0);
    const { end, stderr } = await bunAio(["copy", source, path, "--yes"]);
    expect(stderr).toContain('holds  ext2/3/4 file system, label "precious"');
    expect(end).toBe(0);
    await same(source, path, 65536);
  });

  testUnless(noDevice, "refuses a file that is attached as a loop device", async () => {
    using dir = new TempDir();
    const image = dir.file("image", new Uint8Array(2 ** 20));
    const attached = await run(["losetup", "--find", "--show", image]);
    const path = attached.stdout.trim();
    expect(path).toStartWith("/dev/loop");
    try {
      const { end, stderr } = await bunAio(["copy", dir.file("source", "x"), image, "--yes"]);
      expect(end).toBe(3);
      expect(stderr).toContain(`is attached as ${path}`);
    } finally {
      await run(["losetup", "--detach", path]);
    }
  });
});

describe("verify", () => {
  test("the same contents: 0, with the digest of sha256sum", async () => {
    using dir = new TempDir();
    const a = dir.file("a", pattern(1_234_567));
    const b = dir.file("b", pattern(1_234_567));
    const { end, stdout } = await bunAio(["verify", a, b, "--bs", "100k", "--depth", "4"]);
    expect(end).toBe(0);
    expect(stdout).toContain(`identical: ${a} and ${b}, 1,234,567 bytes`);
    expect(stdout).toContain(`sha256 ${await sha256(a)}`);
  });

  test("holes are not read: 8 TiB in an instant, without the digest of their zeroes", async () => {
    using dir = new TempDir();
    const [a, b, c] = ["a", "b", "c"].map((name) => {
      const path = dir.file(name, "x");
      truncateSync(path, 2 ** 43);
      return path;
    });
    const started = performance.now();
    const same = await bunAio(["verify", `${a}`, `${b}`, "--no-hash", "-q"]);
    expect(same).toEqual({
      end: 0,
      stderr: "",
      stdout: `identical: ${a} and ${b}, 8,796,093,022,208 bytes\n`,
    });
    const fd = openSync(`${c}`, "r+");
    writeSync(fd, "y", 2 ** 42 + 5);
    closeSync(fd);
    const all = await bunAio(["verify", `${a}`, `${c}`, "--no-hash", "--all", "--json", "-q"]);
    expect(performance.now() - started).toBeLessThan(20_000);
    expect(all.end).toBe(4);
    expect(JSON.parse(all.stdout)).toMatchObject({
      ...{ bytesDiffering: 1, ranges: [{ at: 2 ** 42 + 5, length: 1 }] },
      ...{ a: { sha256: null }, b: { sha256: null } },
    });
  });

  test("a pipe as standard input, on either side", async () => {
    using dir = new TempDir();
    const bytes = pattern(2_345_678);
    const a = dir.file("a", bytes);
    for (const [pipe, end, said] of [
      ["cat a", 0, "2,345,678 bytes"],
      ["{ cat a; echo; }", 4, "first at 2345678\n"],
      ["head -c 1000000 a", 4, "first at 1000000\n"],
      ["{ head -c 1000 a; echo; tail -c +1002 a; }", 4, "first at 1000\n"],
    ] as const) {
      for (const sides of [`- ${a}`, `${a} -`]) {
        const { stdout, ...result } = await shell(
          `cd ${dir.path}; ${pipe} | bun-aio verify ${sides} -q`,
        );
        expect(result).toEqual({ end, stderr: "" });
        expect(stdout).toContain(said);
      }
    }
    const part = await shell(`tail -c +101 ${a} | bun-aio verify ${a} - --skip 107 --seek 7 -q`);
    expect([part.end, part.stdout]).toEqual([0, expect.stringContaining("2,345,571 bytes")]);
    const both = await bunAio(["verify", "-", "-"]);
    expect(both.end).toBe(2);
  });

  test("different contents: 4, with the first offset; --all finds every one", async () => {
    using dir = new TempDir();
    const bytes = pattern(700_000);
    const a = dir.file("a", bytes);
    for (const at of [123_456, 123_457, 600_000]) bytes[at] = (bytes[at] ?? 0) ^ 1;
    const b = dir.file("b", bytes);
    const [one, all] = await Promise.all([
      bunAio(["verify", a, b, "-q"]),
      bunAio(["verify", a, b, "--all", "--json", "-q", "--bs", "64k"]),
    ]);
    expect([one.end, all.end]).toEqual([4, 4]);
    expect(one.stdout).toContain(`different: ${a} and ${b}, first at 123456\n`);
    expect(JSON.parse(all.stdout)).toMatchObject({
      identical: false,
      firstDifference: { a: 123456, b: 123456 },
      bytesDiffering: 3,
      ranges: [
        { at: 123456, length: 2 },
        { at: 600000, length: 1 },
      ],
      a: { size: 700000, sha256: await sha256(a) },
      b: { size: 700000, sha256: await sha256(b) },
    });
  });

  test("different lengths differ where the shorter ends, unless a part is named", async () => {
    using dir = new TempDir();
    const a = dir.file("a", pattern(10_000));
    const b = dir.file("b", pattern(9_000));
    const empty = dir.file("empty", "");
    const differ = await bunAio(["verify", a, b, "-q"]);
    expect(differ.end).toBe(4);
    expect(differ.stdout).toContain("first at 9000");
    expect(differ.stdout).toContain("has 10,000 bytes");
    expect((await bunAio(["verify", a, b, "-q", "--length", "9000"])).end).toBe(0);
    expect((await bunAio(["verify", a, b, "-q", "--length", "9001"])).end).toBe(4);
    expect((await bunAio(["verify", empty, empty, "-q"])).end).toBe(0);
  });

  test("a range that is not there, or given twice, is refused", async () => {
    using dir = new TempDir();
    const [a, b] = [dir.file("a", pattern(5000)), dir.file("b", pattern(9000))];
    const beyond = await bunAio(["verify", a, b, "--from", "8k"]);
    expect([beyond.end, beyond.stdout]).toEqual([2, ""]);
    expect(beyond.stderr).toContain("has only 4.88 KiB (5,000 bytes): cannot begin at 8192");
    const twice = await bunAio(["verify", a, b, "--from", "1", "--skip", "2"]);
    expect([twice.end, twice.stdout]).toEqual([2, ""]);
    expect(twice.stderr).toContain("--from sets both --skip and --seek");
    // At the very end there is nothing left, which is the same.
    const c = dir.file("c", pattern(5000, 2));
    expect((await bunAio(["verify", a, c, "--from", "5000", "-q"])).end).toBe(0);
  });

  test("what cannot be read is 1, what has no end is 2", async () => {
    using dir = new TempDir();
    const a = dir.file("a", "a");
    expect((await bunAio(["verify", a, dir.file("none")])).end).toBe(1);
    expect((await bunAio(["verify", a, "/dev/zero"])).end).toBe(2);
  });
});
