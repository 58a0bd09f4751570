// Files and devices in use are not overwritten, under any name: images under loop devices, swap files. Also the
// messages where their use is unknown. By the library and by the command.

import { describe, expect, test } from "bun:test";
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
} from "node:fs";
import { join } from "node:path";
import { BlockDevice, copy, File, IoError, listBlockDevices } from "../../src/index.ts";
import { imageDevice } from "../../src/testing/index.ts";
import { type ChildResult, must, run, runCode } from "../support/child.ts";
import { bunAio } from "../support/command.ts";
import { noRoot, testUnless, unless } from "../support/conditions.ts";
import { loopMissing } from "../support/control.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";
import { mainPath } from "../support/under_test.ts";

const MiB = 2 ** 20;

function lacking(...tools: string[]): string | undefined {
  const missing = tools.filter((tool) => Bun.which(tool) === null);
  return noRoot ?? unless(missing.length === 0, `${missing.join(", ")} not installed`);
}

/** Something attached with losetup(8), until it is disposed of. */
class Attached implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async at(...args: string[]): Promise<Attached> {
    return new Attached(await must("losetup", "--find", "--show", ...args));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await must("losetup", "--detach", this.path);
  }
}

async function refusal(promise: Promise<unknown>): Promise<IoError> {
  const error = await promise.then(
    () => "it did not reject",
    (reason: unknown) => reason,
  );
  if (error instanceof IoError) return error;
  throw new Error(String(error));
}

/** Tells that the command refused, named `holder` and left `image` as it was. */
async function refusesCopy(dir: TempDir, name: string, image: string, holder: string) {
  const before = Bun.hash(readFileSync(image));
  const { end, stdout, stderr } = await bunAio(["copy", dir.file("noise"), name, "--yes"]);
  expect([end, stdout]).toEqual([3, ""]);
  expect(stderr).toContain(holder);
  expect(Bun.hash(readFileSync(image))).toBe(before);
}

async function refusesOpen(name: string, hint: string | RegExp): Promise<void> {
  for (const options of [{}, { truncate: true }, { create: true }, { direct: false }]) {
    const error = await refusal(BlockDevice.open(name, { write: true, ...options }));
    expect(error.code).toBe("EBUSY");
    expect(error.errno).toBe(-16);
    expect(error.syscall).toBe("open");
    expect(error.path).toBe(name);
    if (typeof hint === "string") expect(error.hint).toBe(hint);
    else expect(error.hint).toMatch(hint);
  }
}

