// The root file system of a machine: Bun, the programs that tests call, and their libraries.

import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { cached, contents, run } from "./cache.ts";

const PROGRAMS = [
  "lsblk blockdev blkid losetup mount umount mkfs.ext4 e2fsck sfdisk swapon swapoff mkswap dmsetup mdadm",
  "prlimit setpriv wipefs partx fsfreeze qemu-nbd nbd-client nvme iscsiadm strace jq xz",
]
  .join(" ")
  .split(" ");

/** What is packed of the project, where it is there. */
const SOURCES =
  "src test scripts examples docs native package.json bunfig.toml tsconfig.json README.md";
const MODULES = [
  "cli-progress fast-check pure-rand string-width strip-ansi ansi-regex emoji-regex",
  "is-fullwidth-code-point hdr-histogram-js bun-types",
]
  .join(" ")
  .split(" ");

const START = `
/bin/busybox --install -s /bin
export PATH=/usr/bin:/usr/sbin:/sbin:/bin HOME=/root TERM=dumb BUN_RUNTIME_TRANSPILER_CACHE_PATH=0
ip link set lo up
mkdir -p /dev/shm; mount -t tmpfs shm /dev/shm; mount -t tmpfs run /run
cd /aio
bun test/lab/guest/agent.ts
if grep -q lab.keep /proc/cmdline; then echo "A shell; exit ends the machine."; sh -i; fi
poweroff -f
`;

/** Where the programs of the machine come from. */
export interface Origin {
  bun: string;
  busybox: string;
  /** A folder with the other programs; undefined: this machine's own. */
  root?: string;
}

/** The path of an ext4 image. */
export async function rootImage({ bun, busybox, root: base }: Origin): Promise<string> {
  const found = PROGRAMS.map((name) => Bun.which(name, { PATH: "/usr/bin:/usr/sbin:/bin:/sbin" }));
  const programs = base === undefined ? found.filter((path) => path !== null) : [];
  const libraries = [
    ...new Set([...programs, ...(base === undefined ? [bun] : [])].flatMap(librariesOf)),
  ];
  const read = [busybox, bun, ...programs, ...libraries];
  const key = [START, base ?? "", read.join(), ...read.map(contents)];
  const folder = await cached("root", key, (unfinished) => {
    const root = join(unfinished, "root");
    const add = (from: string, to: string): void => {
      mkdirSync(dirname(join(root, to)), { recursive: true });
      copyFileSync(from, join(root, to));
    };
    mkdirSync(root);
    if (base !== undefined) run(["sh", "-c", `cp -a ${base}/. ${root}`]);
    for (const name of "bin sbin usr/bin usr/sbin proc sys dev tmp run root mnt etc".split(" "))
      mkdirSync(join(root, name), { recursive: true });
    add(busybox, "bin/busybox");
    for (const path of programs) add(path, `usr/bin/${path.replace(/^.*\//, "")}`);
    for (const path of libraries) add(path, path);
    add(bun, "usr/bin/bun");
    run(["chmod", "+x", join(root, "usr/bin/bun")]);
    writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
    writeFileSync(join(root, "etc/group"), "root:x:0:\n");
    writeFileSync(join(root, "etc/hosts"), "127.0.0.1 localhost\n");
    writeFileSync(join(root, "start"), START);
    const image = join(unfinished, "root.ext4");
    run(["truncate", "-s", "1G", image]);
    run(["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1", "-d", root, image]);
    run(["rm", "-r", root]);
  });
  return join(folder, "root.ext4");
}

function librariesOf(program: string): string[] {
  const { stdout } = Bun.spawnSync(["ldd", program]);
  return stdout.toString().match(/\/\S+\.so\S*/g) ?? [];
}

/** Packs the project as it stands into `archive`, which a disk can be made of. */
export function packSources(project: string, archive: string): void {
  const sources = `for name in ${SOURCES}; do [ ! -e $name ] || echo $name; done`;
  const modules = `for name in ${MODULES.join(" ")}; do [ ! -e node_modules/$name ] || echo node_modules/$name; done`;
  const names = run(["sh", "-c", `${sources}; ${modules}`], project)
    .trim()
    .split("\n");
  run(["tar", "--exclude=*.sources", "--exclude=*-faults.*", "-chf", archive, ...names], project);
  run(["truncate", "-s", "%64K", archive]);
}
