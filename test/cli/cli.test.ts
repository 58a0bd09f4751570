// The `bun-aio` command: its language, its help, its exit codes, `info`.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Arguments, closest } from "../../src/cli/arguments.ts";
import { guess, isCompressed } from "../../src/cli/contents.ts";
import { featureNames } from "../../src/cli/info.ts";
import { begun } from "../../src/cli/streams.ts";
import { printable, quoted } from "../../src/cli/terminal.ts";
import {
  formatMicroseconds,
  formatSeconds,
  formatSize,
  grouped,
  parseSize,
} from "../../src/cli/units.ts";
import { imageDevice } from "../../src/testing/index.ts";
import { runCode } from "../support/child.ts";
import { bunAio, shell } from "../support/command.ts";
import { backend, noLinux, testUnless } from "../support/conditions.ts";
import { TempDir } from "../support/temp.ts";
import { indexPath } from "../support/under_test.ts";

const manifest = JSON.parse(
  readFileSync(join(import.meta.dir, "..", "..", "package.json"), "utf8"),
) as {
  version: string;
};

describe("sizes", () => {
  test("are bytes, powers of 1024, or powers of 1000 when so written", () => {
    const sizes: [string, number][] = [
      ...([["0", 0] as const, ["4096", 4096] as const, ["512B", 512] as const] as [
        string,
        number,
      ][]),
      ["4k", 4096],
      ["4K", 4096],
      ["4KiB", 4096],
      ["4kB", 4000],
      ["1M", 2 ** 20],
      ["1MiB", 2 ** 20],
      ["1MB", 1e6],
      ["1.5G", 1.5 * 2 ** 30],
      ["2 TiB", 2 * 2 ** 40],
    ];
    for (const [text, bytes] of sizes)
      expect([text, parseSize("--bs", text)]).toEqual([text, bytes]);
  });

  test("that are none are refused, naming the option and the text", () => {
    for (const text of ["", "x", "4x", "-4k", "1e6", "0x10", "4iB", "1.5", "k", "9P9", "100E"]) {
      expect(() => parseSize("--bs", text)).toThrow(`--bs: "${text}"`);
    }
  });

  test("are shown with three digits", () => {
    expect([0, 1, 1023, 1024, 1536, 10 * 2 ** 20, 123456789, 2 ** 60].map(formatSize)).toEqual([
      ...["0 bytes", "1 byte", "1023 bytes", "1 KiB", "1.50 KiB", "10 MiB", "118 MiB", "1 EiB"],
    ]);
    expect([0.123, 9.96, 59.96, 3725].map(formatSeconds)).toEqual([
      ...["0.12 s", "10.0 s", "1 min 00 s", "1 h 02 min"],
    ]);
    expect([0.25, 12.34, 999.9, 12_345, 2e6].map(formatMicroseconds)).toEqual([
      ...["250 ns", "12 us", "1 ms", "12 ms", "2 s"],
    ]);
    expect(grouped(1234567)).toBe("1,234,567");
  });
});