describe("an image under a loop device", () => {
  testUnless(loopMissing, "is refused by every name, and as it was afterwards", async () => {
    using dir = new TempDir();
    dir.file("noise", pattern(MiB));
    const image = dir.file("a.img", pattern(2 * MiB));
    linkSync(image, dir.file("hard"));
    symlinkSync("a.img", dir.file("soft"));
    const fd = openSync(image, "r");
    mkdirSync(dir.file("bound"));
    await must("mount", "--bind", dir.path, dir.file("bound"));
    try {
      await using loop = await Attached.at(image);
      const hint = `It is attached as ${loop.path}; detach it first (losetup -d ${loop.path})`;
      const names = [
        ...[image, dir.file("hard"), dir.file("soft"), dir.file("bound", undefined)].slice(0, 3),
        join(dir.file("bound"), "hard"),
        `/proc/${process.pid}/fd/${fd}`,
      ];
      for (const name of names) {
        await refusesOpen(name, hint);
        await refusesCopy(dir, name, image, `is attached as ${loop.path}`);
      }
      // Whoever asks for it may, as with disks; and reading disturbs nobody.
      await using shared = await BlockDevice.open(image, { write: true, exclusive: false });
      expect(shared.geometry.size).toBe(2 * MiB);
      await using reader = await BlockDevice.open(image);
      expect(reader.geometry.size).toBe(2 * MiB);
      const reading = BlockDevice.open(image, { exclusive: true });
      expect((await refusal(reading)).hint).toBe(hint);
    } finally {
      closeSync(fd);
      await must("umount", dir.file("bound"));
    }
    await using again = await BlockDevice.open(image, { write: true, truncate: true });
    expect(again.geometry.size).toBe(0);
    expect(statSync(image).size).toBe(0);
    await refusal(again.writeAt(new Uint8Array(512), 0));
  });

  testUnless(loopMissing, "also when read-only, from an offset, or without its name", async () => {
    using dir = new TempDir();
    dir.file("noise", pattern(MiB));
    const image = dir.file("a.img", pattern(2 * MiB));
    linkSync(image, dir.file("b.img"));
    for (const args of [["--read-only"], ["--offset", "4096", "--sizelimit", "65536"], []]) {
      await using loop = await Attached.at(...args, image);
      await refusesOpen(dir.file("b.img"), new RegExp(`attached as ${loop.path};`));
      // The kernel shows "a.img (deleted)", and somebody else may take that name.
      if (args.length === 0) {
        unlinkSync(image);
        const other = await BlockDevice.open(image, { write: true, createNew: true });
        await other.close();
      }
      await refusesCopy(dir, dir.file("b.img"), dir.file("b.img"), `attached as ${loop.path}`);
      if (args.length === 0) {
        await using other = await BlockDevice.open(image, { write: true });
        expect(other.geometry.size).toBe(0);
      }
    }
  });

  const noTmpfs = loopMissing ?? lacking("mount", "umount");

  testUnless(loopMissing, "also when there is no byte of it yet", async () => {
    using dir = new TempDir();
    dir.file("noise", pattern(4096));
    const image = dir.file("empty", "");
    await using loop = await Attached.at(image);
    await refusesOpen(
      image,
      `It is attached as ${loop.path}; detach it first (losetup -d ${loop.path})`,
    );
    await refusesCopy(dir, image, image, `is attached as ${loop.path}`);
  });

  testUnless(noTmpfs, "on a file system of its own numbers (tmpfs)", async () => {
    using dir = new TempDir();
    dir.file("noise", pattern(4096));
    mkdirSync(dir.file("tmpfs"));
    await must("mount", "-t", "tmpfs", "none", dir.file("tmpfs"));
    try {
      const image = join(dir.file("tmpfs"), "a.img");
      await Bun.write(image, pattern(MiB));
      linkSync(image, join(dir.file("tmpfs"), "b.img"));
      await using loop = await Attached.at(image);
      await refusesOpen(join(dir.file("tmpfs"), "b.img"), /It is attached as/);
      await refusesCopy(dir, join(dir.file("tmpfs"), "b.img"), image, loop.path);
      // The same inode number on another file system is another file.
      mkdirSync(dir.file("other"));
      await must("mount", "-t", "tmpfs", "none", dir.file("other"));
      try {
        const twin = join(dir.file("other"), "a.img");
        await Bun.write(twin, pattern(MiB));
        expect(statSync(twin).ino).toBe(statSync(image).ino);
        await using device = await BlockDevice.open(twin, { write: true });
        expect(device.geometry.size).toBe(MiB);
      } finally {
        await must("umount", dir.file("other"));
      }
    } finally {
      await must("umount", dir.file("tmpfs"));
    }
  });

  const noNamespace = loopMissing ?? lacking("unshare", "mount", "mkfs.ext4");

  testUnless(noNamespace, "attached and mounted in another mount namespace", async () => {
    using dir = new TempDir();
    dir.file("noise", pattern(MiB));
    const image = dir.file("a.img", new Uint8Array(8 * MiB));
    await must("mkfs.ext4", "-q", "-F", image);
    mkdirSync(dir.file("mnt"));
    const script = `set -e; mount -t tmpfs none /mnt; touch /mnt/x; mount --bind "$1" /mnt/x
      loop=$(losetup --find --show /mnt/x); mount $loop "$2"; echo $loop; read -r _; umount "$2"; losetup -d $loop`;
    const words = ["unshare", "-m", "bash", "-c", script, "sh", image, dir.file("mnt")];
    const child = Bun.spawn(words, { stdin: "pipe", stdout: "pipe" });
    try {
      const reader = child.stdout.getReader();
      const loop = new TextDecoder().decode((await reader.read()).value).trim();
      expect(loop).toStartWith("/dev/loop");
      await refusesOpen(image, `It is attached as ${loop}; detach it first (losetup -d ${loop})`);
      await refusesCopy(dir, image, image, `is attached as ${loop}`);
    } finally {
      child.stdin.write("\n");
      child.stdin.end();
      expect(await child.exited).toBe(0);
    }
    expect((await run(["fsck.ext4", "-fn", image])).end).toBe(0);
  });

  testUnless(noNamespace, "mounted here: the mount point is named", async () => {
    using dir = new TempDir();
    dir.file("noise", pattern(MiB));
    const image = dir.file("a.img", new Uint8Array(8 * MiB));
    await must("mkfs.ext4", "-q", "-F", image);
    linkSync(image, dir.file("b.img"));
    mkdirSync(dir.file("mnt"));
    await using loop = await Attached.at(image);
    await must("mount", loop.path, dir.file("mnt"));
    try {
      const use = `attached as ${loop.path}, which is mounted at ${dir.file("mnt")}`;
      await refusesOpen(dir.file("b.img"), `It is ${use}; unmount and detach it first`);
      const { end, stderr } = await bunAio(["copy", dir.file("noise"), dir.file("b.img"), "-y"]);
      expect(end).toBe(3);
      expect(stderr).toContain(`b.img is ${use}\nUnmount and detach it first\n`);
    } finally {
      await must("umount", dir.file("mnt"));
    }
    expect((await run(["fsck.ext4", "-fn", image])).end).toBe(0);
  });

  testUnless(
    loopMissing,
    "shares its bytes with the loop device, also by a hard link",
    async () => {
      using dir = new TempDir();
      const image = dir.file("a.img", pattern(MiB));
      linkSync(image, dir.file("b.img"));
      await using loop = await Attached.at("--offset", "65536", image);
      // The name that the kernel knows leads to another file now.
      unlinkSync(image);
      dir.file("a.img", pattern(MiB, 2));
      const { end, stderr } = await bunAio([
        "copy",
        dir.file("b.img"),
        loop.path,
        "-y",
        "--length=64k",
      ]);
      expect(end).toBe(3);
      expect(stderr).toContain(`${loop.path} is ${dir.file("b.img")}, attached as a loop device`);
      await using target = await BlockDevice.open(loop.path, { write: true });
      await using source = await File.open(dir.file("b.img"));
      const overlapping = copy(source, target, { length: 65536, sourceOffset: 98304 });
      await expect(overlapping).rejects.toThrow("the ranges overlap");
      // Byte 65536 of the file is byte 0 of the device.
      await copy(source, target, { length: 65536 });
      await using other = await File.open(image);
      await copy(other, target, { length: 65536 });
    },
  );
});

