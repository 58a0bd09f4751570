// The same for FreeBSD, from mount(8) and fstat(1). Not yet run on a real system.

import { realpath } from "node:fs/promises";
import { listFreebsdDevices, printed } from "./list_freebsd.ts";
import type { Mount } from "./mounts.ts";
import type { UnmountPlan } from "./unmount_plan.ts";

/** `path`: of the device. */
export async function planFreebsdUnmount(path: Buffer): Promise<UnmountPlan> {
  const node = await realpath(path);
  const devices = await listFreebsdDevices();
  const device = devices
    .flatMap((disk) => [disk, ...disk.partitions])
    .find((it) => it.path === node);
  if (device === undefined) return { mounts: [] };
  if (device.system) return { refusal: "The system runs from it: nothing is unmounted" };
  // A mount within another has the longer path.
  const places = [...device.allMounts].sort((a, b) => b.length - a.length);
  return { mounts: places.map((mountPoint) => mountAt(mountPoint, node)) };
}

/** FreeBSD numbers neither mounts nor their file systems in what mount(8) prints. */
function mountAt(mountPoint: string, source: string): Mount {
  return {
    ...{ id: 0, parent: 0, numbers: "", type: "", writes: true },
    mountPoint,
    sources: [source],
  };
}

/** Processes that use a file system: "sh (pid 123)". */
export async function freebsdUsersOf({ mountPoint }: Mount): Promise<string[]> {
  return parseFstat(await printed(["/usr/bin/fstat", "-f", mountPoint]));
}

/** Lines of fstat(1): user, command, process, descriptor, mount point, ... */
export function parseFstat(text: string): string[] {
  const found = new Set<string>();
  for (const [, name = "", pid = ""] of text.matchAll(/^\S+ +(\S.*?) +(\d+) +\S+ +\//gm)) {
    found.add(Number(pid) === process.pid ? `this process (pid ${pid})` : `${name} (pid ${pid})`);
  }
  return [...found];
}
