// Signals to the `bun-aio` command: repeated, ignored, asking for progress.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { run } from "../support/child.ts";
import { CTRL_C, Fed, Session } from "../support/command.ts";
import { noLinux, noRoot, testUnless, without } from "../support/conditions.ts";
import { loopMissing } from "../support/control.ts";
import { pattern } from "../support/random.ts";
import { TempDir } from "../support/temp.ts";

/** Why no file system can be frozen here. */
function freezeUnavailable(): string | undefined {
  return loopMissing ?? without("mkfs.ext4", "fsfreeze", "mount");
}

const noFreeze = noRoot ?? freezeUnavailable();

/** An ext4 file system of its own, mounted. */
async function mountedImage(dir: TempDir): Promise<AsyncDisposable & { path: string }> {
  const image = dir.file("image", new Uint8Array(96 * 2 ** 20));
  expect((await run(["mkfs.ext4", "-qF", image])).end).toBe(0);
  const path = dir.file("mounted");
  mkdirSync(path);
  expect((await run(["mount", "-o", "loop", image, path])).end).toBe(0);
  return {
    path,
    [Symbol.asyncDispose]: async (): Promise<void> => {
      // The kernel closes what a ring of a process that is gone held a little later.
      for (let tries = 0; tries < 1000; tries++) {
        if ((await run(["umount", path])).end === 0) return;
        await Bun.sleep(10);
      }
      throw new Error(`${path} stays busy`);
    },
  };
}

function frozen(path: string): Disposable {
  expect(Bun.spawnSync(["fsfreeze", "-f", path]).exitCode).toBe(0);
  return {
    [Symbol.dispose]: (): void => {
      Bun.spawnSync(["fsfreeze", "-u", path]);
    },
  };
}

/** Longer than what counts as the same Ctrl-C. */
const LATER_MS = 600;

const noNohup = without("nohup");

describe("Ctrl-C", () => {
  test("arriving twice at once is one, announced on a line of its own", async () => {
    using dir = new TempDir();
    const source = dir.file("source", new Uint8Array(64 * 2 ** 20));
    const args = ["copy", source, dir.file("target"), "--bs", "4k", "--depth", "1"];
    await using session = new Session(args);
    await session.until(/\d [KM]iB of 64 MiB/);
    session.type(CTRL_C + CTRL_C);
    expect(await session.end()).toBe(130);
    const lines = session.screen.split("\n").map((line) => line.trimEnd());
    expect(lines).toContain("stopping (Ctrl-C again ends it at once)");
    expect(lines.filter((line) => /^stopped after /.test(line))).toHaveLength(1);
    expect(session.screen).not.toContain("stopped at once");
    // Nothing is drawn below what is said about stopping.
    const said = lines.findIndex((line) => line.startsWith("stopping"));
    expect(lines.slice(said).some((line) => line.includes("░"))).toBe(false);
  });

  test("with nothing drawn, too, the text begins on a line of its own", async () => {
    using dir = new TempDir();
    const source = dir.file("source", new Uint8Array(256 * 2 ** 20));
    const target = dir.file("target", "old");
    const args = ["copy", source, target, "--yes", "--bs", "4k", "--depth", "1"];
    await using session = new Session(args, { TERM: "dumb" });
    await session.until(/bytes {2}0 to/);
    session.type(CTRL_C);
    expect(await session.end()).toBe(130);
    expect(session.screen).toContain("\nstopping (Ctrl-C again ends it at once)\r\n");
  });

  testUnless(
    noFreeze,
    "repeated while it is stopping, soon after the first, is the same one; so is another signal",
    async () => {
      using dir = new TempDir();
      const source = dir.file("source", pattern(64 * 2 ** 20));
      await using volume = await mountedImage(dir);
      const args = ["copy", source, `${volume.path}/target`, "--bs", "4k", "--depth", "1"];
      await using fed = new Fed(args, { env: { BUN_AIO_BACKEND: "threads" } });
      await fed.handles("SIGINT");
      while (!existsSync(`${volume.path}/target`)) await Bun.sleep(1);
      {
        using _frozen = frozen(volume.path);
        fed.kill("SIGINT");
        await fed.until(/^stopping/m);
        fed.kill("SIGINT");
        fed.kill("SIGTERM");
        // When this is answered, those sent before it have been received.
        fed.kill("SIGUSR1");
        await fed.until(/^(copy |no progress )/m);
      }
      expect(await fed.end()).toBe(130);
      expect(fed.said).toMatch(/^stopped after /m);
      expect(fed.said).not.toContain("stopped at once");
    },
  );

  testUnless(
    noFreeze,
    "half a second later is another one: ends at once, and tells what the kernel still holds",
    async () => {
      using dir = new TempDir();
      const source = dir.file("source", pattern(64 * 2 ** 20));
      await using volume = await mountedImage(dir);
      const args = ["copy", source, `${volume.path}/target`, "--bs", "4k", "--depth", "1"];
      await using session = new Session(args);
      await session.until(/\d [KM]iB of 64 MiB/);
      {
        // Whoever writes waits in the kernel, uninterruptibly, until it is thawed.
        using _frozen = frozen(volume.path);
        session.type(CTRL_C);
        await session.until(/stopping/);
        await Bun.sleep(LATER_MS);
        session.type(CTRL_C);
        await session.until(/\nstopped at once; the kernel still holds \d+ requests?: /);
      }
      expect(await session.end()).toBe(130);
    },
  );
});

