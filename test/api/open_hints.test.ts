// Why a path could not be opened: hints are true, and advise nothing that was not asked for.

import { expect, test } from "bun:test";
import fs from "node:fs";
import { BlockDevice, type BlockDeviceOptions, File, type IoError } from "../../src/index.ts";
import { runCode } from "../support/child.ts";
import { noLinux, noRoot, testUnless } from "../support/conditions.ts";
import { LoopDevice, loopMissing as noLoop } from "../support/control.ts";
import { ioError } from "../support/expect.ts";
import { TempDir } from "../support/temp.ts";
import { indexPath } from "../support/under_test.ts";

const CLASSES = [File, BlockDevice];
const WAYS: readonly BlockDeviceOptions[] = [
  {},
  { write: true },
  { write: true, create: true },
  { write: true, createNew: true },
];

async function everyError(
  path: string,
  code: string,
  ways: readonly BlockDeviceOptions[] = WAYS,
): Promise<IoError[]> {
  const errors: IoError[] = [];
  for (const of of CLASSES) {
    for (const way of ways) errors.push(await ioError(of.open(path, way), code));
  }
  return errors;
}

test("create is advised to who wants to write where a file can be made, and to nobody else", async () => {
  using dir = new TempDir();
  const path = dir.file("missing");
  for (const of of CLASSES) {
    expect((await ioError(of.open(path), "ENOENT")).hint).toBeUndefined();
    const { hint } = await ioError(of.open(path, { write: true }), "ENOENT");
    expect(hint).toContain("{ write: true, create: true }");
  }
  expect(fs.readdirSync(dir.path)).toEqual([]);
});

test("a folder that is missing is named, the first of them", async () => {
  using dir = new TempDir();
  for (const { hint } of await everyError(dir.file("a/b/c/x"), "ENOENT")) {
    expect(hint).toBe(`There is no directory '${dir.path}/a'`);
  }
  expect(fs.readdirSync(dir.path)).toEqual([]);
});

test("of a relative path, as the caller wrote it", async () => {
  using dir = new TempDir();
  const { stdout } = await runCode(
    `
    const told = (path, options) => File.open(path, options).catch(({ hint }) => console.log(hint));
    fs.writeFileSync("file", "");
    fs.symlinkSync("nothing", "link");
    await told("a/b/x", { write: true, create: true });
    await told("file/x");
    await told("./link");
    await told("link/x");
    `,
    { cwd: dir.path },
  );
  expect(stdout.trim().split("\n")).toEqual([
    "There is no directory 'a'",
    "'file' is not a directory",
    "'./link' is a link to 'nothing', which does not exist",
    "'link' is a link to 'nothing', which does not exist",
  ]);
});

test("a file where a folder would be is named", async () => {
  using dir = new TempDir();
  dir.file("file", "x");
  for (const { hint } of await everyError(dir.file("file/a/b"), "ENOTDIR")) {
    expect(hint).toBe(`'${dir.path}/file' is not a directory`);
  }
});

test("a link that leads nowhere says where to", async () => {
  using dir = new TempDir();
  const path = dir.file("link");
  fs.symlinkSync("not there/x", path);
  const ways = [{}, { write: true }, { write: true, create: true }];
  for (const { hint } of await everyError(path, "ENOENT", ways)) {
    expect(hint).toBe(`'${path}' is a link to 'not there/x', which does not exist`);
  }
  fs.symlinkSync("circle", dir.file("circle"));
  for (const { hint } of await everyError(dir.file("circle"), "ELOOP", ways)) {
    expect(hint).toContain("loop of symbolic links");
  }
});

test("a name made of U+FFFD is told how to give the bytes", async () => {
  using dir = new TempDir();
  const { hint } = await ioError(File.open(dir.file("caf\ufffd"), { write: true }), "ENOENT");
  expect(hint).toContain("Uint8Array");
});

testUnless(noLinux, "a missing disk is no file to be made", async () => {
  using dir = new TempDir();
  const path = "/dev/bun-aio-no-such-disk";
  fs.symlinkSync(path, dir.file("link"));
  for (const way of WAYS) {
    const error = await ioError(BlockDevice.open(path, way), "ENOENT");
    expect(error).toMatchObject({ errno: -2, syscall: "open", path });
    expect(error.hint).toBe("There is no such device; listBlockDevices() lists the devices");
    if (way.createNew !== true) await ioError(BlockDevice.open(dir.file("link"), way), "ENOENT");
    const deeper = await ioError(BlockDevice.open("/dev/bun-aio-none/x", way), "ENOENT");
    expect(deeper.hint).toContain("listBlockDevices()");
  }
  for (const way of [{}, { write: true }]) {
    const error = await ioError(File.open(path, way), "ENOENT");
    expect(error.hint).toContain("There is no such device");
  }
  expect(fs.existsSync(path)).toBe(false);
});

testUnless(
  fs.existsSync("/dev/shm") ? undefined : "there is no /dev/shm",
  "/dev/shm is a folder of files",
  async () => {
    using dir = new TempDir("/dev/shm");
    const path = dir.file("image");
    const { hint } = await ioError(BlockDevice.open(path, { write: true }), "ENOENT");
    expect(hint).toContain("create: true");
    await using device = await BlockDevice.open(path, { write: true, create: true });
    await device.truncate(4096);
    expect(device.geometry.size).toBe(4096);
  },
);

