// The command that `bun-aio copy` prints when it ends early can be pasted into a shell, and does the rest.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { Job } from "../../src/cli/copy_job.ts";
import { type Ended, isWritten, wayOn } from "../../src/cli/resume.ts";
import { processByProc, processByPs } from "../../src/cli/started.ts";
import { libraryFile } from "../../src/native/library.ts";
import { imageDevice } from "../../src/testing/index.ts";
import { type ChildResult, run } from "../support/child.ts";
import { bunAio, CTRL_C, Session, shell } from "../support/command.ts";
import { noLinux, testUnless, unless } from "../support/conditions.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";
import { mainPath as main } from "../support/under_test.ts";

/** The shell limits the size of files: the write behind 64 KiB fails with EFBIG. */
const LIMIT = "trap '' XFSZ; ulimit -f 64; ";
const MIB = 2 ** 20;

/** The command that was printed below its title. */
function printed(said: string): string {
  const command = /^(?:To|Or) .*:\r?\n {2}(.*?)\r?$/m.exec(said)?.[1];
  if (command === undefined) throw new Error(`no command in:\n${said}`);
  return command;
}

function paste(line: string, cwd?: string): Promise<ChildResult> {
  return run(["sh", "-c", line], cwd === undefined ? {} : { cwd });
}

function flip(path: string, at: number): void {
  const fd = openSync(path, "r+");
  const byte = new Uint8Array(1);
  readSync(fd, byte, 0, 1, at);
  writeSync(
    fd,
    byte.map((value) => value ^ 1),
    0,
    1,
    at,
  );
  closeSync(fd);
}

function sha256(path: string): string {
  return new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex");
}

function expectSame(a: string, b: string): void {
  expect(Buffer.compare(readFileSync(a), readFileSync(b))).toBe(0);
}

