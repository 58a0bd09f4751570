// Programs of the machine. busybox's shell prefers its own: those of util-linux are in /usr/bin.

import { unless } from "../../support/conditions.ts";

/** What a command prints; throws if it fails. */
export function sh(command: string): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["sh", "-c", command]);
  if (exitCode !== 0) throw new Error(`${command}: ${stderr}${stdout}`);
  return stdout.toString().trim();
}

/** What a command prints and says, even if it fails. */
export function shQuietly(command: string): string {
  const { stdout, stderr } = Bun.spawnSync(["sh", "-c", command]);
  return `${stdout}${stderr}`.trim();
}

/** Why a module of the kernel cannot be had, or undefined. */
export function withoutModule(name: string): string | undefined {
  const { exitCode } = Bun.spawnSync(["modprobe", name]);
  return unless(exitCode === 0, `this kernel has no ${name}`);
}
