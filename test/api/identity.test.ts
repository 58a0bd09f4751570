// Files are identified by exact numbers, also where inodes are above 2^53, and told apart from earlier files with
// the same inode or device number.

import { expect, test } from "bun:test";
import fs from "node:fs";
import { join } from "node:path";
import { openFileOf } from "../../src/file/open_file.ts";
import { BlockDevice, copy, File } from "../../src/index.ts";
import { WriteLock } from "../../src/locks/write_lock.ts";
import { bunAio } from "../support/command.ts";
import { noRoot, testUnless } from "../support/conditions.ts";
import { LoopDevice, loopMissing } from "../support/control.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

/** An overlay file system over two others gives inodes with the number of the layer in the highest bits (xino). */
class Overlay implements Disposable {
  readonly #dir = new TempDir();
  readonly #mounts: string[] = [];
  readonly path: string;

  constructor(files: Readonly<Record<string, Uint8Array>>) {
    const [lower, upper] = [this.#mount("lower", "tmpfs"), this.#mount("upper", "tmpfs")];
    for (const [name, bytes] of Object.entries(files)) fs.writeFileSync(join(lower, name), bytes);
    for (const name of ["up", "work"]) fs.mkdirSync(join(upper, name));
    const layers = `lowerdir=${lower},upperdir=${upper}/up,workdir=${upper}/work,xino=on`;
    this.path = this.#mount("merged", "overlay", "-o", layers);
  }

  #mount(name: string, type: string, ...options: string[]): string {
    const path = this.#dir.file(name);
    fs.mkdirSync(path);
    const { exitCode, stderr } = Bun.spawnSync(["mount", "-t", type, ...options, "none", path]);
    if (exitCode !== 0) throw new Error(`mount ${type}: ${stderr}`);
    this.#mounts.unshift(path);
    return path;
  }

  static unavailable(): string | undefined {
    if (noRoot !== undefined) return noRoot;
    try {
      using overlay = new Overlay({ x: new Uint8Array(1) });
      return inodeOf(join(overlay.path, "x")) > 2n ** 53n
        ? undefined
        : "inodes of overlays are small here";
    } catch (error) {
      return `no overlay can be mounted: ${error}`;
    }
  }

  [Symbol.dispose](): void {
    for (const path of this.#mounts) Bun.spawnSync(["umount", path]);
    this.#dir[Symbol.dispose]();
  }
}

/** Bun shows those above 2^63 as negative. */
function inodeOf(path: string): bigint {
  return BigInt.asUintN(64, fs.statSync(path, { bigint: true }).ino);
}

const noLargeInodes = Overlay.unavailable();

testUnless(
  noLargeInodes,
  "two files with neighbouring inodes above 2^53 are two files",
  async () => {
    using overlay = new Overlay({ a: pattern(8192), b: new Uint8Array(8192) });
    const [a, b] = [join(overlay.path, "a"), join(overlay.path, "b")];
    const numbers = [a, b].map(inodeOf);
    expect(numbers[0]).not.toBe(numbers[1]);
    expect(Number(numbers[0])).toBe(Number(numbers[1]));
    await using source = await File.open(a);
    // The first open for writing copies it up, and keeps its inode.
    await using target = await File.open(b, { write: true });
    expect((await source.stat()).ino).toBe(Number(numbers[0]));
    expect((await copy(source, target)).bytesCopied).toBe(8192);
    expect(fs.readFileSync(b)).toEqual(fs.readFileSync(a));
    await using self = await File.open(a, { write: true });
    await expect(copy(self, self, { length: 10, targetOffset: 5 })).rejects.toThrow("overlap");
  },
);

testUnless(noLargeInodes, "the command tells them apart as well", async () => {
  using overlay = new Overlay({ a: pattern(8192), b: new Uint8Array(8192) });
  const [a, b] = [join(overlay.path, "a"), join(overlay.path, "b")];
  const { end, stderr } = await bunAio(["copy", a, b, "--yes"]);
  expect(stderr).not.toContain("are the same file");
  expect(end).toBe(0);
  fs.linkSync(b, join(overlay.path, "c"));
  const same = await bunAio(["copy", b, join(overlay.path, "c"), "--yes"]);
  expect(same.stderr).toContain("are the same file");
  expect(same.end).toBe(3);
});

/** The instance of what is open. */
function instanceOf(file: File): bigint {
  return openFileOf(file).state.identity?.instance ?? 0n;
}

testUnless(loopMissing, "a loop device that is attached anew is another one", async () => {
  using dir = new TempDir();
  const image = dir.file("image", new Uint8Array(2 ** 20));
  const instances: bigint[] = [];
  for (let round = 0; round < 2; round++) {
    using loop = new LoopDevice(image);
    await using device = await BlockDevice.open(loop.path, { write: true });
    await using again = await File.open(loop.path);
    expect(instanceOf(again)).toBe(instanceOf(device));
    instances.push(instanceOf(device));
  }
  expect(instances[0]).not.toBe(instances[1]);
  expect(instances[0]).toBeGreaterThan(0n);
});

test("a file that is written, renamed and linked stays the same one", async () => {
  using dir = new TempDir();
  const path = dir.file("x", "abc");
  await using file = await File.open(path, { write: true });
  await file.writeAt(new Uint8Array(9), 0);
  fs.renameSync(path, dir.file("y"));
  fs.linkSync(dir.file("y"), dir.file("z"));
  await using same = await File.open(dir.file("z"));
  expect(openFileOf(same).state.identity).toEqual(openFileOf(file).state.identity as never);
  dir.file("x", "abc");
  await using other = await File.open(path);
  expect(openFileOf(other).state.identity).not.toEqual(openFileOf(file).state.identity as never);
});

test("what was given up stays with its file", async () => {
  const waiter = {
    scope: undefined,
    stopped: () => new Error("stopped"),
    givenUp: () => new Error("given up"),
  };
  const joined = (name: string, instance: bigint): WriteLock => {
    const lock = new WriteLock();
    lock.join({ name, instance }, () => {});
    return lock;
  };
  const write = (lock: WriteLock): Promise<string> =>
    lock
      .during({ start: 100, end: 200 }, waiter, async () => "written")
      .catch(({ message }) => message);
  const first = joined("file 1 2", 10n);
  first.giveUp(0, 512, undefined);
  const beside = joined("file 1 2", 10n);
  expect(await write(beside)).toBe("given up");
  expect(await write(joined("file 1 3", 10n))).toBe("written");
  // A disk whose medium was changed while the old one is still open.
  expect(await write(joined("file 1 2", 11n))).toBe("written");
  for (const lock of [first, beside]) lock.leave();
  const later = joined("file 1 2", 10n);
  expect(await write(later)).toBe("given up");
});

test("stat says what node:fs says", async () => {
  using dir = new TempDir();
  const path = dir.file("x", "abc");
  await using file = await File.open(path);
  const [ours, theirs] = [await file.stat(), fs.statSync(path)];
  for (const name of [
    "dev",
    "ino",
    "mode",
    "nlink",
    "uid",
    "gid",
    "rdev",
    "size",
    "blksize",
  ] as const) {
    expect(`${name} ${ours[name]}`).toBe(`${name} ${theirs[name]}`);
  }
});