test("an image is made, and opened again, by create", async () => {
  using dir = new TempDir();
  const path = dir.file("image");
  for (const size of [4096, 8192]) {
    await using device = await BlockDevice.open(path, { write: true, create: true });
    await device.truncate(size);
  }
  expect(fs.statSync(path).size).toBe(8192);
  await ioError(BlockDevice.open(path, { write: true, createNew: true }), "EEXIST");
  await using device = await BlockDevice.open(dir.file("new"), { write: true, createNew: true });
  expect(device.geometry.size).toBe(0);
});

testUnless(noLoop ?? noLinux, "create holds a disk that is there", async () => {
  using dir = new TempDir();
  const image = dir.file("image", new Uint8Array(2 ** 20));
  using loop = new LoopDevice(image);
  await using device = await BlockDevice.open(loop.path, { write: true, create: true });
  expect(device.kind).toBe("disk");
  const error = await ioError(BlockDevice.open(loop.path, { write: true }), "EBUSY");
  expect(error.hint).toContain("this process");
});

testUnless(noRoot, "an immutable file, an append-only one, and a folder of such", async () => {
  using dir = new TempDir();
  const path = dir.file("it's", "x");
  const folder = dir.file("folder");
  fs.mkdirSync(folder);
  const chattr = (flag: string, of: string): void => {
    const { exitCode, stderr } = Bun.spawnSync(["chattr", flag, of]);
    if (exitCode !== 0) throw new Error(String(stderr));
  };
  const word = `'${dir.path}/it'\\''s'`;
  for (const [flag, what] of [
    ["i", "immutable"],
    ["a", "append-only"],
  ] as const) {
    chattr(`+${flag}`, path);
    for (const { hint } of await everyError(path, "EPERM", [{ write: true }])) {
      expect(hint).toContain(`marked ${what}`);
      expect(hint).toContain(`\`chattr -${flag} ${word}\``);
      expect(hint).not.toContain("root or the group");
    }
    chattr(`-${flag}`, path);
  }
  chattr("+i", folder);
  const made = await ioError(File.open(`${folder}/x`, { write: true, create: true }), "EPERM");
  chattr("-i", folder);
  expect(made.hint).toContain(`The directory ${folder} is marked immutable`);
});

testUnless(
  noRoot ?? (fs.existsSync("/dev/kmsg") ? undefined : "there is no /dev/kmsg"),
  "the kernel's log has no positions",
  async () => {
    for (const way of [{}, { write: true }, { read: false, write: true }]) {
      for (const of of CLASSES) {
        const error = await ioError(of.open("/dev/kmsg", way), "ESPIPE");
        expect(error.hint).toContain("no positions");
        expect(error.hint).not.toContain("direct");
      }
    }
  },
);

testUnless(noRoot, "who may not, and what", async () => {
  using dir = new TempDir();
  fs.chmodSync(dir.path, 0o755);
  const path = dir.file("secret", "x");
  fs.chmodSync(path, 0o640);
  fs.mkdirSync(dir.file("closed"), 0o700);
  const { stdout, stderr } = await runCode(
    `
    const { BlockDevice } = await import(${JSON.stringify(indexPath)});
    await File.open("/dev/null").then((file) => file.close());
    process.setgid(65534);
    process.setuid(65534);
    process.env.USER = process.env.LOGNAME = "somebody else";
    const told = (of, path, options) => of.open(path, options).catch(({ hint }) => console.log(hint));
    await told(File, "secret");
    await told(File, "secret", { write: true });
    await told(File, "closed/x", { write: true });
    await told(File, "new", { write: true, create: true });
    await told(BlockDevice, "/dev/loop-control");
    await told(File, "/dev/kmsg", { write: true });
    `,
    { cwd: dir.path },
  );
  expect(stderr).toBe("");
  const lines = stdout.trim().split("\n");
  expect(lines.slice(0, 4)).toEqual([
    expect.stringMatching(
      /^The user (nobody|nfsnobody|65534) may not read it: see its mode and owner/,
    ),
    expect.stringMatching(/^The user \w+ may not write it: see its mode and owner/),
    expect.stringMatching(/^The user \w+ may not enter a directory in the path$/),
    expect.stringMatching(/^The user \w+ may not create files in '.'$/),
  ]);
  for (const line of lines.slice(4)) expect(line).toContain("root or the group");
});

testUnless(noLoop ?? noRoot, "a mount point with a blank is quoted for the shell", async () => {
  using dir = new TempDir();
  const image = dir.file("image", new Uint8Array(4 * 2 ** 20));
  const mountPoint = dir.file("a b's");
  fs.mkdirSync(mountPoint);
  expect(Bun.spawnSync(["mkfs.ext4", "-qF", image]).exitCode).toBe(0);
  using loop = new LoopDevice(image);
  expect(Bun.spawnSync(["mount", loop.path, mountPoint]).exitCode).toBe(0);
  const { hint } = await ioError(BlockDevice.open(loop.path, { write: true }), "EBUSY");
  const word = /mounted at ('.*'); unmount it first$/.exec(hint ?? "")?.[1] ?? "";
  // It can be pasted.
  expect(Bun.spawnSync(["sh", "-c", `umount ${word}`]).exitCode).toBe(0);
  expect(word).toBe(`'${dir.path}/a b'\\''s'`);
  await using device = await BlockDevice.open(loop.path, { write: true });
  expect(device.kind).toBe("disk");
});