describe("stopped", () => {
  const SLOW = ["--bs", "4k", "--depth", "1", "--yes", "--sparse"];
  const SIZE = 256 * MIB;

  /** The same job, done in less time. */
  function fast(command: string): string {
    return command.replace(" --bs 4096 --depth 1", "");
  }

  /** Mostly zeroes, but no holes: requests of 4 KiB take their time, all else is quick. */
  function large(dir: TempDir, size: number): string {
    const path = dir.file("source", pattern(2 * MIB));
    const zeroes = new Uint8Array(MIB);
    const fd = openSync(path, "r+");
    for (let at = 2 * MIB; at < size; at += MIB) {
      writeSync(fd, zeroes, 0, Math.min(MIB, size - at), at);
    }
    closeSync(fd);
    return path;
  }

  /** Stops a copy when `moment` is on the screen; the screen. */
  async function stopped(paths: string[], options: string[], moment: RegExp): Promise<string> {
    await using session = new Session(["copy", ...paths, ...SLOW, ...options]);
    await session.until(moment);
    session.type(CTRL_C);
    expect([await session.end(), session.screen]).toEqual([130, session.screen]);
    return session.screen;
  }

  test("while copying: what is printed copies the rest", async () => {
    using dir = new TempDir();
    const source = large(dir, SIZE);
    const target = dir.file("target");
    const screen = await stopped([source, target], [], /copy .*\d [KM]iB of 256 MiB/);
    expect(screen).toContain("\nstopped after ");
    const command = printed(screen);
    const from = Number(/ --from (\d+) --bs 4096 --depth 1 --sparse --yes$/.exec(command)?.[1]);
    expect(from).toBeGreaterThan(0);
    expect(from).toBeLessThan(SIZE);
    const done = readFileSync(target).subarray(0, from);
    expect(Buffer.compare(done, readFileSync(source).subarray(0, done.length))).toBe(0);
    expect((await paste(fast(command))).end).toBe(0);
    expectSame(source, target);
  });

  test("while verifying: what is printed verifies all, also what was verified before", async () => {
    using dir = new TempDir();
    const source = large(dir, SIZE + 100);
    const target = dir.file("target", "old");
    truncateSync(target, SIZE + MIB);
    const options = ["--verify", "--hash"];
    const screen = await stopped([source, target], options, /verify .*\d [KM]iB of 256/);
    expect(screen).toContain("\nstopped while verifying; copied 256 MiB (268,435,556 bytes)");
    expect(screen).not.toContain("--from");
    const command = printed(screen);
    flip(target, 5);
    const damaged = await paste(fast(command));
    expect(damaged.end).toBe(4);
    expect(damaged.stdout).toContain("first at 5");
    flip(target, 5);
    const sound = await paste(fast(command));
    expect(sound.end).toBe(0);
    expect(sound.stdout).toContain(`sha256 ${sha256(source)}  bytes 0 to 268,435,556\n`);
  });

  test("while verifying a part: that part is verified", async () => {
    using dir = new TempDir();
    const source = large(dir, SIZE + 2 * MIB);
    const target = dir.file("target", new Uint8Array(3 * MIB));
    const part = ["--skip", "1M", "--seek", "2M", "--length", "256M", "--verify"];
    const command = printed(await stopped([source, target], part, /verify .*\d [KM]iB of 256/));
    expect(command).toEndWith(
      "--skip 1048576 --seek 2097152 --length 268435456 --bs 4096 --depth 1",
    );
    const { end, stdout } = await paste(fast(command));
    expect(end).toBe(0);
    expect(stdout).toContain(`bytes 1,048,576 to 269,484,032 of ${source}, bytes 2,097,152 to`);
  });

  test("while copying, with --verify: what was written before the stop is verified, too", async () => {
    using dir = new TempDir();
    const source = large(dir, SIZE);
    const target = dir.file("target");
    const options = ["--verify", "--hash"];
    const moment = /copy .*\d [KM]iB of 256 MiB/;
    const command = printed(await stopped([source, target], options, moment));
    flip(target, 5);
    const damaged = await paste(fast(command));
    expect(damaged.end).toBe(4);
    expect(damaged.stderr).toContain("ERR_VERIFY");
    expect(damaged.stdout).toBe("");
    // From the very first page on there is nothing to go on from.
    expect(damaged.stderr).toContain("To start over:");
    const mended = await paste(printed(damaged.stderr));
    expect(mended.end).toBe(0);
    expect(mended.stderr).toContain(", verified bytes 0 to 268,435,456");
    expect(mended.stdout).toBe(`${sha256(source)}  ${source}\n`);
    expectSame(source, target);
  });

  test("a second time: what is printed then still verifies from where the first copy began", async () => {
    using dir = new TempDir();
    const source = large(dir, SIZE);
    const target = dir.file("target", readFileSync(source).subarray(0, MIB));
    const paths = [source, target];
    const going = ["--from", "1M", "--verify", "--verify-from", "64k"];
    const copying = printed(await stopped(paths, going, /copy .*\d [KM]iB of 255 MiB/));
    expect(copying).toMatch(/ --from \d+ .*--verify --yes --verify-from 65536$/);
    const verifying = printed(await stopped(paths, going, /verify .*\d [KM]iB of 256 MiB/));
    expect(verifying).toEndWith(" --from 65536 --bs 4096 --depth 1");
    flip(target, 65_535);
    const { end, stderr } = await paste(fast(copying));
    expect(end).toBe(0);
    expect(stderr).toContain(", verified bytes 65,536 to 268,435,456");
    expect((await paste(fast(verifying))).end).toBe(0);
    flip(target, 70_000);
    expect((await paste(fast(copying))).end).toBe(4);
    expect((await paste(fast(verifying))).end).toBe(4);
  });
});

