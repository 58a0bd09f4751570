// What processes use, from /proc (proc(5)): as far as this user may see.

import { readFile, readlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { shellWord } from "../common/shell_word.ts";
import { escapedText } from "../common/text_of_bytes.ts";
import { type Mount, MountTable, parseMountInfo, withNodes } from "./mounts.ts";
import { type DeviceNode, namesIn, type SystemPaths, textOf } from "./sysfs.ts";

async function processFolders(paths: SystemPaths): Promise<string[]> {
  const names = (await namesIn(paths.proc)).filter((name) => /^\d+$/.test(name));
  return names.map((name) => join(paths.proc, name));
}

/** "bash (pid 123)" */
async function nameOf(folder: string): Promise<string> {
  const pid = basename(folder);
  if (Number(pid) === process.pid) return `this process (pid ${pid})`;
  return `${(await textOf(join(folder, "comm"))) ?? "process"} (pid ${pid})`;
}

async function namesOf(
  paths: SystemPaths,
  isUser: (folder: string) => Promise<boolean>,
): Promise<string[]> {
  const found: string[] = [];
  for (const folder of await processFolders(paths)) {
    if (await isUser(folder)) found.push(await nameOf(folder));
  }
  return found;
}

export function openedBy(paths: SystemPaths, node: string): Promise<string[]> {
  return namesOf(paths, async (folder) => {
    for (const fd of await namesIn(join(folder, "fd"))) {
      if ((await linkText(join(folder, "fd", fd))) === node) return true;
    }
    return false;
  });
}

/** Processes that keep a file system from being unmounted, as `fuser -m` lists them. */
export async function usersOf(paths: SystemPaths, mount: Mount): Promise<string[]> {
  const sockets = await socketsIn(paths, mount);
  const namespace = await linkText(join(paths.proc, "self", "ns", "mnt"));
  return namesOf(paths, async (folder) => {
    // In another mount namespace the same path is another file.
    const isHere = (await linkText(join(folder, "ns", "mnt"))) === namespace;
    if (isHere && (await standsIn(folder, mount))) return true;
    return (await hasOpen(folder, mount, sockets)) || (await maps(folder, mount));
  });
}

async function standsIn(folder: string, mount: Mount): Promise<boolean> {
  for (const name of ["cwd", "root", "exe"]) {
    if (isInside(await linkText(join(folder, name)), mount)) return true;
  }
  return false;
}

async function hasOpen(
  folder: string,
  mount: Mount,
  sockets: ReadonlySet<string>,
): Promise<boolean> {
  for (const fd of await namesIn(join(folder, "fd"))) {
    const target = await linkText(join(folder, "fd", fd));
    if (sockets.has(target)) return true;
    if (!target.startsWith("/")) continue;
    const info = await textOf(join(folder, "fdinfo", fd));
    if (Number(/^mnt_id:\s*(\d+)$/m.exec(info ?? "")?.[1]) === mount.id) return true;
  }
  return false;
}

async function maps(folder: string, mount: Mount): Promise<boolean> {
  const text = await textIn(join(folder, "maps"));
  // address, permissions, offset, device, inode, path
  for (const [, major = "", minor = "", path = ""] of text.matchAll(MAPPING)) {
    const numbers = `${Number.parseInt(major, 16)}:${Number.parseInt(minor, 16)}`;
    if (numbers === mount.numbers) return true;
    // btrfs has a device number for each subvolume.
    if (mount.numbers.startsWith("0:") && isInside(path, mount)) return true;
  }
  return false;
}

const MAPPING = /^\S+ \S+ \S+ ([\da-f]+):([\da-f]+) \d+ +(\/.*)$/gm;

/** Targets of descriptors of the UNIX sockets that are bound to a path there. */
async function socketsIn(paths: SystemPaths, mount: Mount): Promise<Set<string>> {
  const text = (await textOf(join(paths.proc, "net", "unix"))) ?? "";
  const found = new Set<string>();
  for (const [, inode = "", path = ""] of text.matchAll(/ (\d+) (\/.*)$/gm)) {
    if (isInside(path, mount)) found.add(`socket:[${inode}]`);
  }
  return found;
}

function isInside(path: string, { mountPoint }: Mount): boolean {
  return path === mountPoint || path.startsWith(`${mountPoint}/`);
}

/** The target of a link; "" if it cannot be read. */
function linkText(link: string): Promise<string> {
  return readlink(link, { encoding: "buffer" }).then(escapedText, () => "");
}

/** What a file holds; "" if it cannot be read. */
function textIn(path: string): Promise<string> {
  return readFile(path).then(escapedText, () => "");
}

/** A sentence about a mount of one of the devices in a mount namespace other than ours. */
export async function mountedElsewhere(
  paths: SystemPaths,
  nodes: readonly DeviceNode[],
): Promise<string | undefined> {
  const seen = new Set(["", await linkText(join(paths.proc, "self", "ns", "mnt"))]);
  for (const folder of await processFolders(paths)) {
    const namespace = await linkText(join(folder, "ns", "mnt"));
    if (seen.has(namespace)) continue;
    seen.add(namespace);
    const text = await textIn(join(folder, "mountinfo"));
    const table = new MountTable(await withNodes(paths, parseMountInfo(text)));
    for (const node of nodes) {
      const [mount] = table.of(node);
      if (mount === undefined) continue;
      const remedy = `nsenter -m -t ${basename(folder)} umount ${shellWord(mount.mountPoint)}`;
      return `${node.path} is mounted in the mount namespace of ${await nameOf(folder)}; unmount it there first (${remedy})`;
    }
  }
  return undefined;
}