describe("words", () => {
  test("the closest one is found, and none when nothing is close", () => {
    const words = ["sparse", "verify", "depth", "seconds", "yes"];
    expect(closest("sprase", words)).toBe("sparse");
    expect(closest("sec", words)).toBe("seconds");
    expect(closest("verfy", words)).toBe("verify");
    expect(closest("banana", words)).toBeUndefined();
  });

  test("options may stand anywhere, as may values; after -- all are operands", () => {
    const spec = { values: ["bs"], flags: ["yes"] };
    const args = new Arguments("copy", spec, ["a", "-y", "--bs=4k", "--", "--bs"]);
    expect(args.positionals).toEqual(["a", "--bs"]);
    expect([args.flag("yes"), args.size("bs")]).toEqual([true, 4096]);
    expect(new Arguments("copy", spec, ["-"]).positionals).toEqual(["-"]);
    expect(() => new Arguments("copy", spec, ["--yes=1"])).toThrow("--yes takes no value");
    expect(() => new Arguments("copy", spec, ["--bs", "--yes"])).toThrow("--bs needs a value");
    expect(() => new Arguments("copy", spec, ["-x"])).toThrow("unknown option -x");
  });

  test("paths are quoted for the shell and cleaned for the terminal", () => {
    expect(quoted("/dev/sda")).toBe("/dev/sda");
    expect(quoted("a b'c")).toBe("'a b'\\''c'");
    expect(printable("a\x1b[2Jb\n")).toBe("a?[2Jb?");
  });

  test("io_uring's flags have their names", () => {
    expect(featureNames("io_uring", (1 << 12) | (1 << 13))).toEqual([
      ...["SINGLE_ISSUER", "DEFER_TASKRUN"],
    ]);
    expect(featureNames("threads", 0)).toEqual([]);
  });

  test("contents are told by their signatures", () => {
    const disk = (at: number, bytes: string): Uint8Array => {
      const start = new Uint8Array(65536);
      start.set(Buffer.from(bytes, "latin1"), at);
      return start;
    };
    expect(guess(disk(512, "EFI PART"))).toBe("GPT partition table");
    expect(guess(disk(1080, "\x53\xef"))).toBe("ext2/3/4 file system");
    expect(guess(disk(0, "\x1f\x8b\x08"))).toBe("gzip-compressed data");
    for (const bytes of ["7z\xbc\xaf\x27\x1c", "\x04\x22\x4d\x18", "LZIP", "PK\x03\x04", "BZh91"]) {
      expect([bytes, isCompressed(guess(disk(0, bytes)))]).toEqual([bytes, true]);
    }
    expect(isCompressed(guess(disk(0, "hsqs")))).toBe(false);
    expect(guess(disk(100, "hello"))).toBe("data of unknown kind");
    expect(guess(new Uint8Array(512))).toBe("only zeroes at its start");
    expect(guess(new Uint8Array([1]))).toBe("data of unknown kind");
  });
});

test("the beginning of what comes in single bytes is known, and nothing of it is lost", async () => {
  for (const text of ["a text, read slowly", "short", ""]) {
    const bytes = new TextEncoder().encode(text);
    const slow = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start(controller) {
        for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
        controller.close();
      },
    });
    const [head, whole] = await begun(slow, 10);
    expect(new TextDecoder().decode(head)).toBe(text.slice(0, 10));
    expect(await new Response(whole).text()).toBe(text);
  }
});

describe("the command", () => {
  test("--help teaches on stdout, for each command too", async () => {
    const pages = await Promise.all(
      [["--help"], ["help"], ["info", "-h"], ["copy", "--help"], ["help", "verify"]].map((args) =>
        bunAio(args),
      ),
    );
    for (const { end, stdout, stderr } of pages) {
      expect([end, stderr]).toEqual([0, ""]);
      expect(stdout).toContain("Usage:");
      expect(stdout).toContain("Exit codes:");
    }
    const bench = await bunAio(["bench", "--help"]);
    for (const option of ["--rw", "--bs", "--depth", "--seconds", "--json", "--svg", "--yes"]) {
      expect(bench.stdout).toContain(option);
    }
  });

  test("--version is the package's", async () => {
    const { end, stdout } = await bunAio(["--version"]);
    expect([end, stdout]).toEqual([0, `${manifest.version}\n`]);
  });

  test("nothing, unknown commands and unknown options are usage errors on stderr", async () => {
    const cases: [string[], string][] = [
      [[], "Usage:"],
      [["cpy"], 'unknown command "cpy"\nDid you mean copy?'],
      [["--jsonn"], "unknown option --jsonn"],
      [["copy", "a", "b", "--sprase"], "unknown option --sprase\nDid you mean --sparse?"],
      [["copy", "a"], "DST missing"],
      [["verify", "a", "b", "c"], 'unexpected argument "c"'],
      [["copy", "if=a", "of=b"], "is dd syntax"],
      [["copy", "a", "b", "--depth", "0"], '--depth: "0" is not a number from 1 to 1024'],
      [["copy", "a", "b", "--from", "1", "--skip", "1"], "--from sets both --skip and --seek"],
      [["bench", "x", "--rw", "randraed"], "Did you mean randread?"],
    ];
    const results = await Promise.all(cases.map(([args]) => bunAio(args)));
    results.forEach(({ end, stdout, stderr }, index) => {
      expect([end, stdout]).toEqual([2, ""]);
      expect(stderr).toContain(cases[index]?.[1] ?? "?");
    });
  });

  test("errors are words, without colour in a pipe and without a stack", async () => {
    using dir = new TempDir();
    const { end, stdout, stderr } = await bunAio(["copy", dir.file("none"), dir.file("target")]);
    expect([end, stdout]).toEqual([1, ""]);
    expect(stderr).toBe(`error: there is no ${dir.file("none")}\n`);
  });

  test("a reader that has seen enough is no error", async () => {
    const { end, stderr } = await shell(
      "set -o pipefail; bun-aio info --json | head -c 1 >/dev/null",
    );
    expect(stderr).toBe("");
    // What head's end does to the writer is up to timing: a clean end, or SIGPIPE's.
    expect([0, 141]).toContain(Number(end));
  });

  testUnless(
    noLinux,
    "a result that cannot be written is a failure; words that cannot are not",
    async () => {
      using dir = new TempDir();
      const [a, b] = [dir.file("a", "some"), dir.file("b", "same")];
      const lost = await shell("bun-aio info --json >/dev/full");
      expect(lost.end).toBe(1);
      expect(lost.stderr).toContain("error: the result could not be written: ENOSPC");
      const differing = await shell(`bun-aio verify '${a}' '${b}' -q >/dev/full`);
      expect(differing.end).toBe(4);
      // Whoever reads has gone: the exit code is still that of the work.
      const gone = await shell(`bun-aio verify '${a}' '${b}' -q | true; exit "\${PIPESTATUS[0]}"`);
      expect([gone.end, gone.stderr]).toEqual([4, ""]);
      const mute = await shell(`bun-aio copy '${a}' '${dir.file("c")}' 2>/dev/full`);
      expect([mute.end, readFileSync(dir.file("c"), "utf8")]).toEqual([0, "some"]);
      expect((await shell("bun-aio nosuch 2>/dev/full")).end).toBe(2);
    },
  );

  test("its dependencies are loaded by the command only", async () => {
    const code = `
      await import(${JSON.stringify(indexPath)});
      const loaded = [...Object.keys(require.cache)];
      const foreign = loaded.filter((path) => /node_modules|src.cli/.test(path));
      console.log(JSON.stringify({ count: loaded.length, foreign }));
    `;
    const { stdout } = await runCode(code, { bare: true });
    const { count, foreign } = JSON.parse(stdout);
    expect(count).toBeGreaterThan(10);
    expect(foreign).toEqual([]);
  });
});