describe("failed", () => {
  test("the rest of a part is the rest of that part", async () => {
    using dir = new TempDir();
    const bytes = pattern(200_000);
    const source = dir.file("source", bytes);
    const target = dir.file("target", new Uint8Array(10_000).fill(9));
    const part = "--skip 1000 --seek 5k --length 150000 --yes --bs 8k --depth 1 --verify --hash";
    const { end, stderr } = await shell(`${LIMIT}bun-aio copy '${source}' '${target}' ${part}`);
    expect(end).toBe(1);
    expect(stderr).toContain("EFBIG");
    const rest = await paste(printed(stderr));
    expect(rest.end).toBe(0);
    const expected = new Uint8Array(5120 + 150_000).fill(9);
    expected.set(bytes.subarray(1000, 151_000), 5120);
    expect(Buffer.compare(readFileSync(target), expected)).toBe(0);
    expect(rest.stderr).toContain(", verified bytes 5,120 to 155,120");
    const digest = new Bun.CryptoHasher("sha256").update(bytes.subarray(1000, 151_000));
    expect(rest.stdout).toBe(
      `sha256 ${digest.digest("hex")}  bytes 1,000 to 151,000 of ${source}\n`,
    );
  });

  test("the question is asked again, unless --yes was given; that is said", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(200_000));
    const copy = `bun-aio copy '${source}' '${dir.file("target")}' --bs 16k --depth 1`;
    const asking = await shell(`${LIMIT}${copy}`);
    expect(asking.stderr).toContain("It asks before it overwrites anything, unless --yes");
    expect(printed(asking.stderr)).not.toContain("--yes");
    expect((await paste(printed(asking.stderr))).end).toBe(3);
    const agreed = await shell(`${LIMIT}${copy} --yes`);
    expect(agreed.stderr).not.toContain("It asks");
    expect((await paste(printed(agreed.stderr))).end).toBe(0);
    expectSame(source, dir.file("target"));
  });

  test("standard input, which cannot answer, and cannot be read twice", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(200_000));
    for (const [options, from] of [
      ["", " --from 65536 --bs 16384 --depth 1 --yes"],
      [" --verify", " --bs 16384 --depth 1 --verify --yes"],
    ]) {
      const target = dir.file(`target${options?.length}`);
      const copy = `cat '${source}' | bun-aio copy - '${target}' --bs 16k --depth 1${options}`;
      const { stderr } = await shell(`${LIMIT}${copy}`);
      expect(stderr).toContain("Give it the same standard input from its beginning");
      expect(printed(stderr)).toEndWith(`${target}${from}`);
      expect((await paste(`cat '${source}' | ${printed(stderr)}`)).end).toBe(0);
      expectSame(source, target);
    }
  });

  test("every option is kept, and names are quoted", async () => {
    using dir = new TempDir();
    const name = "it's \x1b[31m\x9b $HOME `id` \\";
    const source = dir.file(name, pattern(200_000));
    dir.file("-target", "old");
    const options = { cwd: dir.path };
    const words = `--bs=16k --depth=1 --direct --hash --json -q -y --sparse --verify -- "$(cat n)" -target`;
    dir.file("n", name);
    const { stdout, stderr } = await shell(`${LIMIT}bun-aio copy ${words}`, options);
    expect(JSON.parse(stdout)).toMatchObject({ prefix: 65536, error: "EFBIG" });
    expect(stderr).not.toContain("\x1b");
    const command = printed(stderr);
    expect(command).toEndWith(
      "./-target --from 65536 --bs 16384 --depth 1 --direct --hash --json --quiet --sparse --verify --yes --verify-from 0",
    );
    const rest = await paste(command, dir.path);
    expect([rest.end, rest.stderr]).toEqual([0, ""]);
    expect(JSON.parse(rest.stdout)).toMatchObject({
      verifiedRange: { start: 0, end: 200_000 },
      digestRange: { start: 0, end: 200_000 },
      digest: sha256(source),
    });
    expectSame(source, dir.file("-target"));
  });

  test("nothing is advised that cannot work", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(100_000));
    const short = await shell(
      `cat '${source}' | bun-aio copy - '${dir.file("target")}' --length 200000 --bs 16k`,
    );
    expect(short.end).toBe(1);
    expect(short.stderr).toContain("ERR_END_OF_FILE");
    expect(short.stderr).not.toContain("bun-aio/");
    expect(short.stderr).not.toMatch(/^To /m);
    const full = await bunAio(["copy", source, "/dev/full", "--yes"]);
    expect(full.end).toBe(1);
    expect(full.stderr).toContain("ENOSPC");
    expect(full.stderr).not.toMatch(/^To /m);
  });

  testUnless(
    imageDevice.unavailable(),
    "a disk, too, is verified from where the first copy began",
    async () => {
      using dir = new TempDir();
      const bytes = pattern(2 * MIB);
      const source = dir.file("source", bytes);
      await using device = await imageDevice({ size: 2 * MIB, exclusive: false });
      const going = ["--from", "1M", "--verify", "--verify-from", "0", "--hash", "--yes"];
      const early = await bunAio(["copy", source, device.path ?? "", ...going]);
      expect(early.end).toBe(4);
      expect(early.stderr).toContain("ERR_VERIFY");
      const all = await paste(printed(early.stderr));
      expect(all.end).toBe(0);
      expect(all.stderr).toContain("verified bytes 0 to 2,097,152");
      expect(Buffer.compare(readFileSync(device.path ?? ""), bytes)).toBe(0);
      const again = await bunAio(["copy", source, device.path ?? "", ...going]);
      expect([again.end, again.stdout]).toEqual([0, `${sha256(source)}  ${source}\n`]);
    },
  );

  testUnless(imageDevice.unavailable(), "nor a place behind the end of the disk", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(2 * MIB));
    await using device = await imageDevice({ size: MIB, exclusive: false });
    const { end, stderr } = await shell(`cat '${source}' | bun-aio copy - ${device.path} --yes`);
    expect(end).toBe(1);
    expect(stderr).toContain("ENOSPC");
    expect(stderr).not.toMatch(/^To /m);
  });
});

