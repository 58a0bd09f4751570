// A RAID1 array of the kernel's md driver, set up through sysfs alone and without metadata on its members
// (Documentation/admin-guide/md.rst).

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { attribute } from "./find_disk.ts";
import { until } from "./host.ts";
import { shQuietly } from "./shell.ts";

let count = 0;

/** In units of 1024 bytes, as md counts. */
function sizeOf(member: string): string {
  return String(Number(attribute(member, "size")) / 2);
}

export class Mirror implements Disposable {
  readonly path: string;
  readonly #folder: string;

  /** Its members are of one size, and hold the same bytes. */
  constructor(members: readonly string[]) {
    // Linux 7.2 keeps an array that is cleared, without members: no name is used twice.
    const name = `md_${process.pid}_${count++}`;
    this.path = `/dev/${name}`;
    this.#folder = `/sys/block/${name}/md`;
    writeFileSync("/sys/module/md_mod/parameters/new_array", name);
    this.#set("metadata_version", "none");
    this.#set("level", "raid1");
    this.#set("raid_disks", String(members.length));
    this.#set("component_size", sizeOf(members[0] ?? ""));
    this.#set("resync_start", "none");
    for (const [index, member] of members.entries()) {
      this.#add(member);
      this.#set(`dev-${member.replace("/dev/", "")}/slot`, String(index));
    }
    this.#set("array_state", "active");
  }

  /** How many members are lacking. */
  get degraded(): number {
    return Number(this.#get("degraded"));
  }

  /** Puts `member` in the place of one that has failed, and waits until it holds everything. */
  async rebuild(member: string): Promise<void> {
    const failed = readdirSync(this.#folder).find(
      (name) => name.startsWith("dev-") && this.#get(`${name}/state`).includes("faulty"),
    );
    // Busy as long as requests to it are unfinished.
    await until(() => shQuietly(`echo remove > ${this.#folder}/${failed}/state`) === "");
    this.#add(member);
    // Busy until the array's thread has ended what it does about the removal.
    await until(() => shQuietly(`echo recover > ${this.#folder}/sync_action`) === "");
    await until(() => this.degraded === 0);
  }

  [Symbol.dispose](): void {
    this.#set("array_state", "clear");
  }

  #add(member: string): void {
    this.#set("new_dev", attribute(member, "dev") ?? "");
    this.#set(`dev-${member.replace("/dev/", "")}/size`, sizeOf(member));
  }

  #get(name: string): string {
    return readFileSync(`${this.#folder}/${name}`, "latin1");
  }

  #set(name: string, value: string): void {
    writeFileSync(`${this.#folder}/${name}`, value);
  }
}
