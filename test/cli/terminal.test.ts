// The `bun-aio` command in a pseudo-terminal: the bar, the question, Ctrl-C, colour.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { run } from "../support/child.ts";
import { CTRL_C, Session } from "../support/command.ts";
import { testUnless } from "../support/conditions.ts";
import { LoopDevice, loopMissing } from "../support/control.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const COLUMN_1 = "\x1b[1G";
const QUESTION = /Type "yes" to go on: /;

describe("in a terminal", () => {
  test("a bar is drawn in place, and the cursor is shown again", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(5_000_000));
    await using session = new Session(["copy", source, dir.file("target"), "--verify"]);
    expect(await session.end()).toBe(0);
    const { screen } = session;
    expect(screen).toContain("█".repeat(20));
    expect(screen).toMatch(/copy █+ 100% 4.77 MiB of 4.77 MiB/);
    expect(screen).toMatch(/verify █+ 100% 4.77 MiB of 4.77 MiB/);
    expect(screen).toContain("copied 4.77 MiB");
    const shown = "\x1b[?25h";
    expect(screen.lastIndexOf(shown)).toBeGreaterThan(screen.lastIndexOf("\x1b[?25l"));
    expect((await run(["cmp", source, dir.file("target")])).end).toBe(0);
  });

  /** What is on a terminal of so many columns in the end, a line each; the bar as it was drawn last. */
  function lines(screen: string): string[] {
    return Bun.stripANSI(screen.replaceAll(COLUMN_1, "\r"))
      .split(/\r?\n/)
      .map(
        (line) =>
          line
            .split("\r")
            .filter((part) => part !== "")
            .at(-1) ?? "",
      );
  }

  test("the bars of copy and verify stand below each other, with a rate each", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(5_000_000));
    for (const columns of [120, 80, 60]) {
      const args = ["copy", source, dir.file(`target${columns}`), "--verify"];
      await using session = new Session(args, {}, [], columns);
      expect(await session.end()).toBe(0);
      const [copy = "", verify = ""] = lines(session.screen);
      const [begins, ends] = [copy.indexOf("█"), copy.lastIndexOf("█")];
      expect(begins).toBeGreaterThan(0);
      expect([verify.indexOf("█"), verify.lastIndexOf("█")]).toEqual([begins, ends]);
      for (const line of [copy, verify]) expect(line).toMatch(/100% 4\.77.*[KMG]iB\/s$/);
      expect(copy.length).toBe(verify.length);
      const summary = lines(session.screen).slice(2).join(" ");
      expect(summary).toMatch(
        /copied .*iB\/s, read back in .*iB\/s, verified bytes 0 to 5,000,000/,
      );
    }
  });

  test("in 40 columns the bar gives way to the numbers, and lines end between words", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(5_000_000));
    const target = dir.file("target", "old");
    for (const [args, words] of [
      [["copy", source, target, "--yes", "--verify"], "copied 4.77 MiB (5,000,000 bytes) in"],
      [
        ["copy", source, "/dev/no/such"],
        "there is no device /dev/no/such A file created there would",
      ],
      [["bench", source, "--seconds", "0.2"], "randread"],
      [["copy", "--help"], "copy files, images and disks: a dd that checks before it writes"],
      [["info"], "backend"],
    ] as const) {
      await using session = new Session([...args], {}, [], 40);
      await session.end();
      const shown = lines(session.screen);
      for (const line of shown) {
        if (line.trim().includes(" ")) expect([line, line.length <= 40]).toEqual([line, true]);
      }
      expect(shown.map((line) => line.trim()).join(" ")).toContain(words);
    }
  });

  test("the numbers of a bar in 40 columns", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(5_000_000));
    const args = ["copy", source, dir.file("target"), "--verify"];
    await using session = new Session(args, {}, [], 40);
    expect(await session.end()).toBe(0);
    const [copy, verify] = lines(session.screen);
    expect(copy).toMatch(/^copy 100% 4\.77( MiB of |\/)4\.77 MiB [\d.]+ [KMG]iB\/s$/);
    expect(verify).toMatch(/^verify 100% 4\.77( MiB of |\/)4\.77 MiB [\d.]+ [KMG]iB\/s$/);
  });

  test("the bar follows the terminal when that is resized, and shows the time of a benchmark", async () => {
    using dir = new TempDir();
    const path = dir.file("file", pattern(2 ** 20));
    await using session = new Session(["bench", path, "--seconds", "600"]);
    await session.until(/randread ░{20,} +0% [\d.]+ s of 10 min 00 s +[\d.]+ .iB\/s/);
    session.resize(44);
    await session.until(/Grandread 0% [\d.]+ s of 10 min 00 s [\d.]+ .iB\/s/);
    session.type(CTRL_C);
    expect(await session.end()).toBe(130);
  });

  test("the question: yes writes", async () => {
    using dir = new TempDir();
    const source = dir.file("source", "new contents");
    const target = dir.file("target", "old contents, which are longer");
    await using session = new Session(["copy", source, target]);
    await session.until(QUESTION);
    session.type("yes\n");
    expect(await session.end()).toBe(0);
    expect(readFileSync(target, "utf8")).toBe("new contents");
  });

  test("the question: anything else, the end of input, and Ctrl-C write nothing", async () => {
    using dir = new TempDir();
    const source = dir.file("source", "new");
    const target = dir.file("target", "old");
    const answers: [string, number, string][] = [
      ["no\n", 3, "not confirmed; nothing was written"],
      ["\n", 3, "not confirmed; nothing was written"],
      ["\x04", 3, "not confirmed; nothing was written"],
      [CTRL_C, 130, "stopped; nothing was written"],
    ];
    for (const [keys, code, words] of answers) {
      await using session = new Session(["copy", source, target]);
      await session.until(QUESTION);
      session.type(keys);
      expect([keys, await session.end()]).toEqual([keys, code]);
      expect(session.screen).toContain(words);
    }
    expect(readFileSync(target, "utf8")).toBe("old");
  });

  testUnless(
    loopMissing,
    "the question: what was attached meanwhile is not written over",
    async () => {
      using dir = new TempDir();
      const source = dir.file("source", "new");
      const target = dir.file("target", pattern(2 ** 20));
      await using session = new Session(["copy", source, target]);
      await session.until(QUESTION);
      using loop = new LoopDevice(target);
      session.type("yes\n");
      expect(await session.end()).toBe(3);
      expect(session.screen).toContain(`is attached as ${loop.path}`);
      expect(Buffer.compare(readFileSync(target), pattern(2 ** 20))).toBe(0);
    },
  );

  test("the question is not asked of what is copied", async () => {
    using dir = new TempDir();
    const target = dir.file("target", "old");
    await using session = new Session(["copy", "-", target]);
    expect(await session.end()).toBe(3);
    expect(session.screen).toContain("cannot ask for confirmation: standard input is SRC");
    expect(session.screen).toContain("Pass --yes");
    expect(readFileSync(target, "utf8")).toBe("old");
  });

  test("Ctrl-C ends a benchmark early, with its results", async () => {
    using dir = new TempDir();
    const path = dir.file("file", pattern(2 ** 20));
    await using session = new Session(["bench", path, "--seconds", "600"]);
    await session.until(/randread .* s of /);
    session.type(CTRL_C);
    expect(await session.end()).toBe(130);
    expect(session.screen).toMatch(/^read +[\d,]+ /m);
  });

  test("a benchmark's own file is removed also when Ctrl-C ends it, or while it is made", async () => {
    using dir = new TempDir();
    const path = dir.file("scratch");
    for (const [size, moment, keys] of [
      ["1M", /randread .* s of /, CTRL_C + CTRL_C],
      ["4G", /creating /, CTRL_C],
    ] as const) {
      const args = ["bench", path, "--size", size, "--seconds", "600"];
      await using session = new Session(args);
      await session.until(moment);
      session.type(keys);
      expect(await session.end()).toBe(130);
      expect(existsSync(path)).toBe(false);
    }
  });

  test("errors are red, unless NO_COLOR or TERM=dumb say no", async () => {
    using dir = new TempDir();
    const args = ["verify", dir.file("none"), dir.file("none")];
    const screens: string[] = [];
    for (const env of [{}, { NO_COLOR: "1" }, { TERM: "dumb" }]) {
      await using session = new Session(args, env);
      expect(await session.end()).toBe(1);
      screens.push(session.screen);
    }
    expect(screens[0]).toContain("\x1b[31merror:\x1b[39m there is no");
    expect(screens[1]).not.toContain("\x1b");
    expect(screens[2]).not.toContain("\x1b");
  });

  test("TERM=dumb gets lines instead of a bar", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(100_000));
    await using session = new Session(["copy", source, dir.file("target")], { TERM: "dumb" });
    expect(await session.end()).toBe(0);
    expect(session.screen).toMatch(/^copy 100% /);
    expect(session.screen).not.toContain("\x1b");
  });
});
