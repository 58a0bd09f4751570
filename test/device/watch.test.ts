// `watchBlockDevices`: disks that come, go and change, seen through loop devices. Others attach and detach loop devices
// at the same time, so each test looks at its own only.

import { dlopen } from "bun:ffi";
import { describe, expect, test } from "bun:test";
import { closeSync, existsSync, openSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import {
  type BlockDeviceEvent,
  type BlockDeviceWatch,
  listBlockDevices,
  watchBlockDevices,
} from "../../src/index.ts";
import { parseUevent } from "../../src/system/announcements.ts";
import { LeakError, trackLeaks } from "../../src/testing/index.ts";
import { must, run } from "../support/child.ts";
import { noStrace, testUnless, without } from "../support/conditions.ts";
import { loopMissing, rejection, turns } from "../support/control.ts";
import { TempDir } from "../support/temp.ts";
import { indexPath } from "../support/under_test.ts";

const KiB = 1024;
/** linux/loop.h */
const LOOP_CTL_ADD = 0x4c80;
const LOOP_CTL_REMOVE = 0x4c81;

function loopControl(request: number, number: number): number {
  const { ioctl } = dlopen("libc.so.6", {
    ioctl: { args: ["i32", "u64", "i32"], returns: "i32" },
  }).symbols;
  const fd = openSync("/dev/loop-control", "r+");
  try {
    return ioctl(fd, request, number);
  } finally {
    closeSync(fd);
  }
}

/** A loop device that did not exist before, without an image. */
class OwnLoop implements AsyncDisposable {
  readonly #dir = new TempDir();
  readonly #number: number;
  readonly image: string;

  constructor() {
    let number = 100 + (process.pid % 1000);
    while (loopControl(LOOP_CTL_ADD, number) < 0) number++;
    this.#number = number;
    this.image = this.#dir.file("image", new Uint8Array(64 * KiB));
  }

  get path(): string {
    return `/dev/loop${this.#number}`;
  }

  attach(): Promise<string> {
    return must("losetup", this.path, this.image);
  }

  detach(): Promise<string> {
    return must("losetup", "--detach", this.path);
  }

  /** Makes the kernel announce what has not happened. */
  announce(action = "change"): void {
    writeFileSync(`/sys/block/loop${this.#number}/uevent`, action);
  }

  /** Others may have it open for a moment, to see what it is. */
  async remove(): Promise<void> {
    while (loopControl(LOOP_CTL_REMOVE, this.#number) < 0 && existsSync(this.path)) await turns(1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (existsSync(`/sys/block/loop${this.#number}/loop`)) await this.detach();
    await this.remove();
    this.#dir[Symbol.dispose]();
  }
}

/** The next event of the device for which this is so; `told` gets the paths of all. */
async function until(
  watch: BlockDeviceWatch,
  { path }: OwnLoop,
  is: (event: BlockDeviceEvent) => boolean,
  told: string[] = [],
): Promise<BlockDeviceEvent> {
  for (;;) {
    const { value } = await watch.next();
    if (value === undefined) throw new Error("the watch has ended");
    told.push(value.device.path);
    if (value.device.path === path && is(value)) return value;
  }
}

const isAttached = ({ device }: BlockDeviceEvent): boolean => device.backingFile !== null;
const isDetached = ({ device }: BlockDeviceEvent): boolean => device.backingFile === null;

function sockets(): number {
  const targets = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return targets.filter((target) => target.startsWith("socket:")).length;
}

describe("tells", () => {
  testUnless(loopMissing, "that a device comes, changes, and goes, as it was last", async () => {
    await using watch = watchBlockDevices();
    const loop = new OwnLoop();
    const { path, image } = loop;
    try {
      const added = await until(watch, loop, () => true);
      expect([added.type, added.device.size]).toEqual(["add", 0]);
      await loop.attach();
      const attached = await until(watch, loop, isAttached);
      expect(attached.type).toBe("change");
      expect(attached.device).toMatchObject({ path, size: 64 * KiB, backingFile: image });
      const listed = (await listBlockDevices()).find((device) => device.path === path);
      expect(attached.device).toEqual(listed as typeof attached.device);
      await loop.detach();
      const detached = await until(watch, loop, isDetached);
      expect([detached.type, detached.device.size]).toEqual(["change", 0]);
    } finally {
      await loop[Symbol.asyncDispose]();
    }
    const removed = await until(watch, loop, ({ type }) => type === "remove");
    expect(removed.device).toMatchObject({ path, size: 0, logicalSectorSize: 512 });
  });

  testUnless(
    loopMissing,
    "a change when somebody asks for announcements (udevadm trigger)",
    async () => {
      await using loop = new OwnLoop();
      await using watch = watchBlockDevices();
      for (const action of ["change", "add", "remove"]) {
        loop.announce(action);
        expect((await until(watch, loop, () => true)).type).toBe("change");
      }
    },
  );

  testUnless(loopMissing, "nothing of a device that came and went before", async () => {
    await using loop = new OwnLoop();
    await using watch = watchBlockDevices();
    const gone = new OwnLoop();
    await gone[Symbol.asyncDispose]();
    await loop.attach();
    const told: string[] = [];
    await until(watch, loop, (event) => isAttached(event), told);
    expect(told).not.toContain(gone.path);
  });

  testUnless(
    loopMissing ?? without("addpart", "delpart"),
    "of partitions by their disk",
    async () => {
      await using loop = new OwnLoop();
      await loop.attach();
      await using watch = watchBlockDevices();
      await must("addpart", loop.path, "1", "8", "16");
      const more = await until(watch, loop, ({ device }) => device.partitions.length === 1);
      expect(more.type).toBe("change");
      expect(more.device.partitions[0]).toMatchObject({ path: `${loop.path}p1`, size: 16 * 512 });
      await must("delpart", loop.path, "1");
      const fewer = await until(watch, loop, ({ device }) => device.partitions.length === 0);
      expect([fewer.type, fewer.device.size]).toEqual(["change", 64 * KiB]);
    },
  );

  testUnless(loopMissing, "what happens after the call, before anybody reads", async () => {
    await using loop = new OwnLoop();
    await using watch = watchBlockDevices();
    await loop.attach();
    await turns(20);
    await loop.detach();
    await loop.attach();
    // Changes that follow one another are one.
    expect(await until(watch, loop, () => true)).toMatchObject({
      type: "change",
      device: { backingFile: loop.image },
    });
    await using other = watchBlockDevices();
    const late = new OwnLoop();
    await late[Symbol.asyncDispose]();
    loop.announce();
    const first = await until(other, loop, () => true);
    expect(first.type).toBe("change");
  });

  testUnless(loopMissing, "that a device of the same name is another one", async () => {
    const loop = new OwnLoop();
    await using watch = watchBlockDevices({ since: await listBlockDevices() });
    await turns(20);
    await loop.remove();
    loopControl(LOOP_CTL_ADD, Number(loop.path.slice("/dev/loop".length)));
    try {
      const types = [
        (await until(watch, loop, () => true)).type,
        (await until(watch, loop, () => true)).type,
      ];
      expect(types).toEqual(["remove", "add"]);
    } finally {
      await loop[Symbol.asyncDispose]();
    }
  });

  testUnless(loopMissing, "the differences to a list", async () => {
    await using attached = new OwnLoop();
    await using detached = new OwnLoop();
    await using idle = new OwnLoop();
    await detached.attach();
    const since = await listBlockDevices();
    await attached.attach();
    await detached.detach();
    await using watch = watchBlockDevices({ since });
    const own = [attached.path, detached.path, idle.path];
    const events: unknown[] = [];
    idle.announce();
    for await (const { type, device } of watch) {
      if (!own.includes(device.path)) continue;
      events.push([type, device.path, device.size]);
      if (device.path === idle.path) break;
    }
    expect(events.slice(0, 2).sort()).toEqual(
      [
        ["add", attached.path, 64 * KiB],
        ["change", detached.path, 0],
      ].sort(),
    );
    expect(events.at(-1)).toEqual(["change", idle.path, 0]);
  });

  testUnless(
    loopMissing,
    "the differences to a list that went through JSON, or is incomplete",
    async () => {
      await using loop = new OwnLoop();
      await loop.attach();
      await using idle = new OwnLoop();
      const since = JSON.parse(JSON.stringify(await listBlockDevices()));
      await using same = watchBlockDevices({ since });
      idle.announce();
      const seen: (string | undefined)[] = [];
      while (seen.at(-1) !== idle.path) seen.push((await same.next()).value?.device.path);
      expect(seen).not.toContain(loop.path);
      const partial = [{ path: loop.path, partitions: [null] }, { path: "/dev/gone" }];
      await using other = watchBlockDevices({ since: partial as never });
      const gone = { type: "remove", device: { path: "/dev/gone" } };
      expect((await other.next()).value).toEqual(gone as never);
      expect(await until(other, loop, () => true)).toMatchObject({ type: "change" });
    },
  );

  testUnless(
    loopMissing ?? without("addpart", "delpart"),
    "partitions that are others than in a list",
    async () => {
      await using loop = new OwnLoop();
      await loop.attach();
      const since = await listBlockDevices();
      await must("addpart", loop.path, "1", "8", "16");
      await using watch = watchBlockDevices({ since });
      const { type, device } = await until(watch, loop, () => true);
      expect([type, device.partitions.length]).toEqual(["change", 1]);
      await must("delpart", loop.path, "1");
    },
  );

  testUnless(loopMissing, "first all disks, since an empty list", async () => {
    await using loop = new OwnLoop();
    await loop.attach();
    const listed = (await listBlockDevices({ loop: false })).map(({ path }) => path);
    const added: string[] = [];
    for await (const { type, device } of watchBlockDevices({ since: [] })) {
      expect(type).toBe("add");
      expect(device.size).toBeGreaterThan(0);
      added.push(device.path);
      if (added.includes(loop.path) && listed.every((path) => added.includes(path))) break;
    }
    expect(new Set(added).size).toBe(added.length);
  });

  testUnless(loopMissing, "after the kernel had no room for more announcements", async () => {
    await using loop = new OwnLoop();
    await using watch = watchBlockDevices();
    loop.announce();
    await until(watch, loop, () => true);
    // Nothing is read meanwhile.
    for (let count = 0; count < 20_000; count++) loop.announce();
    Bun.spawnSync(["losetup", loop.path, loop.image]);
    const { device } = await until(watch, loop, isAttached);
    expect(device.size).toBe(64 * KiB);
    await loop.detach();
    await until(watch, loop, isDetached);
  });
});

describe("where nothing is announced", () => {
  const code = `
    import { listBlockDevices, watchBlockDevices } from ${JSON.stringify(indexPath)};
    const path = process.argv[1];
    const watch = watchBlockDevices({ since: await listBlockDevices() });
    console.log("watching");
    for await (const { device } of watch) {
      if (device.path !== path) continue;
      console.log(device.size);
      if (device.size === 0) break;
    }`;

  /** What a process told that was started by these words. */
  async function toldUnder(...under: string[]): Promise<string> {
    await using loop = new OwnLoop();
    const command = [...under, process.execPath, "-e", code, loop.path];
    const child = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
    let text = "";
    for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += part;
      if (part.includes("watching")) await loop.attach();
      if (part.includes("65536")) await loop.detach();
    }
    expect(await child.exited).toBe(0);
    return text;
  }

  const missing = loopMissing ?? noStrace ?? without("unshare");

  testUnless(missing, "disks are compared: without netlink, and in a user namespace", async () => {
    const refused = ["-f", "-qq", "-o", "/dev/null", "-e", "inject=socket:error=EPERM"];
    const told = await Promise.all([
      toldUnder("strace", ...refused, "-e", "trace=socket"),
      toldUnder("unshare", "--user", "--map-root-user", "--net"),
    ]);
    for (const text of told) expect(text).toBe("watching\n65536\n0\n");
  });
});

describe("ends", () => {
  testUnless(loopMissing, "with its signal, whoever waits", async () => {
    const before = sockets();
    const controller = new AbortController();
    const { signal } = controller;
    const watch = watchBlockDevices({ signal });
    const waiting = rejection(watch.next());
    const next = watch.next();
    await turns();
    controller.abort("enough");
    expect(await waiting).toMatchObject({ name: "AbortError", code: "ABORT_ERR", cause: "enough" });
    expect(await next).toEqual({ done: true, value: undefined });
    expect(await watch.next()).toEqual({ done: true, value: undefined });
    const unread = watchBlockDevices({ signal: AbortSignal.timeout(1) });
    await Bun.sleep(5);
    const aborted = watchBlockDevices({ signal });
    for (const ended of [unread, aborted]) {
      expect((await rejection(ended.next())).code).toBe("ABORT_ERR");
      expect((await ended.next()).done).toBe(true);
    }
    // What ended by itself before has not failed.
    const later = new AbortController();
    const over = [watchBlockDevices({ signal }), watchBlockDevices({ signal: later.signal })];
    for (const watch of over) expect((await watch.return()).done).toBe(true);
    later.abort();
    for (const watch of over) expect((await watch.next()).done).toBe(true);
    await turns();
    expect(sockets()).toBe(before);
  });

  testUnless(loopMissing, "with its loop, and when it is disposed of", async () => {
    await using _ = trackLeaks();
    const before = sockets();
    const watch = watchBlockDevices();
    const waiting = watch.next();
    await watch[Symbol.asyncDispose]();
    expect(await waiting).toEqual({ done: true, value: undefined });
    for await (const { type } of watchBlockDevices({ since: [] })) {
      expect(type).toBe("add");
      break;
    }
    await turns();
    expect(sockets()).toBe(before);
  });

  testUnless(loopMissing, "when nobody refers to it any more", async () => {
    await using loop = new OwnLoop();
    const before = sockets();
    const forget = async (): Promise<void> => {
      for (let count = 0; count < 20; count++) {
        const watch = watchBlockDevices();
        loop.announce();
        await until(watch, loop, () => true);
      }
    };
    await forget();
    while (sockets() > before + 10) {
      Bun.gc(true);
      loop.announce();
      await turns();
    }
    // One that is awaited stays.
    await using watch = watchBlockDevices();
    const waiting = until(watch, loop, () => true);
    await turns();
    Bun.gc(true);
    loop.announce();
    expect((await waiting).device.path).toBe(loop.path);
  });

  testUnless(loopMissing, "with the process, which lives while it is awaited", async () => {
    await using loop = new OwnLoop();
    const code = `
      import { watchBlockDevices } from ${JSON.stringify(indexPath)};
      const [path, what] = process.argv.slice(1);
      const watch = watchBlockDevices();
      if (what === "read") {
        console.log("waiting");
        while ((await watch.next()).value.device.path !== path);
        console.log("told");
      }
      // Made, perhaps read, and left alone.`;
    const idle = await run([process.execPath, "-e", code, loop.path, "leave"], {
      timeoutMs: 20_000,
    });
    expect([idle.end, idle.stdout]).toEqual([0, ""]);
    const child = Bun.spawn([process.execPath, "-e", code, loop.path, "read"], { stdout: "pipe" });
    let text = "";
    for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += part;
      if (part.includes("waiting")) {
        await Bun.sleep(100);
        expect(child.exitCode).toBeNull();
        loop.announce();
      }
    }
    expect([await child.exited, text]).toEqual([0, "waiting\ntold\n"]);
  });

  testUnless(loopMissing, "as a leak, if it is left open", async () => {
    const tracker = trackLeaks();
    const watch = watchBlockDevices();
    const leaks = await (async () => tracker[Symbol.asyncDispose]())().catch((error: unknown) => {
      if (error instanceof LeakError) return error.leaks;
      throw error;
    });
    expect(leaks).toEqual(["watch of block devices"]);
    await watch.return();
  });
});

test("wrong options are refused at the call", () => {
  const wrong: unknown[] = [null, { signals: 1 }, { signal: {} }, { since: {} }, { since: [1] }];
  wrong.push({ since: [null] }, { since: new Array(2) }, { since: [{ path: 1 }] });
  for (const options of wrong) {
    expect(() => watchBlockDevices(options as object)).toThrow(TypeError);
  }
});

test("announcements of the kernel", () => {
  const message = (...words: string[]): Uint8Array => Buffer.from(words.join("\0").concat("\0"));
  const disk = [
    "add@/devices/virtual/block/loop9",
    "ACTION=add",
    "SUBSYSTEM=block",
    "DEVTYPE=disk",
  ];
  expect(parseUevent(message(...disk, "DEVPATH=/devices/virtual/block/loop9"))).toEqual({
    ...{ disk: "loop9", action: "add", isPartition: false },
  });
  const part = ["remove@/x", "ACTION=remove", "SUBSYSTEM=block", "DEVTYPE=partition"];
  expect(
    parseUevent(message(...part, "DEVPATH=/devices/pci/block/cciss!c0d0/cciss!c0d0p1")),
  ).toEqual({
    ...{ disk: "cciss!c0d0", action: "change", isPartition: true },
  });
  expect(parseUevent(message("add@/x", "ACTION=add", "SUBSYSTEM=net", "DEVPATH=/x/y"))).toBe(
    undefined,
  );
  expect(parseUevent(message("libudev"))).toBe(undefined);
  expect(parseUevent(new Uint8Array())).toBe(undefined);
});
