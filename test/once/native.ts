// The native library without JavaScript: a C program (test/native/driver.c) drives it through its C ABI under
// valgrind, under ThreadSanitizer, under musl, and on another processor under qemu. Runs once, not for each
// backend: `npm run sanitize`.

import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import { dirname, join } from "node:path";
import { ensureLibrary, zigBuild } from "../../scripts/build.ts";
import { run } from "../support/child.ts";
import { noIoUring, noLinux, testUnless, unless, without } from "../support/conditions.ts";
import { TempDir } from "../support/temp.ts";

const root = dirname(dirname(import.meta.dir));
const dir = new TempDir();
afterAll(() => dir[Symbol.dispose]());

// The first test of a kind compiles its program.
const TIMEOUT_MS = 600_000;
const BACKENDS = ["io_uring", "threads", "posix_aio"] as const;
const x64 = noLinux ?? unless(process.arch === "x64", "x64 only");
const noValgrind = x64 ?? without("valgrind");
const MUSL_LOADER = "/lib/ld-musl-x86_64.so.1";
const noMusl = x64 ?? unless(fs.existsSync(MUSL_LOADER), "musl is not installed: apt install musl");
const ARM_LIBC = "/usr/aarch64-linux-gnu";
const noArm =
  x64 ??
  unless(
    Bun.which("qemu-aarch64") !== null && fs.existsSync(ARM_LIBC),
    "no emulator or no libc for it: apt install qemu-user libc6-arm64-cross",
  );

/** Why this kernel or a sandbox has no such backend. */
function refused(name: string): string | undefined {
  return name === "io_uring" ? noIoUring : undefined;
}

let library = "";
beforeAll(() => {
  library = ensureLibrary();
});

const built = new Set<string>();

/** Builds once and gives the path. */
function program(name: string, ...options: string[]): string {
  const folder = join("native-driver", ...options.map((option) => option.replace(/\W+/g, "-")));
  const key = `${folder}/${name}`;
  const prefix = join("zig-out", folder);
  if (!built.has(key)) zigBuild([name, ...options, "--prefix", prefix]);
  built.add(key);
  return join(root, prefix, "bin", name);
}

/** Runs the driver and expects all of its cases to pass. */
async function drive(
  command: readonly string[],
  backend: string,
  rounds: number,
  env: Record<string, string> = {},
): Promise<void> {
  const args = [...command, backend, dir.path, String(rounds)];
  const { end, stdout, stderr } = await run(args, { timeoutMs: TIMEOUT_MS, env });
  expect(`${end} ${stderr}${end === 0 ? "" : stdout}`).toBe("0 ");
  expect(stdout).toEndWith("5 passed, 0 failed, 0 skipped\n");
}

for (const backend of BACKENDS) {
  testUnless(
    noValgrind ?? refused(backend),
    `valgrind finds no error and no leak: ${backend}`,
    async () => {
      const valgrind = ["valgrind", "-q", "--leak-check=full", "--error-exitcode=9"];
      await drive([...valgrind, program("native-driver"), library], backend, 3);
    },
    TIMEOUT_MS,
  );
}

// glibc runs its AIO in threads that ThreadSanitizer cannot know of: the program has one of its own
// (test/native/aio_threads.c).
for (const backend of BACKENDS) {
  testUnless(
    x64 ?? refused(backend),
    `ThreadSanitizer finds no race: ${backend}`,
    async () => {
      await drive([program("native-driver-tsan"), "-"], backend, 6);
    },
    TIMEOUT_MS,
  );
}

testUnless(
  x64,
  "ThreadSanitizer finds no race in the pool's hand-over",
  async () => {
    const stress = program("stress-exe", "-Dsanitize-thread").replace("stress-exe", "pool-stress");
    const { end, stdout, stderr } = await run([stress, "30000"], { timeoutMs: TIMEOUT_MS });
    expect(`${end} ${stderr}`).toStartWith("0 ");
    expect(`${stdout}${stderr}`).toMatch(/^30000 operations, \d+ cancelled, \d+ wakes$/m);
    expect(stderr).not.toContain("WARNING: ThreadSanitizer");
  },
  TIMEOUT_MS,
);

for (const backend of BACKENDS) {
  testUnless(
    noMusl ?? refused(backend),
    `the same library under musl: ${backend}`,
    async () => {
      await drive([program("native-driver", "-Dtarget=x86_64-linux-musl"), library], backend, 20);
    },
    TIMEOUT_MS,
  );
}

for (const backend of ["threads", "posix_aio"]) {
  testUnless(
    noArm,
    `the library for arm64, emulated: ${backend}`,
    async () => {
      zigBuild(["package"]);
      const arm = join(root, "zig-out", "package", "linux-arm64", "libbun-aio.so");
      const driver = program("native-driver", "-Dtarget=aarch64-linux-gnu.2.17");
      const qemu = ["qemu-aarch64", "-L", ARM_LIBC];
      await drive([...qemu, driver, arm], backend, 3, { DRIVER_EMULATED: "1" });
    },
    TIMEOUT_MS,
  );
}

test("the driver knows a broken library", async () => {
  const { end, stderr } = await run([
    program("native-driver"),
    join(root, "LICENSE"),
    "threads",
    dir.path,
  ]);
  expect(end).toBe(2);
  expect(stderr).toContain("LICENSE");
});