describe("a loop device", () => {
  testUnless(loopMissing, "shares bytes with another over the same file, or does not", async () => {
    using dir = new TempDir();
    const noise = dir.file("noise", pattern(65536));
    const image = dir.file("a.img", pattern(MiB, 3));
    const part = (start: number): string[] => ["--offset", `${start}`, "--sizelimit", "131072"];
    await using first = await Attached.at(...part(0), image);
    await using second = await Attached.at(...part(131072), image);
    for (const { path } of [first, second]) {
      await using device = await BlockDevice.open(path, { write: true });
      expect(device.geometry.size).toBe(131072);
    }
    await using third = await Attached.at(...part(65536), image);
    const shares = (path: string): string =>
      `It shares bytes with ${path}; detach it first (losetup -d ${path})`;
    await refusesOpen(first.path, shares(third.path));
    await refusesOpen(second.path, shares(third.path));
    await refusesOpen(third.path, shares(first.path));
    const { end, stderr } = await bunAio(["copy", noise, third.path, "--yes"]);
    expect(end).toBe(3);
    expect(stderr).toContain(`${third.path} shares bytes with ${first.path}`);
    expect(Buffer.compare(readFileSync(image), pattern(MiB, 3))).toBe(0);
  });

  testUnless(
    loopMissing ?? lacking("addpart", "delpart"),
    "shares no bytes with a partition of another that lies beside it",
    async () => {
      using dir = new TempDir();
      const image = dir.file("a.img", pattern(MiB, 3));
      await using whole = await Attached.at(image);
      await must("addpart", whole.path, "1", "8", "16");
      try {
        await using part = await Attached.at("--sizelimit", "4096", image);
        await using device = await BlockDevice.open(`${whole.path}p1`, { write: true });
        expect([device.geometry.size, part.path === whole.path]).toEqual([8192, false]);
      } finally {
        await must("delpart", whole.path, "1");
      }
    },
  );

  testUnless(loopMissing, "over others may be written to: they are below it", async () => {
    using dir = new TempDir();
    await using first = await Attached.at(dir.file("a.img", pattern(MiB, 3)));
    await using second = await Attached.at(first.path);
    await using third = await Attached.at(second.path);
    await using device = await BlockDevice.open(third.path, { write: true });
    expect(device.geometry.size).toBe(MiB);
  });

  testUnless(loopMissing ?? lacking("mkfs.ext4", "mount"), "over a mounted disk", async () => {
    using dir = new TempDir();
    dir.file("noise", pattern(65536));
    const image = dir.file("a.img", new Uint8Array(8 * MiB));
    await must("mkfs.ext4", "-q", "-F", image);
    mkdirSync(dir.file("mnt"));
    await using lower = await Attached.at(image);
    await must("mount", lower.path, dir.file("mnt"));
    try {
      await using upper = await Attached.at(lower.path);
      const hint = `${lower.path} is mounted at ${dir.file("mnt")}; unmount it first`;
      await refusesOpen(upper.path, hint);
      await refusesCopy(dir, upper.path, upper.path, hint);
      await refusesOpen(image, /attached as/);
    } finally {
      await must("umount", dir.file("mnt"));
    }
    expect((await run(["fsck.ext4", "-fn", image])).end).toBe(0);
  });
});