describe("a digest", () => {
  test("of a part has not the form of sha256sum, and says of which bytes it is", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(10_000));
    const parts: [string[], string][] = [
      [["--from", "4096"], "bytes 4,096 to 10,000"],
      [["--length", "9999"], "bytes 0 to 9,999"],
    ];
    for (const [args, words] of parts) {
      const target = dir.file("target", "");
      const { stdout } = await bunAio(["copy", source, target, "--hash", "-yq", ...args]);
      expect(stdout).toMatch(/^sha256 [0-9a-f]{64} {2}/);
      expect(stdout).toEndWith(`${words} of ${source}\n`);
      const check = await shell(`printf %s '${stdout}' | sha256sum -c`);
      expect(check.end).toBe(1);
    }
    const target = dir.file("target");
    const args = ["copy", source, target, "--hash", "-yq", "--length", "10000"];
    expect((await bunAio(args)).stdout).toBe(`${sha256(source)}  ${source}\n`);
  });

  test("--verify-from wants something to do, a place before the copy, and a source to read again", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(10_000));
    const target = dir.file("target", "");
    const cases: [string[], string][] = [
      [[source, target, "--from", "4k"], "needs --verify or --hash"],
      [[source, target, "--verify", "--from", "1k"], "must not be after the start"],
      [[source, target, "--verify", "--skip", "8k"], "is before the start of DST"],
      [["-", target, "--verify", "--from", "8k"], "standard input does not allow"],
      [
        ["/dev/zero", target, "--verify", "--from", "8k", "--length", "1"],
        "/dev/zero does not allow",
      ],
      [[source, target, "--verify", "--from", "8k", "--rescue"], "--rescue does not allow"],
    ];
    for (const [args, words] of cases) {
      const { end, stderr } = await bunAio(["copy", ...args, "--yes", "--verify-from", "4k"]);
      expect([end, stderr.includes(words), words]).toEqual([2, true, words]);
    }
  });
});

