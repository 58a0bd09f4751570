// What takes long to make is made once, in a folder named by the hash of what it is made of.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** $XDG_CACHE_HOME/bun-aio-lab; may be removed at any time while no lab runs. */
export const cacheFolder: string = join(
  process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"),
  "bun-aio-lab",
);

/** Runs of several labs at a time make the same thing twice rather than wait for each other. */
export async function cached(
  name: string,
  inputs: readonly (string | Uint8Array)[],
  make: (folder: string) => void | Promise<void>,
): Promise<string> {
  const hash = createHash("sha256");
  for (const input of inputs) hash.update(createHash("sha256").update(input).digest());
  const folder = join(cacheFolder, `${name}-${hash.digest("hex").slice(0, 16)}`);
  if (existsSync(folder)) return folder;
  const unfinished = `${folder}.${process.pid}`;
  mkdirSync(unfinished, { recursive: true });
  try {
    await make(unfinished);
    renameSync(unfinished, folder);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    // Another run was faster.
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

/** What a program prints; throws with what it said if it fails. */
export function run(command: readonly string[], cwd: string = process.cwd()): string {
  const child = Bun.spawnSync([...command], { cwd, stdout: "pipe", stderr: "pipe" });
  if (child.exitCode === 0) return child.stdout.toString();
  throw new Error(`${command.join(" ")} ended with ${child.exitCode}: ${child.stderr}`);
}

export function contents(path: string): Uint8Array {
  return readFileSync(path);
}
