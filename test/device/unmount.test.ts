// `BlockDevice.open` with `unmount`: what is taken off, what has to stay, and who is named where it is in use.

import { describe, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BlockDevice, File, type IoError, listBlockDevices } from "../../src/index.ts";
import type { System } from "../../src/system/loop_devices.ts";
import { parseFstat } from "../../src/system/unmount_freebsd.ts";
import { planUnmount } from "../../src/system/unmount_plan.ts";
import { must, run } from "../support/child.ts";
import { noLinux, noRoot, testUnless, without } from "../support/conditions.ts";
import { rejection } from "../support/control.ts";
import { QUEUE, Tree } from "../support/system_tree.ts";
import { TempDir } from "../support/temp.ts";

const missing = noRoot ?? without("losetup", "mkfs.ext4", "mount", "umount", "addpart", "blockdev");

const MiB = 2 ** 20;

/** A loop device with a file system, and a folder for mounts; both gone at the end, whatever is mounted. */
class Disk implements AsyncDisposable {
  readonly #dir = new TempDir();
  readonly path: string;

  private constructor(path: string, dir: TempDir) {
    this.path = path;
    this.#dir = dir;
  }

  static async make(bytes = 4 * MiB): Promise<Disk> {
    const dir = new TempDir();
    const image = dir.file("image", "");
    truncateSync(image, bytes);
    await must("mkfs.ext4", "-q", "-F", image);
    return new Disk(await must("losetup", "--find", "--show", image), dir);
  }

  /** Path of a new folder. */
  folder(name: string): string {
    const path = this.#dir.file(name);
    mkdirSync(path);
    return path;
  }

  async mount(name: string): Promise<string> {
    const place = this.folder(name);
    await must("mount", this.path, place);
    return place;
  }

  open(options: object = {}): Promise<BlockDevice> {
    return BlockDevice.open(this.path, { write: true, unmount: true, ...options });
  }

  /** Its mount points, the last first. */
  mounts(): string[] {
    const lines = readFileSync("/proc/self/mountinfo", "latin1").split("\n");
    const places = lines.map((line) => Buffer.from(line.split(" ")[4] ?? "", "latin1").toString());
    const all = places.map((place) =>
      place.replace(/\\(\d{3})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 8))),
    );
    return all.filter((place) => place.startsWith(`${this.#dir.path}/`)).reverse();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const place of this.mounts()) await must("umount", place);
    // A partition outlives the image.
    await run(["delpart", this.path, "1"]);
    await must("losetup", "--detach", this.path);
    this.#dir[Symbol.dispose]();
  }
}

/** A process that runs until it is disposed of. */
class Holder implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"pipe", "pipe">;

  private constructor(child: Bun.Subprocess<"pipe", "pipe">) {
    this.#child = child;
  }

  /** `code` of the shell says "ready" by itself, then waits for its input to end. */
  static async start(code: string, ...words: string[]): Promise<Holder> {
    const command = ["bash", "-c", `${code}; echo ready; read -r _`, "bash", ...words];
    const child = Bun.spawn(command, { stdin: "pipe", stdout: "pipe" });
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      if (text.includes("ready")) break;
    }
    return new Holder(child);
  }

  /** As it is named now. */
  get name(): string {
    const { pid } = this.#child;
    return `${readFileSync(`/proc/${pid}/comm`, "utf8").trim()} (pid ${pid})`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill();
    await this.#child.exited;
  }
}

function expectBusy(error: IoError, disk: Disk): void {
  expect([error.code, error.errno, error.path]).toEqual(["EBUSY", -16, disk.path]);
  expect(error.message).toEndWith(`. ${error.hint}`);
}

