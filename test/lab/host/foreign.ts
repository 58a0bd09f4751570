// What a machine of another architecture runs: Debian's programs for it, Bun from npm, the library cross-compiled.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { packNative } from "../../../scripts/pack.ts";
import { cached, run } from "./cache.ts";
import { type Arch, aptOptions, DEBIAN } from "./kernels.ts";

/** Debian's packages, with the libraries that they need. */
const PACKAGES = [
  "busybox-static libc6 libgcc-s1 util-linux mount fdisk e2fsprogs dmsetup libblkid1 libmount1",
  "libsmartcols1 libuuid1 libfdisk1 libselinux1 libpcre2-8-0 libudev1 libtinfo6 libext2fs2",
  "libcom-err2 libss2 libdevmapper1.02.1 libcap-ng0 libcrypt1 zlib1g libreadline8 libcap2",
];
const BUN: Record<Arch, string> = {
  x64: "@oven/bun-linux-x64",
  arm64: "@oven/bun-linux-aarch64",
};

export interface Foreign {
  /** A folder with usr/ and lib/ of Debian. */
  root: string;
  busybox: string;
  bun: string;
}

/** Throws if it cannot be had. */
export async function fetchForeign(arch: Arch, project: string): Promise<Foreign> {
  const apt = aptOptions(undefined, DEBIAN[arch]);
  const packages = PACKAGES.join(" ").split(" ");
  const shown = run(["apt-cache", ...apt, "show", "--no-all-versions", ...packages]);
  const root = await cached(`programs-${arch}`, [shown], (folder) => {
    run(["apt-get", ...apt, "-q", "download", ...packages], folder);
    for (const file of readdirSync(folder)) run(["dpkg-deb", "-x", file, "."], folder);
    run(["find", ".", "-maxdepth", "1", "-name", "*.deb", "-delete"], folder);
    run(["rm", "-rf", "usr/share"], folder);
  });
  const bun = await fetchBun(BUN[arch], project);
  packNative();
  return { root, busybox: join(root, "bin/busybox"), bun };
}

/** Bun from a package of npm, in the version of the project. */
export async function fetchBun(name: string, project: string): Promise<string> {
  const manifest = readFileSync(join(project, "node_modules/bun/package.json"), "utf8");
  const { version } = JSON.parse(manifest) as { version: string };
  const folder = await cached(name.replace("@oven/", ""), [version], (unfinished) => {
    run(["npm", "pack", "--silent", `${name}@${version}`], unfinished);
    const [file = ""] = readdirSync(unfinished);
    run(["tar", "xzf", file], unfinished);
    run(["chmod", "+x", "package/bin/bun"], unfinished);
  });
  return join(folder, "package/bin/bun");
}
