// A recorded system: /sys, /proc and /dev in a folder.

import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import type { SystemPaths } from "../../src/system/sysfs.ts";

/** A system in a folder. */
export class Tree {
  readonly paths: SystemPaths;
  readonly #folder: { readonly path: string };

  constructor(folder: { readonly path: string }) {
    this.#folder = folder;
    this.paths = {
      sys: join(folder.path, "sys"),
      proc: join(folder.path, "proc"),
      dev: join(folder.path, "dev"),
    };
    for (const path of ["sys/block", "sys/dev/block", "proc/self", "dev/mapper"]) {
      mkdirSync(join(folder.path, path), { recursive: true });
    }
    writeFileSync(join(this.paths.proc, "partitions"), "");
  }

  /** Files of a device, by name; `place` is its path below sys/devices. */
  device(place: string, numbers: string, files: Record<string, string | Uint8Array>): string {
    const directory = join(this.paths.sys, "devices", place);
    mkdirSync(directory, { recursive: true });
    for (const [name, content] of Object.entries({ dev: `${numbers}\n`, ...files })) {
      const path = join(directory, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
    }
    this.#link(join(this.paths.sys, "dev", "block", numbers), directory);
    return directory;
  }

  disk(place: string, numbers: string, files: Record<string, string | Uint8Array>): string {
    const directory = this.device(place, numbers, files);
    this.#link(join(this.paths.sys, "block", place.slice(place.lastIndexOf("/") + 1)), directory);
    return directory;
  }

  /** `upper` is built on `lower`. */
  stack(upper: string, lower: string): void {
    const name = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
    for (const folder of [join(upper, "slaves"), join(lower, "holders")]) {
      mkdirSync(folder, { recursive: true });
    }
    this.#link(join(upper, "slaves", name(lower)), lower);
    this.#link(join(lower, "holders", name(upper)), upper);
  }

  write(path: string, content: string): void {
    writeFileSync(join(this.#folder.path, path), content);
  }

  #link(from: string, to: string): void {
    symlinkSync(relative(dirname(from), to), from);
  }
}

/** The queue of a disk with sectors of 512 bytes. */
export const QUEUE: Record<string, string> = {
  "queue/logical_block_size": "512\n",
  "queue/physical_block_size": "4096\n",
  "queue/minimum_io_size": "4096\n",
  "queue/optimal_io_size": "0\n",
  "queue/max_sectors_kb": "1280\n",
  "queue/rotational": "0\n",
};
