// Kernels of Debian's releases, fetched through apt from the mirror that this machine uses anyway, and unpacked
// without being installed.

import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cached, cacheFolder, run } from "./cache.ts";

export type Arch = "x64" | "arm64";

/** Debian's suite that each version comes from; `undefined`: what this machine's own apt offers. */
export const KERNELS: Record<string, string | undefined> = {
  distribution: undefined,
  "5.10": "bullseye",
  "6.1": "bookworm",
  "6.12": "bookworm-backports",
  newest: "sid",
};

export interface Kernel {
  /** As `uname -r` says. */
  release: string;
  /** The file that boots. */
  image: string;
  /** The folder lib/modules/RELEASE, with modules.dep. */
  modules: string;
}

/** Debian's names. */
export const DEBIAN: Record<Arch, string> = { x64: "amd64", arm64: "arm64" };
/** The keys of all of Debian's releases. */
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
/** Lists of packages are fetched again after a day. */
const STALE_MS = 24 * 3600 * 1000;

/** Throws if it cannot be had. */
export async function fetchKernel(name: string, arch: Arch): Promise<Kernel> {
  const apt = aptOptions(KERNELS[name], DEBIAN[arch]);
  const depends = run(["apt-cache", ...apt, "depends", `linux-image-${DEBIAN[arch]}`]);
  const [, image] = /Depends: (linux-image-\S+)/.exec(depends) ?? [];
  if (image === undefined) throw new Error(`no kernel package: apt-cache says\n${depends}`);
  // Since 6.17 or so, the modules are in packages of their own.
  const shown = run(["apt-cache", ...apt, "depends", image]);
  const modules = [...shown.matchAll(/Depends: (linux-(?:modules|binary)-\S+)/g)];
  const packages = [image, ...modules.map(([, found = ""]) => found)];
  const versions = run(["apt-cache", ...apt, "show", "--no-all-versions", ...packages]);
  const key = versions.match(/^(Filename|SHA256): .*$/gm)?.join("\n") ?? versions;
  const folder = await cached(`kernel-${name}-${arch}`, [key], (unfinished) => {
    run(["apt-get", ...apt, "-q", "download", ...packages], unfinished);
    for (const file of readdirSync(unfinished)) run(["dpkg-deb", "-x", file, "."], unfinished);
    run(["find", ".", "-maxdepth", "1", "-name", "*.deb", "-delete"], unfinished);
    // /lib is a link to usr/lib, which later packages rely upon.
    if (!existsSync(join(unfinished, "lib/modules"))) {
      mkdirSync(join(unfinished, "lib"), { recursive: true });
      run(["ln", "-s", "../usr/lib/modules", "lib/modules"], unfinished);
    }
    const [release = ""] = readdirSync(join(unfinished, "lib/modules"));
    run(["depmod", "-b", unfinished, release]);
  });
  return unpacked(folder);
}

function unpacked(folder: string): Kernel {
  const [release = ""] = readdirSync(join(folder, "lib/modules"));
  const modules = join(folder, "lib/modules", release);
  // Newer packages have it beside the modules.
  const places = [join(folder, `boot/vmlinuz-${release}`), join(modules, "vmlinuz")];
  const image = places.find((path) => existsSync(path));
  if (image === undefined) throw new Error(`no kernel in the packages of ${release}`);
  return { release, image, modules };
}

/** Options by which apt sees another suite or architecture than this machine's; its lists lie in the cache folder. */
export function aptOptions(suite: string | undefined, architecture: string): string[] {
  const own = run(["dpkg", "--print-architecture"]).trim();
  if (suite === undefined && architecture === own) return [];
  const folder = join(cacheFolder, `apt-${suite ?? "own"}-${architecture}`);
  for (const name of ["lists/partial", "cache/archives/partial"])
    mkdirSync(join(folder, name), { recursive: true });
  const options = {
    "Dir::Etc::SourceList": join(folder, "sources.list"),
    "Dir::Etc::SourceParts": "-",
    "Dir::State::Lists": join(folder, "lists"),
    "Dir::State::Status": join(folder, "status"),
    "Dir::Cache": join(folder, "cache"),
    "APT::Architecture": architecture,
    "APT::Architectures": architecture,
    "Acquire::Languages": "none",
    "Acquire::Check-Valid-Until": "false",
    "APT::Sandbox::User": "root",
  };
  const given = Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  const updated = join(folder, "updated");
  if (!existsSync(updated) || Date.now() - statSync(updated).mtimeMs > STALE_MS) {
    const { uri, codename } = mirror();
    const signed = existsSync(KEYRING) ? `[signed-by=${KEYRING}] ` : "";
    writeFileSync(join(folder, "sources.list"), `deb ${signed}${uri} ${suite ?? codename} main\n`);
    writeFileSync(join(folder, "status"), "");
    run(["apt-get", ...given, "-q", "update", "--error-on=any"]);
    writeFileSync(updated, "");
  }
  return given;
}

/** Where this machine gets Debian's packages from. */
function mirror(): { uri: string; codename: string } {
  const format = "$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(CODENAME)";
  const lines = run(["apt-get", "indextargets", "--format", format, "Created-By: Packages"]);
  const found = lines.split("\n").find((line) => line.startsWith("Debian|Debian|"));
  if (found === undefined) throw new Error("apt has no source of Debian's packages here");
  const [, , uri = "", codename = ""] = found.split("|");
  return { uri, codename };
}
