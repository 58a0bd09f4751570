// `npm run lab:musl -- [steps of npm test]`: the suite under Bun for musl, on this machine's kernel (by default on all
// backends). Debian has musl, but no C++ library for it: the few functions of it that Bun needs are linked from GCC's.

import { copyFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../../scripts/suite/command.ts";
import { cached, contents, run } from "./host/cache.ts";
import { fetchBun } from "./host/foreign.ts";

const LOADER = "/lib/ld-musl-x86_64.so.1";

/** What glibc has and musl has not. */
const STUBS = `
int __cxa_thread_atexit_impl(void (*f)(void *), void *o, void *d) { return 0; }
int _dl_find_object(void *pc, void *result) { return -1; }
char __libc_single_threaded;
unsigned arc4random(void) { static unsigned s = 1; return s = s * 1664525 + 1013904223; }
void *__dso_handle __attribute__((visibility("hidden"))) = &__dso_handle;
`;

/** Tables of classes, which Bun copies instead of asking for them. */
const COPIED = ["", "si_", "vmi_"].map((kind) => {
  const name = `__${kind}class_type_info`;
  return `_ZTVN10__cxxabiv1${name.length}${name}E`;
});

/** A folder with the libraries that `bun` is linked with. */
function libraries(bun: string): Promise<string> {
  return cached("musl", [STUBS, COPIED.join(), contents(bun)], (folder) => {
    const undefinedNames = run(["nm", "-D", "--undefined-only", "--format=just-symbols", bun]);
    const needed = undefinedNames
      .split("\n")
      .map((name) => name.replace(/@.*/, ""))
      .filter((name) => /^(_Z|__cxa|__gxx|_Unwind|__once|__dynamic_cast)/.test(name))
      .filter((name) => !/__cxa_(finalize|thread_atexit_impl)/.test(name));
    writeFileSync(join(folder, "stubs.c"), STUBS);
    const archives = ["libstdc++.a", "libgcc_eh.a", "libgcc.a"].map((name) =>
      run(["gcc", `-print-file-name=${name}`]).trim(),
    );
    run(
      [
        ...["gcc", "-shared", "-fPIC", "-nostdlib", "-w", "-o", "libstdc++.so.6"],
        ...[
          "-Wl,-soname,libstdc++.so.6",
          ...[...needed, ...COPIED].map((name) => `-Wl,-u,${name}`),
        ],
        ...["stubs.c", ...archives],
      ],
      folder,
    );
    symlinkSync(LOADER, join(folder, "libc.musl-x86_64.so.1"));
  });
}

/**
 * `bun`, which knows by itself where its libraries are, and so do programs that it compiles. LD_LIBRARY_PATH would name
 * them to all programs that tests start, too, most of which have another libc.
 */
async function withLibraries(bun: string): Promise<string> {
  const path = await libraries(bun);
  const folder = await cached("musl-bun", [path, contents(bun)], (unfinished) => {
    copyFileSync(bun, join(unfinished, "bun"));
    run(["patchelf", "--force-rpath", "--set-rpath", path, "bun"], unfinished);
  });
  return join(folder, "bun");
}

for (const program of ["patchelf", "gcc", "nm", LOADER]) {
  if (Bun.which(program) !== null) continue;
  console.error(`${program} is missing: apt install musl patchelf gcc g++`);
  process.exit(1);
}
const bun = await withLibraries(await fetchBun("@oven/bun-linux-x64-musl", root));
const given = process.argv.slice(2);
const steps = given.length > 0 ? given : ["io_uring", "threads", "posix_aio"];
const child = Bun.spawn([bun, "scripts/test.ts", ...steps], {
  cwd: root,
  stdio: ["inherit", "inherit", "inherit"],
});
process.exit(await child.exited);
