// A RAID1 array of the kernel's md driver, set up through sysfs alone and without metadata on its members
// (Documentation/admin-guide/md.rst).

import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { attribute } from "./find_disk.ts";
import { until } from "./host.ts";
import { sh } from "./shell.ts";

const NAME = "md_lab";
const FOLDER = `/sys/block/${NAME}/md`;

function set(name: string, value: string): void {
  writeFileSync(`${FOLDER}/${name}`, value);
}

/** In units of 1024 bytes, as md counts. */
function sizeOf(member: string): string {
  return String(Number(attribute(member, "size")) / 2);
}

function add(member: string): void {
  set("new_dev", attribute(member, "dev") ?? "");
  set(`dev-${member.replace("/dev/", "")}/size`, sizeOf(member));
}

export class Mirror implements AsyncDisposable {
  readonly path: string = `/dev/${NAME}`;

  /** Its members are of one size, and hold the same bytes. */
  constructor(members: readonly string[]) {
    writeFileSync("/sys/module/md_mod/parameters/new_array", NAME);
    set("metadata_version", "none");
    set("level", "raid1");
    set("raid_disks", String(members.length));
    set("component_size", sizeOf(members[0] ?? ""));
    set("resync_start", "none");
    for (const [index, member] of members.entries()) {
      add(member);
      set(`dev-${member.replace("/dev/", "")}/slot`, String(index));
    }
    set("array_state", "active");
  }

  /** How many members are lacking. */
  get degraded(): number {
    return Number(readFileSync(`${FOLDER}/degraded`, "latin1"));
  }

  /** Puts `member` in the place of one that has failed, and waits until it holds everything. */
  async rebuild(member: string): Promise<void> {
    const isFaulty = (name: string): boolean =>
      readFileSync(`${FOLDER}/${name}/state`, "latin1").includes("faulty");
    const failed = readdirSync(FOLDER).find((name) => name.startsWith("dev-") && isFaulty(name));
    // Busy as long as requests to it are unfinished.
    await until(() => sh(`echo remove > ${FOLDER}/${failed}/state 2>&1 || echo busy`) === "");
    add(member);
    set("sync_action", "recover");
    await until(() => this.degraded === 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    set("array_state", "clear");
    await until(() => !existsSync(FOLDER));
  }
}