describe("takes off", () => {
  testUnless(missing, "all mounts, whatever their names, and holds the device then", async () => {
    await using disk = await Disk.make();
    const first = await disk.mount("a b\\040c\nd");
    await disk.mount("é'$(x)");
    const bound = disk.folder("bound");
    mkdirSync(join(first, "inner"));
    await must("mount", "--bind", join(first, "inner"), bound);
    // Over the first one, and of the same device.
    await must("mount", "--bind", bound, first);
    expect(disk.mounts().length).toBe(4);
    expect((await rejection(disk.open({ unmount: false }))).code).toBe("EBUSY");
    expect((await rejection(disk.open({ unmount: undefined }))).code).toBe("EBUSY");
    {
      await using device = await disk.open();
      expect(disk.mounts()).toEqual([]);
      await device.writeAt(new Uint8Array(512).fill(7), 0);
      const { end } = await run(["mount", disk.path, first]);
      expect(end).not.toBe(0);
    }
    await using again = await disk.open();
    expect(again.geometry.size).toBe(4 * MiB);
  });

  testUnless(missing, "what another call takes off at the same time", async () => {
    await using disk = await Disk.make();
    for (const name of ["a", "b", "c", "d"]) await disk.mount(name);
    const shared = { write: false, exclusive: false };
    const opening = Array.from({ length: 4 }, () => disk.open(shared));
    for (const device of await Promise.all(opening)) await device.close();
    expect(disk.mounts()).toEqual([]);
  });

  testUnless(missing, "those of partitions; of a partition only its own", async () => {
    await using disk = await Disk.make();
    const sectors = `${(3 * MiB) / 512}`;
    await must("addpart", disk.path, "1", "2048", sectors);
    const part = `${disk.path}p1`;
    await must("mkfs.ext4", "-q", "-F", part);
    const place = disk.folder("part");
    await must("mount", part, place);
    {
      await using device = await BlockDevice.open(part, { write: true, unmount: true });
      expect(disk.mounts()).toEqual([]);
      expect(device.geometry.size).toBe(3 * MiB);
    }
    await must("mount", part, place);
    await using device = await disk.open();
    expect(disk.mounts()).toEqual([]);
    expect(device.geometry.size).toBe(4 * MiB);
  });

  testUnless(missing ?? without("mkfs.btrfs"), "a btrfs on two devices, from either", async () => {
    await using disk = await Disk.make();
    await using other = await Disk.make(128 * MiB);
    await using third = await Disk.make(128 * MiB);
    await must("mkfs.btrfs", "-q", "-f", other.path, third.path);
    const place = disk.folder("btrfs");
    await must("mount", other.path, place);
    const listed = (await listBlockDevices()).filter(({ mounts }) => mounts.includes(place));
    expect(listed.map(({ path }) => path).sort()).toEqual([other.path, third.path].sort());
    expect((await rejection(third.open({ unmount: false }))).hint).toContain(
      `is mounted at ${place}`,
    );
    await using device = await third.open();
    expect(disk.mounts()).toEqual([]);
    expect(device.kind).toBe("disk");
  });

  testUnless(missing, "also to read, and by a link", async () => {
    await using disk = await Disk.make();
    await disk.mount("a");
    await using device = await BlockDevice.open(`/proc/self/root${disk.path}`, { unmount: true });
    expect(disk.mounts()).toEqual([]);
    expect(device.geometry.size).toBe(4 * MiB);
  });

  test("nothing of an image", async () => {
    using dir = new TempDir();
    const options = { write: true, unmount: true };
    await using image = await BlockDevice.open(dir.file("i", new Uint8Array(512)), options);
    expect(image.geometry.size).toBe(512);
    const made = { ...options, create: true };
    await using created = await BlockDevice.open(dir.file("new"), made);
    expect(created.geometry.size).toBe(0);
  });
});

describe("names who uses it", () => {
  /** By what a process, started in a shell with the mount point as $1, keeps it busy. */
  const uses: Record<string, string> = {
    "its current directory": 'cd "$1"',
    "a descriptor": 'exec 9>"$1/file"',
    "a deleted file": 'exec 9>"$1/file"; rm "$1/file"',
    "its program": 'cp "$(command -v bash)" "$1/used"; exec "$1/used" -c "echo ready; read -r _"',
    "a socket":
      'cd "$1"; exec "$2" -e \'Bun.listen({ unix: process.argv[1] + "/s", socket: { data() {} } }); process.chdir("/"); console.log("ready")\' "$1"',
  };

  for (const [what, code] of Object.entries(uses)) {
    testUnless(missing, what, async () => {
      await using disk = await Disk.make();
      const place = await disk.mount("a b");
      {
        await using holder = await Holder.start(code, place, process.execPath);
        const error = await rejection(disk.open());
        expectBusy(error, disk);
        expect(error.hint).toContain(`'${place}' is in use, by `);
        expect(error.hint).toContain(holder.name);
        expect(disk.mounts()).toEqual([place]);
      }
      await using device = await disk.open();
      expect(device.kind).toBe("disk");
    });
  }

  testUnless(missing, "ten of many, and counts the others", async () => {
    await using disk = await Disk.make();
    const place = await disk.mount("a");
    await using holders = new AsyncDisposableStack();
    const starting = Array.from({ length: 12 }, () => Holder.start('cd "$1"', place));
    for (const holder of await Promise.all(starting)) holders.use(holder);
    const { hint } = await rejection(disk.open());
    expect(hint).toMatch(/ is in use, by (\S+ \(pid \d+\)(, )?){10} and 2 others$/);
  });

  testUnless(missing, "this process, and a loop device over a file of it", async () => {
    await using disk = await Disk.make();
    const place = await disk.mount("a");
    const path = join(place, "file");
    writeFileSync(path, new Uint8Array(65536));
    {
      await using file = await File.open(path);
      const { hint } = await rejection(disk.open());
      expect(hint).toBe(`${place} is in use, by this process (pid ${process.pid})`);
      expect(file.fd).toBeGreaterThan(0);
    }
    const loop = await must("losetup", "--find", "--show", path);
    try {
      const error = await rejection(disk.open());
      expectBusy(error, disk);
      expect(error.hint).toContain(`attached as ${loop}; detach it first (losetup -d ${loop})`);
    } finally {
      await must("losetup", "--detach", loop);
    }
    await using device = await disk.open();
    expect(device.kind).toBe("disk");
  });

  testUnless(missing, "what was unmounted before is told", async () => {
    await using disk = await Disk.make();
    const busy = await disk.mount("busy");
    const free = await disk.mount("free");
    const fd = openSync(join(busy, "file"), "w");
    try {
      const error = await rejection(disk.open());
      expectBusy(error, disk);
      expect(error.hint).toContain(`${busy} is in use, by this process`);
      expect(error.hint).toEndWith(`. Already unmounted: ${free}`);
      expect(disk.mounts()).toEqual([busy]);
    } finally {
      closeSync(fd);
    }
  });

  testUnless(missing, "a mount namespace that keeps it", async () => {
    await using disk = await Disk.make();
    const place = await disk.mount("a");
    {
      const code = 'exec unshare -m bash -c "echo ready; read -r _"';
      await using holder = await Holder.start(code);
      const error = await rejection(disk.open());
      expectBusy(error, disk);
      expect(error.hint).toContain(`mounted in the mount namespace of ${holder.name}`);
      expect(error.hint).toEndWith(`. Already unmounted: ${place}`);
    }
    await using device = await disk.open();
    expect(device.kind).toBe("disk");
  });
});