/** Files of overlayfs whose inodes are above 2^53 (mount option xino: docs of overlayfs in the kernel). */
describe("two files whose inodes are the same number in a double", () => {
  const missing =
    loopMissing ??
    lacking("mount") ??
    unless(readFileSync("/proc/filesystems", "utf8").includes("overlay"), "no overlayfs");

  testUnless(missing, "are two files", async () => {
    using dir = new TempDir();
    for (const name of ["lower", "tmpfs", "merged"]) mkdirSync(dir.file(name));
    // Doubles are 2048 apart there: of so many files of one folder two are closer.
    const names = [...Array(128).keys()];
    for (const i of names) dir.file(`lower/${i}`, pattern(4096, i));
    await must("mount", "-t", "tmpfs", "none", dir.file("tmpfs"));
    try {
      for (const name of ["upper", "work"]) mkdirSync(dir.file(`tmpfs/${name}`));
      const options = ["lower", "tmpfs/upper", "tmpfs/work"].map(
        (path, index) => `${["lower", "upper", "work"][index]}dir=${dir.file(path)}`,
      );
      const words = ["mount", "-t", "overlay", "-o", `xino=on,${options.join(",")}`, "none"];
      await must(...words, dir.file("merged"));
      try {
        const inode = (i: number) => statSync(dir.file(`merged/${i}`), { bigint: true }).ino;
        const sorted = names.toSorted((a, b) => (inode(a) < inode(b) ? -1 : 1));
        const at = sorted.findIndex(
          (i, k) => k > 0 && Number(inode(i)) === Number(inode(sorted[k - 1] ?? i)),
        );
        const [attached = -1, twin = -1] = sorted.slice(at - 1);
        expect(inode(attached)).not.toBe(inode(twin));
        await using _loop = await Attached.at("--read-only", dir.file(`merged/${attached}`));
        const options = { exclusive: true, direct: false };
        const open = (i: number) => BlockDevice.open(dir.file(`merged/${i}`), options);
        expect((await refusal(open(attached))).code).toBe("EBUSY");
        await using device = await open(twin);
        expect(device.geometry.size).toBe(4096);
      } finally {
        await must("umount", dir.file("merged"));
      }
    } finally {
      await must("umount", dir.file("tmpfs"));
    }
  });
});