describe("what is left to do", () => {
  const place = {
    path: "d",
    realPath: "/d",
    size: 9000,
    end: 9000,
    identity: "",
    device: undefined,
  };
  const disk = { ...place, kind: "disk" } as const;
  const source = { isRereadable: true };
  const once = { isRereadable: false };
  const flags = {
    direct: false,
    hash: false,
    json: false,
    quiet: false,
    raw: false,
    rescue: false,
    unmount: false,
  };
  const job: Job = {
    ...{ source: "s", targets: ["d"], skip: 0, seek: 0, length: undefined, start: 0 },
    ...{
      bmap: undefined,
      map: undefined,
      retries: undefined,
      noBmap: false,
      bs: undefined,
      depth: undefined,
      sparse: false,
      verify: false,
      yes: true,
    },
    ...flags,
    options: ["--yes"],
  };
  const stopped: Ended = {
    ...{ job, source, place: disk, phase: "copy", done: 9000, total: 9000 },
    ...{ hasReadErrors: false, code: "ABORT_ERR", isSynced: true },
  };
  const commandFor = (ended: Ended): string | undefined => {
    return wayOn(ended)?.command.replace(/^.*? (?=(copy|verify) [s-] )/, "");
  };

  test("nothing, when all was written and synced and no look was wanted", () => {
    expect(isWritten(stopped)).toBe(true);
    expect(commandFor(stopped)).toBeUndefined();
    // As much of standard input as the disk has room for.
    const stream = { ...stopped, source: once, total: undefined };
    expect(isWritten(stream)).toBe(true);
    expect(commandFor({ ...stream, job: { ...job, source: "-" } })).toBeUndefined();
  });

  test("all, when the sync failed: a sync tells of an error once", () => {
    expect(commandFor({ ...stopped, isSynced: false })).toBe("copy s d --yes");
    expect(commandFor({ ...stopped, code: "EIO", isSynced: false, done: 8192 })).toBe(
      "copy s d --yes",
    );
  });

  test("a look, when that was wanted and all is written", () => {
    const verify = { ...job, verify: true };
    expect(commandFor({ ...stopped, job: verify })).toBe("verify s d");
    expect(commandFor({ ...stopped, job: { ...job, hash: true } })).toBe("verify s d");
    expect(commandFor({ ...stopped, phase: "verify", job: verify })).toBe("verify s d");
    // What cannot be read twice, or differs, cannot be compared.
    const lost = { ...stopped, job: { ...verify, rescue: true }, hasReadErrors: true };
    expect(commandFor(lost)).toBe("copy s d --yes");
    const stream = { ...stopped, source: once, job: { ...verify, source: "-" } };
    expect(commandFor(stream)).toBe("copy - d --yes");
  });

  test("all, with --rescue and a look: --verify-from could not read it again", () => {
    const rescue = { ...job, rescue: true, options: ["--rescue", "--verify"] };
    const halfway = { ...stopped, done: 4096 };
    const looking = { ...halfway, job: { ...rescue, verify: true } };
    expect(commandFor(looking)).toBe("copy s d --rescue --verify");
    const plain = { ...halfway, job: { ...rescue, options: ["--rescue"] } };
    expect(commandFor(plain)).toBe("copy s d --from 4096 --rescue");
  });

  test("what a block map has, from the beginning of the range it ended in", () => {
    const ranges = [
      { offset: 0, length: 4096 },
      { offset: 8192, length: 40_960 },
    ];
    const ended = { ...stopped, map: { path: "m p", ranges }, total: 90_000 };
    for (const [done, from] of [
      [5000, " --from 4096"],
      [30_000, " --from 8192"],
      [60_000, " --from 57344"],
      [4000, ""],
    ] as const) {
      const command = commandFor({ ...ended, done });
      expect([done, command]).toEqual([done, `copy s d${from} --yes --bmap 'm p'`]);
    }
  });

  test("what differs, and all behind it", () => {
    const verify = { ...job, verify: true, options: ["--verify"] };
    const differs = { ...stopped, code: "ERR_VERIFY", phase: "verify", job: verify } as const;
    expect(commandFor({ ...differs, done: 5000 })).toBe(
      "copy s d --from 4096 --verify --verify-from 0",
    );
    expect(commandFor({ ...differs, done: 5 })).toBe("copy s d --verify");
  });
});

