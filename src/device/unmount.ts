// `BlockDevice.open` with `unmount`: takes the file systems of a device and of its partitions off, or refuses.

import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { CancelScope } from "../cancellation/scope.ts";
import { bytesOfText } from "../common/text_of_bytes.ts";
import { addHint, hinted, IoError } from "../errors/io_error.ts";
import { statusError } from "../errors/status.ts";
import { PATH_BYTES_MAX, type PathName } from "../file/path.ts";
import * as abi from "../native/abi.gen.ts";
import type { Proactor } from "../ring/proactor.ts";
import { systemOf } from "../system/loop_devices.ts";
import { type Mount, readMounts } from "../system/mounts.ts";
import { usersOf } from "../system/processes.ts";
import { directoryOf, numberOf, numbersText, SYSTEM_PATHS } from "../system/sysfs.ts";
import { freebsdUsersOf, planFreebsdUnmount } from "../system/unmount_freebsd.ts";
import { placeOf, planUnmount, type UnmountPlan } from "../system/unmount_plan.ts";
import { readOnlyError } from "./geometry.ts";

/** A device whose file systems are to be taken off, and the ring whose threads do it. */
export interface Target {
  readonly name: PathName;
  readonly proactor: Proactor;
  readonly scope: CancelScope | undefined;
  readonly writes: boolean;
}

/**
 * Takes off the file systems on the device and its partitions, the innermost first. Returns their mount points. Rejects
 * before anything is taken off if one of them has to stay. Nothing is mounted from what is no device.
 */
export async function unmountAll(target: Target): Promise<readonly string[]> {
  const plan = await planFor(target);
  if ("refusal" in plan) throw busyError("umount", target.name.text, plan.refusal);
  const done: string[] = [];
  for (const mount of plan.mounts) {
    try {
      await unmountOne(target, mount);
    } catch (error) {
      throw toldOf(error, done);
    }
    done.push(placeOf(mount));
  }
  return done;
}

/** The error of something that failed after these mount points were taken off. */
export function toldOf(error: unknown, unmounted: readonly string[]): unknown {
  if (unmounted.length === 0 || !(error instanceof IoError)) return error;
  return addHint(error, `Already unmounted: ${unmounted.join(", ")}`);
}

async function planFor({ name, proactor, writes }: Target): Promise<UnmountPlan> {
  const found = await stat(name.place).catch(() => undefined);
  // What is missing or forbidden is for `open` to tell.
  if (found === undefined || found.isFile()) return { mounts: [] };
  if (process.platform === "freebsd") return planFreebsdUnmount(name.place);
  if (process.platform !== "linux") {
    const reason = `unmounting is not supported on ${process.platform}`;
    throw new IoError("ENOTSUP", { reason, syscall: "unmount", path: name.text });
  }
  if (!found.isBlockDevice()) return { mounts: [] };
  const directory = await directoryOf(SYSTEM_PATHS, numbersText(found.rdev));
  if (directory === null) return { mounts: [] };
  if (writes && (await numberOf(join(directory, "ro"))) === 1) throw readOnlyError(name.text);
  return planUnmount(systemOf(proactor), directory);
}

async function unmountOne(target: Target, mount: Mount): Promise<void> {
  const { name, proactor, scope } = target;
  const kind = abi.Kind.unmount;
  const outcome = await proactor.start({
    ...{ kind, fd: -1, file: undefined, argument: mount.id, scope },
    blockBytes: PATH_BYTES_MAX,
    fill: (memory) => writePath(memory, mount),
  });
  proactor.releaseBlock(outcome.block);
  if (outcome.error !== undefined) throw outcome.error;
  if (outcome.status === abi.Status.ok || !(await isMounted(mount))) return;
  const context = { kind, file: undefined, syscall: "umount", path: name.text };
  const error = statusError(outcome.status, outcome.errno, context);
  throw hinted(error, await hintFor(error, mount));
}

function writePath(memory: Uint8Array, mount: Mount): void {
  const bytes = bytesOfText(mount.mountPoint);
  if (bytes.byteLength >= PATH_BYTES_MAX) {
    throw new IoError("ENAMETOOLONG", { syscall: "umount", path: placeOf(mount) });
  }
  memory.set(bytes);
  memory[bytes.byteLength] = 0;
}

/** Somebody else may have been faster. */
async function isMounted(mount: Mount): Promise<boolean> {
  if (process.platform !== "linux") return true;
  return (await readMounts(SYSTEM_PATHS)).some(({ id }) => id === mount.id);
}

async function hintFor(error: IoError, mount: Mount): Promise<string> {
  const place = placeOf(mount);
  switch (error.code) {
    case "EBUSY": {
      const isLinux = process.platform === "linux";
      const users = await (isLinux ? usersOf(SYSTEM_PATHS, mount) : freebsdUsersOf(mount));
      const who = users.length === 0 ? "but by no process that this user can see" : named(users);
      return `${place} is in use, ${who}`;
    }
    case "EPERM":
      return `${place} cannot be unmounted: that needs root`;
    case "ESTALE":
      return `Another file system was mounted over ${place}; unmount that first`;
    default:
      return `${place} cannot be unmounted`;
  }
}

const NAMED_MAX = 10;

function named(users: readonly string[]): string {
  const more = users.length > NAMED_MAX ? ` and ${users.length - NAMED_MAX} others` : "";
  return `by ${users.slice(0, NAMED_MAX).join(", ")}${more}`;
}

export function busyError(syscall: string, path: string | undefined, hint: string): IoError {
  return new IoError("EBUSY", { syscall, path, hint });
}