describe("where a loop device may not be asked", () => {
  const missing = loopMissing ?? lacking("unshare", "mount");
  /** The command in a namespace without nodes of loop devices, as in a container. */
  const inContainer = (args: readonly string[], more = ""): Promise<ChildResult> => {
    const script = `set -e
      ${more}
      mount -t tmpfs none /dev; for n in "null 1 3" "zero 1 5" "urandom 1 9"; do set -- $n "$@"; mknod /dev/$1 c $2 $3; shift 3; done
      ln -s /proc/self/fd /dev/fd; exec "$@"`;
    const command = [process.execPath, mainPath, ...args];
    return run(["unshare", "--mount", "bash", "-c", script, "sh", ...command]);
  };

  testUnless(
    missing,
    "the path in sysfs is looked up, and what cannot be known is said",
    async () => {
      using dir = new TempDir();
      const noise = dir.file("noise", pattern(4096));
      const image = dir.file("a b.img ", pattern(MiB, 5));
      linkSync(image, dir.file("b.img"));
      await using loop = await Attached.at(image);
      const refused = await inContainer(["copy", noise, dir.file("b.img"), "--yes"]);
      expect(refused.end).toBe(3);
      expect(refused.stderr).toContain(`b.img is attached as ${loop.path}`);
      expect(Buffer.compare(readFileSync(image), pattern(MiB, 5))).toBe(0);
      const other = dir.file("other", pattern(MiB));
      // Of other loop devices of this machine, which somebody else may have attached meanwhile, it may warn.
      expect((await inContainer(["copy", noise, other, "-yq"])).stderr).not.toContain(loop.path);
      // Of a name that is gone nobody knows.
      unlinkSync(image);
      const warned = await inContainer(["copy", noise, other, "-yq"]);
      expect(warned.end).toBe(0);
      expect(warned.stderr).toContain(`warning: ${loop.path} may be using ${other}:`);
    },
  );

  testUnless(missing, "and sysfs is not there either: nobody can say", async () => {
    using dir = new TempDir();
    const image = dir.file("a.img", pattern(MiB, 5));
    await using loop = await Attached.at(image);
    const args = ["copy", dir.file("noise", pattern(4096)), image, "--yes"];
    const { end, stderr } = await inContainer(args, "mount -t tmpfs none /sys");
    expect([end, loop.path.length > 0]).toEqual([3, true]);
    expect(stderr).toContain(`cannot tell whether ${image} is in use`);
    expect(Buffer.compare(readFileSync(image), pattern(MiB, 5))).toBe(0);
  });
});

describe("who reads what others write", () => {
  testUnless(loopMissing, "is warned, and the copy goes on", async () => {
    using dir = new TempDir();
    const image = dir.file("a.img", pattern(MiB));
    linkSync(image, dir.file("b.img"));
    const args = ["copy", dir.file("b.img"), dir.file("out"), "--yes", "--quiet"];
    {
      await using loop = await Attached.at(image);
      const { end, stderr } = await bunAio(args);
      expect(end).toBe(0);
      expect(stderr).toBe(
        `warning: ${dir.file("b.img")} is attached for writing as ${loop.path}: its data may change while it is read\n`,
      );
    }
    expect(Buffer.compare(readFileSync(dir.file("out")), readFileSync(image))).toBe(0);
    await using _loop = await Attached.at("--read-only", image);
    expect(await bunAio(args)).toMatchObject({ end: 0, stderr: "" });
  });

  testUnless(loopMissing ?? lacking("mkfs.ext4", "mount"), "also of a mounted disk", async () => {
    using dir = new TempDir();
    const image = dir.file("a.img", new Uint8Array(8 * MiB));
    await must("mkfs.ext4", "-q", "-F", image);
    mkdirSync(dir.file("m n"));
    await using loop = await Attached.at(image);
    for (const [options, isWarned] of [
      ["rw", true],
      ["ro,noload", false],
    ] as const) {
      await must("mount", "-o", options, loop.path, dir.file("m n"));
      try {
        const { end, stderr } = await bunAio(["copy", loop.path, dir.file("out"), "-yq"]);
        expect(end).toBe(0);
        if (isWarned)
          expect(stderr).toContain(`${loop.path} is mounted for writing at ${dir.file("m n")}:`);
        else expect(stderr).toBe("");
      } finally {
        await must("umount", dir.file("m n"));
      }
    }
  });
});