describe("info", () => {
  test("says which backend is used and why, for people and as JSON", async () => {
    const [text, json] = await Promise.all([bunAio(["info"]), bunAio(["info", "--json"])]);
    expect([text.end, json.end]).toEqual([0, 0]);
    expect(text.stdout).toMatch(new RegExp(`^backend +${backend}`));
    expect(text.stdout).not.toContain("\x1b");
    const about = JSON.parse(json.stdout);
    expect(about.backend).toBe(backend);
    expect(about.backendReason).toStartWith(backend);
    expect(about.version).toBe(manifest.version);
    expect(about.queueDepth).toBe(128);
    expect(Array.isArray(about.features)).toBe(true);
    expect(Array.isArray(about.devices)).toBe(true);
  });

  test("tells a file's size, alignment and contents", async () => {
    using dir = new TempDir();
    const image = new Uint8Array(65536);
    image.set(Buffer.from("EFI PART"), 512);
    const path = dir.file("disk.img", image);
    const [text, json] = await Promise.all([
      bunAio(["info", path]),
      bunAio(["info", path, "--json"]),
    ]);
    expect(text.stdout).toContain("64 KiB (65,536 bytes)");
    expect(text.stdout).toContain("GPT partition table");
    const about = JSON.parse(json.stdout);
    expect(about).toMatchObject({ kind: "regular", size: 65536, contents: "GPT partition table" });
    expect(about.geometry).toBeNull();
  });

  test("what is missing is an error", async () => {
    using dir = new TempDir();
    const { end, stderr } = await bunAio(["info", dir.file("none")]);
    expect(end).toBe(1);
    expect(stderr).toContain("there is no");
  });

  testUnless(
    noLinux ?? imageDevice.unavailable(),
    "tells a device's geometry, and lists it",
    async () => {
      await using device = await imageDevice({ size: 2 ** 20, sectorSize: 4096 });
      const path = device.path ?? "";
      const [one, all] = await Promise.all([
        bunAio(["info", path, "--json"]),
        bunAio(["info", "--json"]),
      ]);
      const about = JSON.parse(one.stdout);
      expect(about).toMatchObject({ kind: "disk", size: 2 ** 20 });
      expect(about.geometry.logicalSectorSize).toBe(4096);
      expect(about.directAlignment.offset).toBe(4096);
      const paths = JSON.parse(all.stdout).devices.map((it: { path: string }) => it.path);
      expect(paths).toContain(path);
    },
  );
});
