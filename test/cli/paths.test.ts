// Paths on the command line: any bytes, missing files, files without positions; hints for users of the command.

import { expect, test } from "bun:test";
import fs from "node:fs";
import { withoutEscapes } from "../../src/cli/raw_words.ts";
import { quoted } from "../../src/cli/terminal.ts";
import { bytesOfText, escapedText } from "../../src/common/text_of_bytes.ts";
import { BlockDevice, type IoError } from "../../src/index.ts";
import { run } from "../support/child.ts";
import { bunAio, shell } from "../support/command.ts";
import { noLinux, noRoot, testUnless } from "../support/conditions.ts";
import { LoopDevice, loopMissing } from "../support/control.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

/** Words of the library's API. */
const API = /\{ |listBlockDevices|Uint8Array|Bun\.file|node:fs|File\.open/;

const LATIN = Buffer.from("caf\u00e9 \u00fc", "latin1");

testUnless(
  noLinux,
  "names that are not UTF-8 are copied, verified, measured and shown",
  async () => {
    using dir = new TempDir();
    const below = (name: Buffer): Buffer => Buffer.concat([Buffer.from(`${dir.path}/`), name]);
    const contents = pattern(300_000);
    fs.writeFileSync(below(LATIN), contents);
    const source = `"${dir.path}/$(printf 'caf\\351 \\374')"`;
    const target = `"${dir.path}/$(printf '\\377')"`;
    const copied = await shell(`bun-aio copy ${source} ${target} --hash`);
    expect(copied.stderr).not.toContain("error");
    expect(copied.end).toBe(0);
    expect(copied.stdout).toEndWith(`  ${dir.path}/caf\\xe9 \\xfc\n`);
    expect(Buffer.from(fs.readFileSync(below(Buffer.from([0xff]))))).toEqual(Buffer.from(contents));
    const verified = await shell(`bun-aio verify ${source} ${target}`);
    expect(verified.end).toBe(0);
    expect(verified.stdout).toContain(`${dir.path}/\\xff`);
    const info = await shell(`bun-aio info ${source}`);
    expect(info.end).toBe(0);
    expect(info.stdout).toContain("caf\\xe9 \\xfc");
    const json = JSON.parse((await shell(`bun-aio info ${source} --json`)).stdout) as {
      path: string;
    };
    expect(bytesOfText(json.path)).toEqual(below(LATIN));
    const bench = await shell(
      `bun-aio bench "${dir.path}/$(printf 'new\\376')" --seconds 0.01 --size 64k --svg "${dir.path}/$(printf '\\375.svg')"`,
    );
    expect(bench.end).toBe(0);
    expect(bench.stderr).toContain("new\\xfe");
    const names = fs.readdirSync(dir.path, { encoding: "buffer" }) as unknown as Buffer[];
    expect(names.map((name) => name.toString("latin1")).sort()).toEqual([
      "caf\u00e9 \u00fc",
      "\u00fd.svg",
      "\u00ff",
    ]);
    const missing = await shell(`bun-aio info "${dir.path}/$(printf '\\351')"`);
    expect(missing.stderr).toContain(`there is no ${dir.path}/\\xe9`);
    expect(missing.end).toBe(1);
  },
);

testUnless(noLinux, "a folder whose name is not UTF-8 is found, and is no link", async () => {
  using dir = new TempDir();
  const folder = Buffer.concat([Buffer.from(`${dir.path}/`), Buffer.from([0xfe])]);
  fs.mkdirSync(folder);
  const source = dir.file("source", pattern(5000));
  const made = await shell(
    `bun-aio copy ${source} "${dir.path}/$(printf '\\376')/x" && cd "${dir.path}/$(printf '\\376')" &&
    bun-aio bench y --seconds 0.01 --size 64k && bun-aio copy ${source} x --yes && bun-aio info x`,
  );
  expect(made.stderr).not.toContain("error");
  expect(made.end).toBe(0);
  expect(made.stderr).toContain("\n  x  (file");
  expect(made.stdout).toMatch(/^path +x$/m);
  expect(fs.readFileSync(Buffer.concat([folder, Buffer.from("/x")]))).toEqual(
    fs.readFileSync(source),
  );
  const missing = await shell(`bun-aio copy ${source} "${dir.path}/$(printf '\\375')/x"`);
  expect([missing.end, missing.stderr]).toEqual([
    3,
    `error: there is no directory ${dir.path}/\\xfd\n`,
  ]);
});

testUnless(noLinux, "the command that goes on names the same files", async () => {
  using dir = new TempDir();
  const contents = pattern(12 * 2 ** 20);
  const [source, target] = [LATIN, Buffer.from([0x6f, 0xe9])].map((name) =>
    Buffer.concat([Buffer.from(`${dir.path}/`), name]),
  ) as [Buffer, Buffer];
  fs.writeFileSync(source, contents);
  // 8 MiB at most: bash counts in KiB.
  const words = [source, target].map((path) => quoted(escapedText(path))).join(" ");
  const limited = await shell(`trap '' XFSZ; ulimit -f 8192; bun-aio copy ${words}`);
  expect(limited.end).toBe(1);
  expect(limited.stderr).toContain("EFBIG");
  const [, command = ""] = /To continue from there:\n +(.*)/.exec(limited.stderr) ?? [];
  expect(command).toContain("--from 8388608");
  const rest = await run(["sh", "-c", `${command} --yes`]);
  expect(rest.end).toBe(0);
  expect(fs.readFileSync(target).equals(contents)).toBe(true);
});

testUnless(noLinux, "the same bytes are the same file", async () => {
  using dir = new TempDir();
  fs.writeFileSync(Buffer.concat([Buffer.from(`${dir.path}/`), LATIN]), "x");
  const name = `"${dir.path}/$(printf 'caf\\351 \\374')"`;
  const { end, stderr } = await shell(`bun-aio copy ${name} ${name} --yes`);
  expect(stderr).toContain("are the same file");
  expect(end).toBe(3);
});

test("bytes become text and bytes again, and words for the shell", () => {
  for (const bytes of [
    Buffer.from("plain"),
    LATIN,
    Buffer.from("\u00e9\ud83d\ude00"),
    Buffer.from([0xf0, 0x9f, 0x98, 0x41, 0xc0, 0x80, 0xed, 0xb2, 0x80, 0xff]),
    Buffer.from("it's\n\tso"),
  ]) {
    expect(bytesOfText(escapedText(bytes))).toEqual(bytes);
    const { stdout } = Bun.spawnSync(["sh", "-c", `printf %s ${quoted(escapedText(bytes))}`]);
    expect(stdout).toEqual(bytes);
    expect(quoted(escapedText(bytes)).isWellFormed()).toBe(true);
  }
  expect(withoutEscapes(escapedText(LATIN))).toBe("caf\\xe9 \\xfc");
});

// Hints -------------------------------------------------------------------------------------------------

test("an empty word is a mistake", async () => {
  using dir = new TempDir();
  const path = dir.file("x", "abc");
  for (const [args, name] of [
    [["copy", "", path], "SRC"],
    [["copy", path, ""], "DST"],
    [["verify", path, ""], "B"],
    [["info", ""], "PATH"],
    [["bench", ""], "PATH"],
  ] as const) {
    const { end, stderr } = await bunAio(args);
    expect(stderr).toContain(`error: ${name} is empty\n`);
    expect(stderr).toContain("shell variable");
    expect(end).toBe(2);
  }
});

test("a pipe has no positions, and can only be read", async () => {
  using dir = new TempDir();
  const fifo = dir.file("a fifo");
  expect((await run(["mkfifo", fifo])).end).toBe(0);
  const path = dir.file("x", "abc");
  const onto = await bunAio(["copy", path, fifo, "--yes"]);
  expect(onto.stderr).toContain(`cat SRC > '${fifo}'`);
  for (const args of [
    ["info", fifo],
    ["bench", fifo],
  ]) {
    const { end, stderr } = await bunAio(args);
    expect(stderr).toContain("is a pipe: it has no positions");
    expect(stderr).not.toMatch(API);
    expect(end).toBe(1);
  }
});

test("what is missing is said by the folder or the link that is", async () => {
  using dir = new TempDir();
  const path = dir.file("x", "abc");
  fs.symlinkSync("nothing", dir.file("link"));
  const link = `${dir.file("link")} is a link to nothing, which does not exist`;
  const onto = await bunAio(["copy", path, dir.file("link")]);
  expect(onto.stderr).toContain(link);
  expect(onto.end).toBe(3);
  const from = await bunAio(["copy", dir.file("link"), dir.file("out")]);
  expect(from.stderr).toContain(`there is no ${dir.file("link")}`);
  expect(from.stderr).toContain("is a link to 'nothing', which does not exist");
  expect(from.end).toBe(1);
  const folder = await bunAio(["verify", path, dir.file("a/b/c")]);
  expect(folder.stderr).toContain(`There is no directory '${dir.path}/a'`);
  const plain = await bunAio(["info", dir.file("none")]);
  expect(plain.stderr).toBe(`error: there is no ${dir.file("none")}\n`);
  const under = await bunAio(["copy", path, `${path}/below`]);
  expect(under.stderr).toContain(`'${path}' is not a directory`);
  for (const { stderr } of [onto, from, folder, under]) expect(stderr).not.toMatch(API);
  expect(fs.readdirSync(dir.path).sort()).toEqual(["link", "x"]);
});

testUnless(noLinux, "a missing disk is not made, by whatever name", async () => {
  using dir = new TempDir();
  const path = dir.file("x", "abc");
  const disk = "/dev/bun-aio-no-such-disk";
  fs.symlinkSync(disk, dir.file("link"));
  for (const target of [disk, dir.file("link"), "/dev/../dev/bun-aio-no-such-disk"]) {
    const { end, stderr } = await bunAio(["copy", path, target, "--yes"]);
    expect(stderr).toContain("there is no device");
    expect(stderr).not.toMatch(API);
    expect(end).toBe(3);
  }
  for (const args of [
    ["info", disk],
    ["copy", disk, dir.file("out")],
  ]) {
    const { stderr } = await bunAio(args);
    expect(stderr).toContain("bun-aio info lists the devices");
    expect(stderr).not.toMatch(API);
  }
  expect(fs.existsSync(disk)).toBe(false);
});

testUnless(noRoot, "an immutable target and the kernel's log", async () => {
  using dir = new TempDir();
  const [path, target] = [dir.file("x", "abc"), dir.file("fixed", "x")];
  expect((await run(["chattr", "+i", target])).end).toBe(0);
  const fixed = await bunAio(["copy", path, target, "--yes"]);
  expect((await run(["chattr", "-i", target])).end).toBe(0);
  expect(fixed.stderr).toContain(`\`chattr -i ${target}\` undoes that`);
  expect(fixed.end).toBe(1);
  const log = await bunAio(["copy", path, "/dev/kmsg", "--yes"]);
  expect(log.stderr).toContain("/dev/kmsg is a stream of bytes: it has no positions");
  expect(log.stderr).toContain("cat SRC > /dev/kmsg");
  expect(log.stderr).not.toMatch(API);
});

testUnless(loopMissing, "a mount point with a blank is quoted", async () => {
  using dir = new TempDir();
  const image = dir.file("image", new Uint8Array(4 * 2 ** 20));
  const mountPoint = dir.file("a b's");
  fs.mkdirSync(mountPoint);
  expect((await run(["mkfs.ext4", "-qF", image])).end).toBe(0);
  using loop = new LoopDevice(image);
  expect((await run(["mount", loop.path, mountPoint])).end).toBe(0);
  const { end, stderr } = await bunAio(["copy", dir.file("x", "abc"), loop.path, "--yes"]);
  const command = /Unmount it first: (umount .*)/.exec(stderr)?.[1] ?? "";
  // What is advised does it.
  expect((await run(["sh", "-c", command])).end).toBe(0);
  expect(command).toBe(`umount '${dir.path}/a b'\\''s'`);
  expect(end).toBe(3);
});

testUnless(loopMissing, "a mount point and an image whose names are not UTF-8", async () => {
  using dir = new TempDir();
  const plain = dir.file("plain", new Uint8Array(4 * 2 ** 20));
  expect((await run(["mkfs.ext4", "-qF", plain])).end).toBe(0);
  const set = `cd '${dir.path}' && image=$(printf 'i\\376') && mkdir "$(printf 'm\\375')" && mv plain "$image"`;
  const mounted = `loop=$(losetup -f --show "$image") && mount $loop "$(printf 'm\\375')" && echo $loop`;
  const { stdout, end } = await run(["bash", "-c", `${set} && ${mounted}`]);
  const loop = stdout.trim();
  try {
    expect(end).toBe(0);
    const busy = await bunAio(["copy", dir.file("x", "abc"), loop, "--yes"]);
    expect([busy.end, busy.stderr]).toEqual([3, expect.stringContaining(`${dir.path}/m\\xfd`)]);
    const info = await bunAio(["info", loop]);
    expect(info.stdout).toContain(`loop device over ${dir.path}/i\\xfe`);
    expect(info.stdout).toMatch(/mounted at +\S+\/m\\xfd/);
    const hint = await BlockDevice.open(loop, { write: true }).catch(
      (error: IoError) => error.hint,
    );
    expect(hint).toContain(`$'${dir.path}/m\\375'`);
    const command = /Unmount it first: (umount .*)/.exec(busy.stderr)?.[1] ?? "";
    expect((await run(["sh", "-c", command])).end).toBe(0);
  } finally {
    await run(["sh", "-c", `umount -q ${loop}; losetup -d ${loop}`]);
  }
});