describe("a swap file", () => {
  testUnless(lacking("mkswap", "swapon", "swapoff"), "is refused by every name", async () => {
    using dir = new TempDir();
    dir.file("noise", pattern(65536));
    // Swap wants a file without holes.
    const swap = dir.file("swap", new Uint8Array(2 * MiB));
    await must("chmod", "600", swap);
    await must("mkswap", swap);
    linkSync(swap, dir.file("hard"));
    symlinkSync("swap", dir.file("soft"));
    await must("swapon", swap);
    try {
      for (const name of [swap, dir.file("hard"), dir.file("soft")]) {
        await refusesOpen(name, "It is used as swap space; see swapoff(8)");
        await refusesCopy(dir, name, swap, `${name} is used as swap space\nSee swapoff(8)\n`);
      }
      // Neither UTF-8 nor without blanks of Unicode.
      await must("swapoff", swap);
      const odd = Buffer.concat([Buffer.from(`${dir.path}/a\u00a0`), Buffer.from([0xfe])]);
      renameSync(swap, odd);
      await must("bash", "-c", `swapon ${dir.path}/$'a\\302\\240\\376'`);
      const error = await refusal(BlockDevice.open(odd, { write: true }));
      expect(error.hint).toBe("It is used as swap space; see swapoff(8)");
      await must("bash", "-c", `swapoff ${dir.path}/$'a\\302\\240\\376'`);
      renameSync(odd, swap);
      await must("swapon", swap);
      // The kernel itself refuses only what changes it.
      await using file = await File.open(swap, { write: true });
      for (const change of [() => file.writeAt(new Uint8Array(4096), 0), () => file.truncate(0)]) {
        const error = await refusal(change());
        expect([error.code, error.hint]).toEqual([
          "ETXTBSY",
          "The file is used as swap space; see swapoff(8)",
        ]);
      }
      const { end, stderr } = await withoutSystem("proc", ["copy", dir.file("noise"), swap, "-y"]);
      expect(end).toBe(3);
      expect(stderr).toContain("ETXTBSY");
      expect(stderr).toContain("is used as swap space; see swapoff(8)");
      expect(stderr).not.toMatch(/^To /m);
      // Nothing is written, but the file would be cut.
      const empty = await withoutSystem("proc", ["copy", dir.file("empty", ""), swap, "-y"]);
      expect([empty.end, empty.stderr]).toEqual([3, expect.stringContaining("see swapoff(8)")]);
      const bench = ["bench", swap, "--rw", "write", "--yes", "--seconds", "0.1"];
      expect((await withoutSystem("proc", bench)).end).toBe(3);
    } finally {
      await must("swapoff", swap);
    }
  });
});

function covers(hidden: string): string[] {
  return [
    ...(hidden === "proc" ? [] : ["mount -t tmpfs none /sys"]),
    ...(hidden === "sys" ? [] : ["mount -t proc -o subset=pid none /proc"]),
    ...(hidden === "all of both" ? ["mount -t tmpfs none /proc"] : []),
  ];
}

/** Runs the command where /sys is empty and /proc shows nothing but processes, or nothing at all. */
function withoutSystem(
  hidden: "sys" | "proc" | "both" | "all of both" | "masked",
  args: readonly string[],
): Promise<ChildResult> {
  // Bun itself does not start without /proc/self: it is covered from within.
  const masks = [
    "mount -t tmpfs none /sys/block",
    "for f in partitions swaps; do mount --bind /dev/null /proc/$f; done",
  ];
  const lines = hidden === "masked" ? masks : covers(hidden);
  const code = `
    const { exitCode, stderr } = Bun.spawnSync(["sh", "-ec", ${JSON.stringify(lines.join("\n"))}]);
    if (exitCode !== 0) throw new Error(stderr.toString());
    process.argv = ["bun", "bun-aio", ...${JSON.stringify(args)}];
    await import(${JSON.stringify(mainPath)});`;
  return run(["unshare", "--mount", process.execPath, "-e", code]);
}