describe("it runs as it was started:", () => {
  const root = join(dirname(main), "..", "..");

  /** A folder with the package in node_modules, as an installation leaves it. */
  function project(dir: TempDir, scripts: Record<string, string> = {}): string {
    const folder = dir.file("my project");
    mkdirSync(join(folder, "node_modules/.bin"), { recursive: true });
    mkdirSync(join(folder, "sub"));
    symlinkSync(root, join(folder, "node_modules/bun-aio"));
    symlinkSync("../bun-aio/src/cli/main.ts", join(folder, "node_modules/.bin/bun-aio"));
    const dependencies = { "bun-aio": "*" };
    writeFileSync(
      join(folder, "package.json"),
      JSON.stringify({ name: "x", scripts, dependencies }),
    );
    return folder;
  }

  const bin = dirname(process.execPath);
  const PATH = `PATH='${bin}':"$PATH"; `;
  const noBunx = unless(Bun.which("bunx") !== null, "bunx is not installed");
  const noNpm = unless(Bun.which("npm") !== null, "npm is not installed");

  /** Starts it with `how`, and pastes what it prints into another shell in the same folder. */
  async function goesOn(folder: string, how: string, args = "copy source target"): Promise<string> {
    writeFileSync(join(folder, "source"), pattern(200_000));
    writeFileSync(join(folder, "target"), "");
    const limited = await run(["sh", "-c", `${LIMIT}${how} ${args} --bs 16k --yes`], {
      cwd: folder,
    });
    const command = printed(limited.stderr);
    const rest = await paste(command, folder);
    expect([command, rest.end, rest.stderr]).toEqual([
      command,
      0,
      expect.stringContaining("copied"),
    ]);
    expectSame(join(folder, "source"), join(folder, "target"));
    return command;
  }

  /** The folder first in PATH. */
  function onPath(folder: string): Disposable {
    const { env } = process;
    const before = env["PATH"];
    env["PATH"] = `${folder}:${before}`;
    return {
      [Symbol.dispose]: (): void => {
        env["PATH"] = before;
      },
    };
  }

  test("a path, relative or not, with bun or by itself", async () => {
    using dir = new TempDir();
    const folder = project(dir);
    const bun = process.execPath;
    for (const how of [
      `'${bun}' '${main}'`,
      `'${bun}' run node_modules/bun-aio/src/cli/main.ts`,
      `'${bun}' --smol node_modules/.bin/bun-aio`,
      "./node_modules/.bin/bun-aio",
    ]) {
      await goesOn(folder, how);
    }
  });

  test("a name on PATH", async () => {
    using dir = new TempDir();
    const folder = project(dir);
    mkdirSync(dir.file("bin"));
    symlinkSync(main, dir.file("bin/bun-aio"));
    symlinkSync(process.execPath, dir.file("bin/bun"));
    using _path = onPath(dir.file("bin"));
    expect(await goesOn(folder, "bun-aio")).toStartWith("bun-aio copy source target --from ");
  });

  testUnless(noBunx, "bunx, bunx --bun, bun x", async () => {
    using dir = new TempDir();
    const folder = project(dir);
    for (const how of ["bunx bun-aio", "bunx --bun bun-aio", "bun x bun-aio"]) {
      const command = await goesOn(folder, how);
      expect(command.replace(/^\S*\/(?=bun)/, "")).toStartWith(`${how} copy source target --from `);
    }
  });

  test("bun run: the package's program, and a script", async () => {
    using dir = new TempDir();
    const folder = project(dir, { tool: "bun-aio" });
    for (const how of ["bun run bun-aio", "bun run tool"]) {
      const command = await goesOn(folder, how);
      expect(command.replace(/^\S*\/(?=bun)/, "")).toStartWith(`${how} copy source target --from `);
    }
  });

  test("a script that has arguments of its own, started in another folder", async () => {
    using dir = new TempDir();
    const folder = project(dir, { flash: "bun-aio copy source target" });
    writeFileSync(join(folder, "source"), pattern(200_000));
    const sub = join(folder, "sub");
    const limited = await run(["sh", "-c", `${LIMIT}bun run flash --yes --bs 16k`], { cwd: sub });
    expect((await paste(printed(limited.stderr), sub)).end).toBe(0);
    expectSame(join(folder, "source"), join(folder, "target"));
  });

  testUnless(noNpm, "npx and npm run", async () => {
    using dir = new TempDir();
    const folder = project(dir, { tool: "bun-aio" });
    const how = `${PATH}npx --offline --no bun-aio`;
    await goesOn(folder, how);
    await goesOn(folder, `${PATH}npm run --silent tool --`);
  });

  test("a compiled program", async () => {
    using dir = new TempDir();
    const folder = project(dir);
    const program = join(folder, "prog");
    const build = [process.execPath, "build", "--compile", main, "--outfile", program];
    expect((await run(build)).end).toBe(0);
    chmodSync(program, 0o755);
    // Under the limit its library cannot be unpacked.
    const library = join(root, "native", `${process.platform}-${process.arch}`, libraryFile());
    const env = `BUN_AIO_LIBRARY='${library}' `;
    expect(await goesOn(folder, `${env}./prog`)).toStartWith("./prog copy source target --from ");
    using _path = onPath(folder);
    expect(await goesOn(folder, `${env}prog`)).toStartWith("prog copy source target --from ");
  });

  testUnless(unless(Bun.which("bash") !== null, "bash is not installed"), "sudo", async () => {
    using dir = new TempDir();
    const folder = project(dir);
    // A program of that name that starts others.
    copyFileSync(Bun.which("bash") ?? "", join(folder, "sudo"));
    const how = `./sudo -c '"$@"; exit' x node_modules/.bin/bun-aio`;
    expect(await goesOn(folder, how)).toStartWith("./sudo -c ");
    // Others are left out.
    const under = await goesOn(folder, "env FOO=1 timeout 60 node_modules/.bin/bun-aio");
    expect(under).toContain("bun node_modules/.bin/bun-aio copy source");
  });

  const noPs = noLinux ?? unless(Bun.which("ps") !== null, "ps is not installed");

  testUnless(noPs, "ps tells what /proc tells", () => {
    const proc = processByProc(process.pid);
    expect(proc?.parent).toBe(process.ppid);
    expect(processByPs(process.pid)).toEqual({
      parent: process.ppid,
      words: proc?.words.flatMap((word) => word.split(" ")) ?? [],
    });
  });
});
