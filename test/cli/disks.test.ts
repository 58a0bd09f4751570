// `bun-aio scan`, `watch`, and `copy --unmount`, on loop devices. ddrescuelog(1) reads the maps; sectors that cannot be
// read are those that a loop device has lost with the end of its image.

import { describe, expect, jest } from "bun:test";
import { existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { RescueFile } from "../../src/cli/rescue_file.ts";
import { File } from "../../src/index.ts";
import { run } from "../support/child.ts";
import { bunAio, CTRL_C, Session } from "../support/command.ts";
import { noRoot, testUnless, unless, without } from "../support/conditions.ts";
import { LoopDevice, loopMissing, until } from "../support/control.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";
import { mainPath } from "../support/under_test.ts";

const MIB = 2 ** 20;

describe("scan", () => {
  testUnless(
    loopMissing ?? without("ddrescuelog"),
    "finds what cannot be read, for people, as JSON and as a map",
    async () => {
      using dir = new TempDir();
      const image = dir.file("image", pattern(4 * MIB));
      using loop = new LoopDevice(image);
      const good = await bunAio(["scan", loop.path, "--hash"]);
      const digest = new Bun.CryptoHasher("sha256").update(readFileSync(image)).digest("hex");
      expect([good.end, good.stdout]).toEqual([0, `${digest}  ${loop.path}\n`]);
      expect(good.stderr).toMatch(/^scan 100% 4 MiB of 4 MiB /m);
      expect(good.stderr).toContain("everything can be read");
      truncateSync(image, 3 * MIB);
      const map = dir.file("map");
      const { end, stdout, stderr } = await bunAio(["scan", loop.path, "--map", map, "--hash"]);
      expect([end, stdout]).toEqual([1, "unreadable: 1,048,576 bytes at 3,145,728 (EIO)\n"]);
      expect(stderr).toContain("unreadable: 1 MiB (1,048,576 bytes) in 1 range");
      const list = await run(["ddrescuelog", "--list-blocks=-", map]);
      expect([list.end, list.stdout.split("\n").length - 1]).toEqual([0, 2048]);
      const again = await bunAio(["scan", loop.path, "--map", map, "--json"]);
      expect([again.end, again.stdout]).toEqual([3, ""]);
      const json = await bunAio(["scan", loop.path, "--map", map, "--json", "--yes", "-q"]);
      expect([json.end, json.stderr]).toEqual([1, ""]);
      expect(JSON.parse(json.stdout)).toMatchObject({
        ...{ path: loop.path, bytesRead: 3 * MIB },
        bad: [{ offset: 3 * MIB, length: MIB, code: "EIO" }],
      });
    },
  );

  testUnless(undefined, "a part of a file; what is no file is refused", async () => {
    using dir = new TempDir();
    const path = dir.file("file", pattern(100_000));
    const { end, stderr } = await bunAio(["scan", path, "--from", "4k", "--length", "8k"]);
    expect([end, stderr]).toEqual([0, expect.stringContaining("read 8 KiB (8,192 bytes)")]);
    expect((await bunAio(["scan", dir.file("none")])).end).toBe(1);
    expect((await bunAio(["scan", "/dev/zero"])).end).toBe(2);
    expect((await bunAio(["scan", path, "--map", dir.file("no/map")])).end).toBe(2);
  });

  testUnless(undefined, "Ctrl-C leaves a map of what was found", async () => {
    using dir = new TempDir();
    const path = dir.file("file", "");
    truncateSync(path, 2 ** 43);
    const args = ["scan", path, "--bs", "4k", "--depth", "1", "--map", dir.file("map")];
    await using session = new Session(args);
    await session.until(/scan .*iB of 8 TiB/);
    session.type(CTRL_C);
    expect(await session.end()).toBe(130);
    expect(readFileSync(dir.file("map"), "utf8")).toContain("0x80000000000  ?");
  });
});

describe("copy --rescue --map", () => {
  const noTool = loopMissing ?? without("ddrescuelog", "ddrescue");

  testUnless(
    noTool,
    "keeps what it has rescued, and goes on where the map says, as ddrescue does",
    async () => {
      using dir = new TempDir();
      const image = dir.file("image", pattern(4 * MIB));
      const [map, out] = [dir.file("map"), dir.file("out")];
      using loop = new LoopDevice(image);
      truncateSync(image, 3 * MIB);
      const rescue = ["copy", loop.path, out, "--rescue", "--map", map, "--yes"];
      const first = await bunAio(rescue);
      expect(first.end).toBe(1);
      expect(first.stderr).toContain(`not rescued: 1 MiB (1,048,576 bytes), listed in ${map}`);
      expect((await run(["cmp", "-n", String(3 * MIB), image, out])).end).toBe(0);
      expect((await run(["ddrescuelog", "--done-status", map])).end).toBe(1);
      // What is rescued is left alone, and bad sectors are tried again only with --retries.
      writeFileSync(out, new Uint8Array(4 * MIB).fill(7));
      expect((await bunAio([...rescue, "--quiet"])).end).toBe(1);
      expect(readFileSync(out).every((byte) => byte === 7)).toBe(true);
      // The device has its end again.
      writeFileSync(image, pattern(4 * MIB));
      const done = await bunAio([...rescue, "--retries", "1", "--json"]);
      expect([done.end, JSON.parse(done.stdout).bytesCopied]).toEqual([0, MIB]);
      expect((await run(["ddrescuelog", "--done-status", map])).end).toBe(0);
      const last = readFileSync(out).subarray(3 * MIB);
      expect(Buffer.compare(last, readFileSync(image).subarray(3 * MIB))).toBe(0);
    },
  );

  testUnless(noTool, "takes a map of scan or ddrescue, and refuses what does not fit", async () => {
    using dir = new TempDir();
    const image = dir.file("image", pattern(2 * MIB));
    const [map, out] = [dir.file("map"), dir.file("out")];
    const half = await run(["ddrescue", "-q", "--size", String(MIB), image, out, map]);
    expect(half.end).toBe(0);
    const rest = await bunAio(["copy", image, out, "--rescue", "--map", map, "--yes", "--json"]);
    expect([rest.end, JSON.parse(rest.stdout).bytesCopied]).toEqual([0, MIB]);
    expect((await run(["cmp", image, out])).end).toBe(0);
    for (const [args, code, words] of [
      [[image, dir.file("none"), "--rescue", "--map", map], 3, "which does not exist"],
      [[image, out, "--map", map], 2, "need --rescue"],
      [[image, out, "--rescue", "--map", map, "--hash"], 2, "leave out --hash"],
      [[image, out, "--rescue", "--map", image, "-y"], 1, "is not a ddrescue map file"],
      [["-", out, "--rescue", "--map", map], 2, "standard input cannot be SRC"],
    ] as const) {
      const { end, stderr } = await bunAio(["copy", ...args]);
      expect([args, end, stderr.includes(words)]).toEqual([args, code, true]);
    }
  });

  testUnless(
    undefined,
    "the map is saved every 30 seconds, after what it says is on the medium",
    async () => {
      using dir = new TempDir();
      const [path, order] = [dir.file("map"), [] as string[]];
      await using target = await File.open(dir.file("out", "x"), { write: true });
      const sync = target.syncData.bind(target);
      target.syncData = (options): Promise<void> => {
        order.push(existsSync(path) ? "saved" : "not saved");
        return sync(options);
      };
      const rescue = await RescueFile.open(path);
      jest.useFakeTimers();
      const saving = rescue.saving(target);
      rescue.map.set({ offset: 0, length: 512 }, "+");
      jest.advanceTimersByTime(29_999);
      expect(order).toEqual([]);
      jest.advanceTimersByTime(1);
      jest.useRealTimers();
      await until(() => existsSync(path));
      expect(order).toEqual(["not saved"]);
      expect(readFileSync(path, "utf8")).toContain("0x00000000  0x00000200  +");
      rescue.map.set({ offset: 512, length: 512 }, "-");
      await saving[Symbol.asyncDispose]();
      expect(readFileSync(path, "utf8")).toContain("0x00000200  0x00000200  -");
    },
  );

  testUnless(noTool, "Ctrl-C saves the map, and prints the command that goes on", async () => {
    using dir = new TempDir();
    const image = dir.file("image", pattern(MIB));
    truncateSync(image, 64 * MIB);
    const slow = ["--bs", "4k", "--depth", "1"];
    const paths = [image, dir.file("out"), "--rescue", "--map", dir.file("map")];
    await using session = new Session(["copy", ...paths, ...slow]);
    await session.until(/copy .*\d [KM]iB of 64 MiB/);
    session.type(CTRL_C);
    expect(await session.end()).toBe(130);
    expect(readFileSync(dir.file("map"), "utf8")).toMatch(/0x[0-9A-F]+ {2}\+$/m);
    const command = /^To continue .*:\r?\n {2}(.*?)\r?$/m.exec(session.screen)?.[1] ?? "";
    expect(command).toContain(` --map ${dir.file("map")}`);
    const fast = command.replace(" --bs 4096 --depth 1", "");
    expect((await run(["sh", "-c", `${fast} --yes`])).end).toBe(0);
    expect((await run(["cmp", image, dir.file("out")])).end).toBe(0);
  });
});

/** Why nothing can be mounted here. */
function mountMissing(): string | undefined {
  const missing = loopMissing ?? without("mkfs.ext4", "mount");
  if (missing !== undefined) return missing;
  using dir = new TempDir();
  const { exitCode, stderr } = Bun.spawnSync(["mount", "-t", "tmpfs", "none", dir.path]);
  if (exitCode === 0) Bun.spawnSync(["umount", dir.path]);
  return unless(exitCode === 0, `mount fails: ${stderr.toString().trim()}`);
}

describe("copy --unmount", () => {
  testUnless(
    mountMissing(),
    "takes the file systems off after the answer, and not while they are in use",
    async () => {
      using dir = new TempDir();
      const image = dir.file("image", new Uint8Array(16 * MIB));
      const source = dir.file("source", pattern(MIB));
      expect((await run(["mkfs.ext4", "-q", image])).end).toBe(0);
      const at = dir.file("at");
      mkdirSync(at);
      using loop = new LoopDevice(image);
      const isMounted = (): boolean => readFileSync("/proc/mounts", "utf8").includes(` ${at} `);
      expect((await run(["mount", loop.path, at])).end).toBe(0);
      try {
        const copy = ["copy", source, loop.path, "--unmount"];
        const without = await bunAio(["copy", source, loop.path, "--yes"]);
        expect([without.end, without.stderr]).toEqual([
          3,
          expect.stringContaining("is mounted at"),
        ]);
        const unanswered = await bunAio(copy);
        expect([unanswered.end, isMounted()]).toEqual([3, true]);
        expect(unanswered.stderr).toContain(`mounted at ${at}; will be unmounted`);
        const user = Bun.spawn(["sleep", "60"], { cwd: at });
        const busy = await bunAio([...copy, "--yes"]);
        user.kill();
        await user.exited;
        expect([busy.end, isMounted()]).toEqual([3, true]);
        expect(busy.stderr).toContain("sleep");
        const done = await bunAio([...copy, "--yes", "--verify"]);
        expect([done.end, isMounted()]).toEqual([0, false]);
        expect(done.stderr).toContain(`unmounted: ${at}`);
        expect((await run(["cmp", "-n", String(MIB), source, loop.path])).end).toBe(0);
      } finally {
        if (isMounted()) Bun.spawnSync(["umount", at]);
      }
    },
  );
});

describe("watch", () => {
  testUnless(noRoot ?? loopMissing, "prints disks as they come and go, also as JSON", async () => {
    using dir = new TempDir();
    const image = dir.file("image", new Uint8Array(MIB));
    for (const options of [[], ["--json"]]) {
      const child = Bun.spawn([process.execPath, mainPath, "watch", ...options], {
        ...{ stdout: "pipe", stderr: "pipe" },
      });
      const said = child.stderr.getReader();
      await said.read();
      // Others come and go meanwhile: this one is known by its image.
      using loop = new LoopDevice(image);
      let text = "";
      const decoder = new TextDecoder();
      for await (const part of child.stdout) {
        text += decoder.decode(part);
        if (text.includes(image) && text.slice(text.indexOf(image)).includes("\n")) break;
      }
      child.kill("SIGINT");
      expect(await child.exited).toBe(130);
      const line = text.split("\n").find((one) => one.includes(image)) ?? "";
      if (options.length > 0) {
        const { type, device } = JSON.parse(line);
        expect(["add", "change"]).toContain(type);
        expect(device).toMatchObject({ path: loop.path, size: MIB, backingFile: image });
      } else expect(line).toMatch(/^(add|change) +\/dev\/loop\d+ {2}1 MiB, loop device over /);
    }
  });
});
