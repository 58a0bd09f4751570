// Builds the native library for this machine when it is missing or older than its sources.

import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { libraryFile } from "../src/native/library.ts";

const root = dirname(import.meta.dir);

/** The compiler of the dev dependency; no wrapper, so that a machine without node can build. */
export function zigPath(): string {
  const require = createRequire(import.meta.path);
  try {
    return require.resolve(`@zigc/${process.platform}-${process.arch}/bin/zig`);
  } catch {
    throw new Error(
      `The Zig compiler (@zigc/${process.platform}-${process.arch}) is not installed: ` +
        "run `npm install` or `bun install` with optional dependencies enabled.",
    );
  }
}

/**
 * Runs `zig build` with `arguments_` in the project's folder; throws if it fails, with what it said on `stderr` unless
 * that is ours.
 */
export function zigBuild(arguments_: readonly string[], stderr: "pipe" | "inherit" = "pipe"): void {
  const result = Bun.spawnSync([zigPath(), "build", ...arguments_], {
    cwd: root,
    stdout: "pipe",
    stderr,
  });
  if (result.exitCode === 0) return;
  throw new Error(
    `zig build ${arguments_.join(" ")} failed:\n${result.stderr ?? ""}${result.stdout}`,
  );
}

function sourceHash(): string {
  const hash = createHash("sha256");
  const sources = readdirSync(join(root, "zig"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".zig"))
    .sort()
    .map((name) => join("zig", name));
  for (const name of ["build.zig", ...sources]) {
    hash
      .update(name)
      .update("\0")
      .update(readFileSync(join(root, name)))
      .update("\0");
  }
  return hash.digest("hex");
}

export interface BuildOptions {
  /** The variant that injects faults below the engine, for our own tests. */
  faults?: boolean;
}

/** Returns the path of an up-to-date library; says what it does on `log`. */
export function ensureLibrary(
  options: BuildOptions = {},
  log: (line: string) => void = () => {},
): string {
  const variant = options.faults === true ? "-faults" : "";
  const file = libraryFile();
  const target = join(
    root,
    "native",
    `${process.platform}-${process.arch}`,
    file.replace(".", `${variant}.`),
  );
  const stamp = `${target}.sources`;
  const hash = sourceHash();
  if (existsSync(target) && existsSync(stamp) && readFileSync(stamp, "utf8") === hash)
    return target;
  log(`building ${target.slice(root.length + 1)} (the first time takes up to a minute)`);
  zigBuild(options.faults === true ? ["-Dfaults=true"] : []);
  mkdirSync(dirname(target), { recursive: true });
  const built = join(root, "zig-out", "lib", file.replace(".", `${variant}.`));
  // A new file, not new contents: a process that has mapped the old one keeps it.
  copyFileSync(built, `${target}.new`);
  renameSync(`${target}.new`, target);
  writeFileSync(stamp, hash);
  return target;
}

if (import.meta.main) {
  const faults = process.argv.includes("--faults");
  const path = ensureLibrary({ faults }, (line) => console.error(line));
  console.log(path.slice(root.length + 1));
}