describe("leaves everything mounted", () => {
  testUnless(missing, "if something else is mounted in it, or over it", async () => {
    await using disk = await Disk.make();
    const place = await disk.mount("a");
    const other = await disk.mount("b");
    mkdirSync(join(place, "inner"));
    for (const [where, words] of [
      [join(place, "inner"), "tmpfs is mounted in it"],
      [place, "tmpfs is mounted over it"],
      [join(place, ".."), "tmpfs, mounted at"],
    ] as const) {
      await must("mount", "-t", "tmpfs", "none", where);
      try {
        const error = await rejection(disk.open());
        expectBusy(error, disk);
        expect(error.hint).toContain(words);
      } finally {
        await must("umount", where);
      }
      expect(disk.mounts()).toEqual([other, place]);
    }
  });

  testUnless(missing, "if the call is refused or cancelled anyway", async () => {
    await using disk = await Disk.make();
    const place = await disk.mount("a");
    const aborted = { signal: AbortSignal.abort() };
    for (const options of [
      { mode: -1 },
      { sectorSize: 3 },
      { read: false, unalignedWrites: "rmw" },
    ]) {
      const error: unknown = await disk.open(options).catch((error: unknown) => error);
      expect(error).toBeInstanceOf(Error);
      expect((error as { code: string }).code).toStartWith("ERR_");
    }
    await expect(disk.open({ unmount: 1 })).rejects.toThrow("options.unmount");
    await must("blockdev", "--setro", disk.path);
    const readOnly = await rejection(disk.open()).finally(() =>
      must("blockdev", "--setrw", disk.path),
    );
    expect(readOnly.code).toBe("EROFS");
    expect((await rejection(disk.open(aborted))).code).toBe("ABORT_ERR");
    expect((await rejection(disk.open({ timeout: 0 }))).code).toBe("ERR_TIMEOUT");
    const controller = new AbortController();
    const opening = rejection(disk.open({ signal: controller.signal }));
    controller.abort();
    expect((await opening).code).toBe("ABORT_ERR");
    expect(disk.mounts()).toEqual([place]);
  });

  testUnless(noRoot, "if the system runs from it", async () => {
    for (const { path, partitions } of await listBlockDevices({ system: true })) {
      for (const target of [path, ...partitions.filter((it) => it.system).map((it) => it.path)]) {
        const error = await rejection(BlockDevice.open(target, { unmount: true }));
        expect(error.code).toBe("EBUSY");
        expect(error.hint).toMatch(/system runs from it|swap/);
      }
    }
    expect(readFileSync("/proc/self/mountinfo", "utf8")).toMatch(/ \/ \/ /);
  });
});

