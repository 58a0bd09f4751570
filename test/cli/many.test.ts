// `bun-aio copy SRC DST DST2 ...`: one reading, many targets, each with its own bar, report and way on.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, symlinkSync } from "node:fs";
import { run } from "../support/child.ts";
import { bunAio, CTRL_C, Session, shell } from "../support/command.ts";
import { testUnless } from "../support/conditions.ts";
import { LoopDevice, loopMissing } from "../support/control.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

const MIB = 2 ** 20;

async function expectSame(a: string, b: string, bytes: number): Promise<void> {
  const { end, stdout } = await run(["cmp", "-n", String(bytes), a, b]);
  expect([end, stdout]).toEqual([0, ""]);
}

describe("many targets", () => {
  testUnless(loopMissing, "files and disks at once, verified, with a report for each", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(3 * MIB + 77));
    using disk = new LoopDevice(dir.file("disk", new Uint8Array(4 * MIB)));
    const targets = [dir.file("new"), disk.path, dir.file("old", new Uint8Array(5 * MIB).fill(7))];
    const args = ["copy", source, ...targets, "--yes", "--verify", "--hash"];
    const { end, stdout, stderr } = await bunAio(args);
    expect(end).toBe(0);
    for (const target of targets) {
      await expectSame(source, target, 3 * MIB + 77);
      expect(stderr).toContain(`${target}: copied 3.00 MiB (3,145,805 bytes) in`);
      expect(stderr).toMatch(new RegExp(`^${target} +copy 100% `, "m"));
      expect(stderr).toMatch(new RegExp(`^${target} +verify 100% `, "m"));
    }
    expect(readFileSync(targets[2] ?? "").byteLength).toBe(3 * MIB + 77);
    const digest = new Bun.CryptoHasher("sha256").update(readFileSync(source)).digest("hex");
    expect(stdout).toBe(`${digest}  ${source}\n`.repeat(3));
  });

  testUnless(loopMissing, "one that fails drops out alone, and its way on is printed", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(3 * MIB));
    using disk = new LoopDevice(dir.file("disk", new Uint8Array(4 * MIB)));
    // The shell limits the size of files.
    const line = `trap '' XFSZ; ulimit -f 64; bun-aio copy '${source}' '${dir.file("a")}' ${disk.path} -y`;
    const { end, stdout, stderr } = await shell(`${line} --verify --json --bs 16k`);
    await expectSame(source, disk.path, 3 * MIB);
    expect(end).toBe(1);
    const [failed, done] = stdout
      .trim()
      .split("\n")
      .map((text) => JSON.parse(text));
    expect(failed).toMatchObject({ target: dir.file("a"), error: "EFBIG", verified: false });
    expect(done).toMatchObject({ target: disk.path, bytesCopied: 3 * MIB, verified: true });
    const command = /^To .*:\n {2}(.*)$/m.exec(stderr)?.[1] ?? "";
    expect(command).toContain(` copy ${source} ${dir.file("a")} --`);
    expect((await run(["sh", "-c", command])).end).toBe(0);
    await expectSame(source, dir.file("a"), 3 * MIB);
  });

  test("a packed stream, once for all; with as many bars", async () => {
    using dir = new TempDir();
    const bytes = pattern(5 * MIB);
    const packed = dir.file("packed.gz", Bun.gzipSync(bytes));
    const piped = await shell(`cd '${dir.path}'; cat packed.gz | bun-aio copy - a b c -q`);
    expect([piped.end, piped.stderr]).toEqual([0, ""]);
    for (const name of ["a", "b", "c"]) {
      expect(Buffer.compare(readFileSync(dir.file(name)), bytes)).toBe(0);
    }
    await using session = new Session(
      ["copy", packed, dir.file("one"), dir.file("two"), "--verify"],
      {},
      [],
      120,
    );
    expect(await session.end()).toBe(0);
    for (const name of ["one", "two"]) {
      expect(session.screen).toMatch(new RegExp(`${dir.file(name)} verify █+ 100% 5 MiB of 5 MiB`));
    }
  });

  test("refusals name the target, and then nothing is written", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(1000));
    const old = dir.file("old", "old");
    symlinkSync(old, dir.file("link"));
    for (const [targets, code, words] of [
      [[dir.file("new"), old], 3, "Pass --yes"],
      [[dir.file("new"), dir.file("new")], 3, "are the same file or disk"],
      [[old, dir.file("link"), "--yes"], 3, "are the same file or disk"],
      [[dir.file("new"), source, "--yes"], 3, "are the same file or disk"],
      [[dir.file("new"), "/dev/no/such"], 3, "/dev/no/such"],
      [[dir.file("new"), "/dev/null"], 2, "/dev/null is neither a file nor a disk"],
      [[dir.file("new"), "-"], 2, "DST must be"],
      [
        [dir.file("new"), dir.file("b"), "--verify", "--from", "8", "--verify-from", "0"],
        2,
        "one DST",
      ],
    ] as const) {
      const { end, stderr } = await bunAio(["copy", source, ...targets]);
      expect([targets, end, stderr.includes(words)]).toEqual([targets, code, true]);
      expect([existsSync(dir.file("new")), readFileSync(old, "utf8")]).toEqual([false, "old"]);
    }
  });

  test("Ctrl-C prints what does the rest of each", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(2 * MIB));
    expect((await run(["truncate", "-s", "32M", source])).end).toBe(0);
    const targets = [dir.file("a"), dir.file("b")];
    const slow = ["--bs", "4k", "--depth", "1"];
    await using session = new Session(["copy", source, ...targets, ...slow]);
    await session.until(/copy .*\d [KM]iB of 32 MiB/);
    session.type(CTRL_C);
    expect(await session.end()).toBe(130);
    const commands = [...session.screen.matchAll(/^To .*:\r?\n {2}(.*?)\r?$/gm)].map(
      (found) => found[1] ?? "",
    );
    expect(commands).toHaveLength(2);
    for (const [index, command] of commands.entries()) {
      const target = targets[index] ?? "";
      expect(command).toContain(` copy ${source} ${target} `);
      const fast = command.replace(" --bs 4096 --depth 1", "");
      expect((await run(["sh", "-c", `${fast} --yes`])).end).toBe(0);
      await expectSame(source, target, 32 * MIB);
    }
  });
});
