// What is mounted, and what is used as swap space: /proc/self/mountinfo and /proc/swaps of Linux.

import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { escapedText } from "../common/text_of_bytes.ts";
import { type DeviceNode, linesOf, namesIn, nodeOf, resolved, type SystemPaths } from "./sysfs.ts";

export interface Mount {
  /** Number of the mount, unique while it exists; and of the mount that it is mounted in or on. */
  readonly id: number;
  readonly parent: number;
  /** "major:minor"; of btrfs and the like a number that no device has. */
  readonly numbers: string;
  readonly mountPoint: string;
  readonly type: string;
  /** What it was mounted from: usually one device, of btrfs all that it is on. */
  readonly sources: readonly string[];
  /** Whether the file system is writable, even if this mount of it is read-only. */
  readonly writes: boolean;
}

/** Whether the system needs what is mounted there. */
export function isSystemMount(mountPoint: string): boolean {
  return SYSTEM_MOUNTS.has(mountPoint) || /^\/(boot|etc)\//.test(mountPoint);
}

/** /etc: in a container, files of it are mounted from the disk of the host. */
const SYSTEM_MOUNTS: ReadonlySet<string> = new Set([
  ...["/", "/boot", "/efi", "/etc", "/usr", "/usr/local", "/var"],
]);

export class MountTable {
  readonly all: readonly Mount[];
  readonly #byNumbers: ReadonlyMap<string, readonly Mount[]>;
  readonly #bySource: ReadonlyMap<string, readonly { readonly mount: Mount }[]>;

  constructor(mounts: readonly Mount[]) {
    this.all = mounts;
    this.#byNumbers = Map.groupBy(mounts, ({ numbers }) => numbers);
    const pairs = mounts.flatMap((mount) => mount.sources.map((source) => ({ source, mount })));
    this.#bySource = Map.groupBy(pairs, ({ source }) => source);
  }

  /** Mounts of the device, by its numbers and by its path under /dev. */
  of({ numbers, path }: Omit<DeviceNode, "directory">): readonly Mount[] {
    const byNumbers = this.#byNumbers.get(numbers ?? "") ?? [];
    const pairs = this.#bySource.get(path) ?? [];
    const bySource = pairs.map(({ mount }) => mount).filter(({ type }) => !IN_MEMORY.has(type));
    return [...new Set([...byNumbers, ...bySource])];
  }
}

/** File systems that may be mounted with any word as their source. */
const IN_MEMORY: ReadonlySet<string> = new Set(["tmpfs", "ramfs", "overlay"]);

/** The mounts that this process sees. Rejects if /proc does not tell. */
export async function readMounts(paths: SystemPaths): Promise<Mount[]> {
  const text = escapedText(await readFile(join(paths.proc, "self", "mountinfo")));
  return withNodes(paths, parseMountInfo(text));
}

/** For file systems with device numbers of their own, only the mount source names the devices. */
export async function withNodes(paths: SystemPaths, mounts: readonly Mount[]): Promise<Mount[]> {
  const groups = mounts.some(({ type }) => type === "btrfs") ? await btrfsDevices(paths) : [];
  return Promise.all(
    mounts.map(async (mount) => {
      if (!mount.numbers.startsWith("0:")) return mount;
      const nodes = await Promise.all(
        mount.sources
          .filter((source) => source.startsWith(`${paths.dev}/`))
          .map(async (source) => (await resolved(source)) ?? source),
      );
      const group = groups.find((devices) => devices.some((device) => nodes.includes(device)));
      const sources = group ?? nodes;
      return sources.length === 0 ? mount : { ...mount, sources };
    }),
  );
}

/** The devices of each btrfs: a mount names one of them. */
async function btrfsDevices(paths: SystemPaths): Promise<string[][]> {
  const folder = join(paths.sys, "fs", "btrfs");
  const lists = (await namesIn(folder)).map(async (id) => {
    const devices = join(folder, id, "devices");
    return (await namesIn(devices)).map((name) => nodeOf(paths, name));
  });
  return Promise.all(lists);
}

/** proc_pid_mountinfo(5) */
export function parseMountInfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split("\n")) {
    const fields = line.split(" ");
    const separator = fields.indexOf("-");
    const [id, parent, numbers, , mountPoint] = fields;
    if (separator === -1 || numbers === undefined || mountPoint === undefined) continue;
    const [type = "", source = "", superOptions = ""] = fields.slice(separator + 1);
    // The options of the file system, not those of the mount before the separator.
    const writes = !superOptions.split(",").includes("ro");
    mounts.push({
      ...{ id: Number(id), parent: Number(parent), numbers, type, writes },
      mountPoint: unescapedPath(mountPoint),
      // bcachefs joins its devices.
      sources: type === "bcachefs" ? unescapedPath(source).split(":") : [unescapedPath(source)],
    });
  }
  return mounts;
}

/** Blanks and backslashes are written as three octal digits, here and in fstab(5). */
export function unescapedPath(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** Paths of swap files and devices. Rejects if /proc does not tell. */
export async function readSwaps(paths: SystemPaths): Promise<string[]> {
  const path = join(paths.proc, "swaps");
  const lines = await linesOf(path).catch(async (error: Error) => {
    // A kernel without swap has no such file; a /proc mounted with subset=pid (proc(5)) has no other file either.
    await access(join(paths.proc, "partitions"));
    if ((await resolved(path)) !== null) throw error;
    return [];
  });
  return lines
    .slice(1)
    .map((line) => unescapedPath(line.split(/[ \t]/)[0] ?? ""))
    .filter((path) => path !== "");
}