describe("the plan", () => {
  const stick = "pci0000:00/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0/block/sda";

  /** A stick with two partitions on a system of its own. */
  function system(folder: TempDir, mounts: readonly string[], swaps = ""): [Tree, string] {
    const tree = new Tree(folder);
    const disk = tree.disk(stick, "8:0", { ...QUEUE, size: "204800\n" });
    for (const index of [1, 2]) {
      tree.device(`${stick}/sda${index}`, `8:${index}`, {
        ...{ partition: `${index}\n`, size: "2048\n", start: `${index * 2048}\n` },
      });
    }
    tree.write("proc/self/mountinfo", ["1 0 0:1 / / rw - tmpfs none rw", ...mounts, ""].join("\n"));
    tree.write("proc/swaps", `Filename Type Size Used Priority\n${swaps}`);
    return [tree, disk];
  }

  function systemOf({ paths }: Tree): System {
    return { ...paths, ask: () => Promise.resolve("unknown") };
  }

  async function planned(mounts: readonly string[], swaps?: string): Promise<unknown> {
    using folder = new TempDir();
    const [tree, disk] = system(folder, mounts, swaps?.replace("DEV", join(folder.path, "dev")));
    const dev = `${tree.paths.dev}/`;
    const lines = mounts.map((line) => line.replace("DEV/", dev)).join("\n");
    tree.write("proc/self/mountinfo", `1 0 0:1 / / rw - tmpfs none rw\n${lines}\n`);
    const plan = await planUnmount(systemOf(tree), disk);
    if ("refusal" in plan) return plan.refusal.replaceAll(dev, "/dev/");
    return plan.mounts.map(({ id, mountPoint }) => [id, mountPoint]);
  }

  testUnless(
    noLinux,
    "has the innermost first, and file systems with numbers of their own",
    async () => {
      expect(
        await planned([
          "10 1 8:1 / /a rw - ext4 /dev/sda1 rw",
          "14 10 8:2 / /a/b rw - ext4 /dev/sda2 rw",
          "12 14 8:1 / /a/b/c rw - ext4 /dev/sda1 rw",
          "13 1 0:40 / /data rw - btrfs DEV/sda2 rw",
          "11 1 0:41 / /not rw - tmpfs DEV/sda2 rw",
          "15 1 8:16 / /other rw - ext4 /dev/sdb rw",
        ]),
      ).toEqual([
        [12, "/a/b/c"],
        [14, "/a/b"],
        [13, "/data"],
        [10, "/a"],
      ]);
      expect(await planned([])).toEqual([]);
    },
  );

  testUnless(noLinux, "is refused for the system's mounts and swap", async () => {
    for (const place of ["/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/etc/hosts"]) {
      const mounts = [
        "9 1 8:1 / /mnt rw - ext4 /dev/sda1 rw",
        `10 1 8:2 / ${place} rw - vfat x rw`,
      ];
      expect(await planned(mounts)).toBe(
        `The system runs from it: /dev/sda2 is mounted at ${place}, which is never unmounted`,
      );
    }
    expect(await planned([], "DEV/sda2 partition 1 0 -2\n")).toBe(
      "/dev/sda2 is used as swap space; see swapoff(8)",
    );
    expect(await planned(["9 1 8:1 / /mnt rw - ext4 x rw"], "/mnt/swapfile file 1 0 -2\n")).toBe(
      "/mnt/swapfile is used as swap space; see swapoff(8)",
    );
  });

  testUnless(noLinux, "is refused for volumes, and for mounts that no path leads to", async () => {
    using folder = new TempDir();
    const [tree, disk] = system(folder, ["9 1 8:1 / /mnt rw - ext4 x rw"]);
    const volume = tree.disk("virtual/block/dm-0", "253:0", { ...QUEUE, "dm/name": "crypt\n" });
    tree.stack(volume, join(disk, "sda2"));
    expect(await planUnmount(systemOf(tree), disk)).toEqual({
      refusal: 'sda2 is held by dm-0 ("crypt"), which is built on it',
    });
    expect(await planned(["9 1 8:1 / /mnt/a\\040b//deleted rw - ext4 x rw"])).toBe(
      "It is mounted on the directory '/mnt/a b', which was removed: no path leads to it anymore",
    );
    expect(
      await planned([
        "9 1 0:30 / /mnt rw - tmpfs x rw",
        "10 9 8:1 / /mnt/a rw - ext4 x rw",
        "11 1 0:31 / /mnt rw - proc x rw",
      ]),
    ).toBe("/mnt/a cannot be unmounted: proc, mounted at /mnt, covers it; unmount that first");
  });
});

test("who uses a file system of FreeBSD", () => {
  const text = `USER     CMD          PID   FD MOUNT      INUM MODE         SZ|DV R/W
root     sh         71234   wd /mnt/stick      2 drwxr-xr-x     512  r
root     tail       71250    3 /mnt/stick      4 -rw-r--r--       0  r
root     tail       71250 text /mnt/stick      5 -rwxr-xr-x   12345  r
`;
  expect(parseFstat(text)).toEqual(["sh (pid 71234)", "tail (pid 71250)"]);
  expect(parseFstat("")).toEqual([]);
});
