// The first file system of a machine: busybox, the kernel's modules, and the script that mounts the rest.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { cached, contents, run } from "./cache.ts";
import type { Kernel } from "./kernels.ts";

/** Loaded at the start, where the kernel has them as modules. */
const LOADED = [
  "virtio_pci virtio_mmio virtio_blk virtio_console virtio_net virtio_scsi ext4 crc32c_generic loop",
  "nvme sd_mod sr_mod cdrom ahci ata_piix usb_storage uas xhci_pci sdhci_pci mmc_block nls_ascii",
];
/** Loaded by tests. */
const ON_DEMAND = [
  "scsi_debug null_blk brd zram nbd dm_mod dm_linear dm_flakey dm_delay dm_snapshot raid0 raid1",
  "nvme_tcp nvmet nvmet_tcp iscsi_tcp vfat isofs lz4 lzo_rle crc_t10dif",
];

const words = (lines: string[]): string[] => lines.join(" ").split(" ");

const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in $(cat /loaded); do modprobe $module 2>/dev/null; done
disk() {
  for try in $(seq 200); do
    for file in /sys/block/vd*/serial; do
      if [ "$(cat $file 2>/dev/null)" = "$1" ]; then basename $(dirname $file); return; fi
    done
    sleep 0.05
  done
}
mount -t ext4 -o noatime /dev/$(disk ROOT) /new || exec sh
mkdir -p /new/aio /new/lib/modules
mount -t tmpfs -o size=64m modules /new/lib/modules; cp -r /lib/modules/* /new/lib/modules/
mount -t tmpfs aio /new/aio; tar xf /dev/$(disk SOURCES) -C /new/aio
for folder in proc sys dev; do mount --move /$folder /new/$folder; done
exec switch_root /new /bin/busybox sh /start
`;

/** The path of the compressed archive. */
export async function initramfs(kernel: Kernel, busybox: string): Promise<string> {
  const dependencies = readDependencies(kernel);
  const loaded = words(LOADED).filter((name) => dependencies.has(name));
  const files = new Set<string>();
  for (const name of [...loaded, ...words(ON_DEMAND)])
    for (const file of dependencies.get(name) ?? []) files.add(file);
  const key = [INIT, kernel.release, [...files].join(), loaded.join(), contents(busybox)];
  const folder = await cached("initramfs", key, (unfinished) => {
    const archive = new Archive();
    for (const name of ["bin", "proc", "sys", "dev", "new"]) archive.folder(name);
    archive.file("bin/busybox", readFileSync(busybox), 0o755);
    archive.file("init", Buffer.from(INIT), 0o755);
    archive.file("loaded", Buffer.from(loaded.join("\n")));
    const target = `lib/modules/${kernel.release}`;
    for (const file of files)
      archive.file(join(target, plain(file)), moduleBytes(join(kernel.modules, file)));
    const lines = [...dependencies.values()]
      .filter(([file = ""]) => files.has(file))
      .map(([file = "", ...others]) => `${plain(file)}: ${others.map(plain).join(" ")}\n`);
    archive.file(join(target, "modules.dep"), Buffer.from(lines.join("")));
    writeFileSync(join(unfinished, "initramfs.gz"), Bun.gzipSync(archive.end(), { level: 1 }));
  });
  return join(folder, "initramfs.gz");
}

/** Of each module, by name, its file and those of what it needs. */
function readDependencies({ modules }: Kernel): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const line of readFileSync(join(modules, "modules.dep"), "utf8").split("\n")) {
    const [file, others = ""] = line.split(":");
    if (file === undefined || file === "") continue;
    const name = file.replace(/^.*\//, "").replace(/\.ko.*$/, "");
    found.set(name.replaceAll("-", "_"), [file, ...others.split(" ").filter(Boolean)]);
  }
  return found;
}

/** busybox loads no compressed modules. */
function plain(file: string): string {
  return file.replace(/\.ko\.\w+$/, ".ko");
}

function moduleBytes(path: string): Uint8Array {
  if (path.endsWith(".xz")) return Bun.spawnSync(["xz", "-dc", path]).stdout;
  if (path.endsWith(".zst")) return Bun.zstdDecompressSync(readFileSync(path));
  return readFileSync(path);
}

/** An archive as the kernel unpacks it: Documentation/driver-api/early-userspace/buffer-format.rst, "newc". */
class Archive {
  readonly #parts: Uint8Array[] = [];
  readonly #folders = new Set<string>(["."]);
  #inode = 1;

  folder(path: string): void {
    if (this.#folders.has(path)) return;
    this.folder(dirname(path));
    this.#folders.add(path);
    this.#entry(path, 0o040755, new Uint8Array());
  }

  file(path: string, data: Uint8Array, mode = 0o644): void {
    this.folder(dirname(path));
    this.#entry(path, 0o100000 | mode, data);
  }

  end(): Uint8Array<ArrayBuffer> {
    this.#entry("TRAILER!!!", 0, new Uint8Array());
    return new Uint8Array(Buffer.concat(this.#parts));
  }

  #entry(path: string, mode: number, data: Uint8Array): void {
    const name = Buffer.from(`${path}\0`);
    const fields = [this.#inode++, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
    this.#padded(Buffer.concat([Buffer.from(header), name]));
    this.#padded(data);
  }

  #padded(data: Uint8Array): void {
    this.#parts.push(data, new Uint8Array(-data.length & 3));
  }
}

/** Why an initramfs cannot be made here, or undefined. */
export function missingPrograms(): string | undefined {
  const needed = ["busybox", "depmod", "dpkg-deb", "apt-get", "mke2fs", "tar"];
  const absent = needed.filter((name) => Bun.which(name) === null && !existsSync(`/sbin/${name}`));
  if (absent.length > 0) return `not installed: ${absent.join(", ")}`;
  // Of the dynamic one the library would be lacking.
  const linked = run(["sh", "-c", "ldd $(command -v busybox) 2>&1 || true"]);
  return linked.includes("libc") ? "busybox is not static: apt install busybox-static" : undefined;
}