describe("a signal that was ignored when the command began", () => {
  const cases: [string, NodeJS.Signals, string | undefined][] = [
    [`trap '' INT; exec "$@"`, "SIGINT", undefined],
    [`trap '' TERM; exec "$@"`, "SIGTERM", undefined],
    [`trap '' HUP; exec "$@"`, "SIGHUP", undefined],
    [`trap '' USR1; exec "$@"`, "SIGUSR1", undefined],
    [`exec nohup "$@"`, "SIGHUP", noNohup],
  ];
  for (const [line, signal, reason] of cases) {
    testUnless(reason, `stays ignored: ${line}, ${signal}`, async () => {
      using dir = new TempDir();
      const target = dir.file("target", "old");
      const under = ["sh", "-c", line, "sh"];
      await using fed = new Fed(["copy", "-", target, "--yes"], { under });
      await fed.until(/bytes {2}from 0 to the end/);
      // The kernel drops what is ignored in kill(2) itself.
      fed.kill(signal);
      fed.write(pattern(10_000));
      expect(await fed.end()).toBe(0);
      expect(fed.said).not.toContain("stop");
      expect(Buffer.compare(readFileSync(target), pattern(10_000))).toBe(0);
    });
  }

  test("that was not ignored stops it", async () => {
    using dir = new TempDir();
    const ends: [NodeJS.Signals, number][] = [
      ["SIGINT", 130],
      ["SIGTERM", 143],
      ["SIGHUP", 129],
    ];
    for (const [signal, code] of ends) {
      await using fed = new Fed(["copy", "-", dir.file("target", "old"), "--yes"]);
      await fed.until(/bytes {2}from 0 to the end/);
      fed.kill(signal);
      await fed.until(/stopping/);
      expect([signal, await fed.end()]).toEqual([signal, code]);
    }
  });

  testUnless(noLinux, "stays ignored in a terminal, too, where the shell ignores it", async () => {
    using dir = new TempDir();
    const source = dir.file("source", pattern(16 * 2 ** 20));
    const target = dir.file("target");
    const args = ["copy", source, target, "--bs", "4k", "--depth", "1"];
    const under = ["sh", "-c", `trap '' INT; "$@"; exit $?`, "sh"];
    await using session = new Session(args, {}, under);
    await session.until(/\d [KM]iB of 16 MiB/);
    session.type(CTRL_C);
    expect(await session.end()).toBe(0);
    expect(session.screen).toContain("copied 16 MiB");
  });
});

describe("SIGUSR1", () => {
  /** Asks until the answer is there: the first may come before the first byte. */
  async function ask(fed: Fed, answer: RegExp): Promise<void> {
    while (!answer.test(fed.said)) {
      const before = fed.said.length;
      fed.kill("SIGUSR1");
      await fed.until({ test: (said) => said.length > before && said.endsWith("\n") });
    }
    expect(fed.said).toMatch(answer);
  }

  test("tells how far a copy is, also with --quiet, and it goes on", async () => {
    using dir = new TempDir();
    const target = dir.file("target", "old");
    for (const quiet of [[], ["--quiet"]]) {
      await using fed = new Fed(["copy", "-", target, "--yes", "--bs", "64k", ...quiet]);
      fed.write(pattern(2 ** 20));
      // Only then a handler is surely there.
      await fed.handles("SIGUSR1");
      await ask(fed, /^copy 1 MiB [\d.]+ .*\/s$/m);
      fed.write(pattern(1000));
      expect(await fed.end()).toBe(0);
      expect(readFileSync(target).byteLength).toBe(2 ** 20 + 1000);
    }
  });

  testUnless(
    noLinux,
    "is answered before anything has been moved, and by every command",
    async () => {
      using dir = new TempDir();
      await using fed = new Fed(["copy", "-", dir.file("target")]);
      await fed.handles("SIGUSR1");
      fed.kill("SIGUSR1");
      await fed.until(/^no progress yet$/m);
      expect(await fed.end()).toBe(0);
    },
  );

  testUnless(noLinux, "tells how far a verification and a benchmark are", async () => {
    using dir = new TempDir();
    const a = dir.file("a", pattern(96 * 2 ** 20));
    for (const [args, answer] of [
      [["verify", a, a, "--bs", "4k", "--depth", "1", "-q"], /^verify \d+% .* of 96 MiB/m],
      [["bench", a, "--seconds", "600", "-q"], /^randread \d+% /m],
    ] as const) {
      await using fed = new Fed(args);
      await fed.handles("SIGUSR1");
      await ask(fed, answer);
    }
  });
});