describe("where nobody can say", () => {
  const missing = loopMissing ?? lacking("unshare", "mount");

  testUnless(missing, "nothing is written over: without /sys and /proc", async () => {
    using dir = new TempDir();
    const noise = dir.file("noise", pattern(65536));
    const image = dir.file("a.img", pattern(MiB, 7));
    await using device = await imageDevice({ size: MiB, exclusive: false });
    for (const hidden of ["both", "all of both", "masked"] as const) {
      for (const target of [image, device.path ?? ""]) {
        const { end, stdout, stderr } = await withoutSystem(hidden, ["copy", noise, target, "-y"]);
        expect([end, stdout]).toEqual([3, ""]);
        expect(stderr).toContain(`cannot tell whether ${target} is in use`);
        expect(stderr).toContain("/sys");
      }
      expect(Buffer.compare(readFileSync(image), pattern(MiB, 7))).toBe(0);
      // What is made anew is nobody's.
      const made = await withoutSystem(hidden, ["copy", noise, dir.file(`new ${hidden}`)]);
      expect(made).toMatchObject({ end: 0 });
      const info = await withoutSystem(hidden, ["info"]);
      expect(info.end).toBe(1);
      expect(info.stdout).toContain("block devices: unknown");
      expect(info.stdout).toContain("backend");
      expect(info.stderr).toContain("cannot be listed");
      const json = await withoutSystem(hidden, ["info", "--json"]);
      expect(JSON.parse(json.stdout)).toMatchObject({ devices: null });
    }
  });

  testUnless(missing, "one of the two is enough to know", async () => {
    using dir = new TempDir();
    const noise = dir.file("noise", pattern(65536));
    const image = dir.file("a.img", pattern(MiB, 7));
    const free = dir.file("free", pattern(MiB, 7));
    linkSync(image, dir.file("b.img"));
    await using loop = await Attached.at(image);
    await using device = await imageDevice({ size: MiB, exclusive: false });
    for (const hidden of ["sys", "proc"] as const) {
      const args = ["copy", noise, dir.file("b.img"), "--yes"];
      const { end, stderr } = await withoutSystem(hidden, args);
      expect(end).toBe(3);
      expect(stderr).toContain(`attached as ${loop.path}`);
      for (const target of [free, device.path ?? ""]) {
        expect((await withoutSystem(hidden, ["copy", noise, target, "-yq"])).stderr).toBe("");
        expect(Buffer.compare(readFileSync(target).subarray(0, 65536), pattern(65536))).toBe(0);
      }
    }
    expect(Buffer.compare(readFileSync(image), pattern(MiB, 7))).toBe(0);
  });

  testUnless(missing, "listBlockDevices rejects", async () => {
    const code = `
      const { listBlockDevices } = await import(${JSON.stringify(join(import.meta.dir, "../../src/index.ts"))});
      const { exitCode } = Bun.spawnSync(["mount", "-t", "tmpfs", "none", args[0]]);
      const error = await listBlockDevices().catch((error) => error);
      console.log(exitCode, error.name, error.code, error.errno, error.path, error.hint);`;
    for (const [root, path] of [
      ["/sys", "/sys/block"],
      ["/proc", "/proc/self/mountinfo"],
    ] as const) {
      const { stdout } = await runCode(code, { under: ["unshare", "--mount"], args: [root] });
      expect(stdout).toStartWith(`0 IoError ENOENT -2 ${path} `);
      expect(stdout).toContain("mount /sys and /proc");
    }
  });
});

testUnless(
  loopMissing,
  "a loop device is listed with the file behind it, as no hard disk",
  async () => {
    using dir = new TempDir();
    const image = dir.file("a b.img", pattern(MiB));
    await using loop = await Attached.at(image);
    const listed = async () => (await listBlockDevices()).find(({ path }) => path === loop.path);
    expect((await listed())?.backingFile).toBe(image);
    const table = await bunAio(["info"]);
    const row = table.stdout.split("\n").find((line) => line.includes(`${loop.path} `)) ?? "";
    expect(row).toContain("loop ");
    expect(row).toContain(image);
    expect(row).not.toContain("hdd");
    expect((await bunAio(["info", loop.path])).stdout).toMatch(
      /kind +disk, loop device over .*a b\.img/,
    );
    const args = ["copy", dir.file("noise", pattern(512)), loop.path, "--yes"];
    const { end, stderr } = await bunAio(args);
    expect(end).toBe(0);
    expect(stderr).toContain(`${loop.path}  (disk, 1 MiB, loop device over ${image}`);
    rmSync(image);
    expect((await listed())?.backingFile).toBe(`${image} (deleted)`);
  },
);

test("an image that nobody uses is opened, emptied and resized as before", async () => {
  using dir = new TempDir();
  const image = dir.file("a.img", pattern(8192));
  {
    await using device = await BlockDevice.open(image, { write: true, truncate: true });
    expect(device.geometry.size).toBe(0);
    await device.truncate(4096);
    await device.writeAt(pattern(4096), 0);
  }
  expect(Buffer.compare(readFileSync(image), pattern(4096))).toBe(0);
  truncateSync(image, 0);
  for (const options of [{ truncate: true }, { write: true, truncate: 1 as never }]) {
    await expect(BlockDevice.open(image, options)).rejects.toThrow("truncate");
  }
});
