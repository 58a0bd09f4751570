// One virtual machine: started, spoken to over two serial ports and its monitor, and ended.

import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Channel } from "./channel.ts";
import type { Disk } from "./disks.ts";
import type { Arch } from "./kernels.ts";
import { Monitor } from "./qmp.ts";
import { packSources } from "./root_image.ts";

export interface MachineOptions {
  arch: Arch;
  kernel: string;
  initramfs: string;
  root: string;
  /** The folder of the checkout that is tested. */
  project: string;
  disks: readonly Disk[];
  /** Leaves a shell on this terminal when the tests have ended. */
  keep: boolean;
  /** What the agent in the guest says. */
  hearAgent(message: Record<string, unknown>): void;
  /** What a test in the guest asks for. */
  hearTest(message: Record<string, unknown>): void;
}

const EMULATORS: Record<Arch, string> = {
  x64: "qemu-system-x86_64",
  arm64: "qemu-system-aarch64",
};
/**
 * Emulated: what Bun needs (AVX2), and nothing that is slow or unknown there. With SVE, Bun 1.4.5 crashes within seconds
 * under QEMU 7.2 (docs/platforms.md).
 */
const CPUS: Record<Arch, string> = {
  x64: "Haswell-noTSX,-pcid,-x2apic,-tsc-deadline,-invpcid",
  arm64: "max,pauth-impdef=on,sve=off",
};
const OWN_ARCH: Arch | undefined =
  process.arch === "x64" || process.arch === "arm64" ? process.arch : undefined;

/**
 * Whether machines of this architecture run on the processor itself, not emulated. /dev/kvm alone does not say so:
 * under a hypervisor that works without the processor's help (kvm_pvm) Debian's kernels stop before they print a line.
 */
export function isAccelerated(arch: Arch): boolean {
  if (arch !== OWN_ARCH) return false;
  if (arch === "x64" && !/\b(vmx|svm)\b/.test(readFileSync("/proc/cpuinfo", "utf8"))) return false;
  try {
    closeSync(openSync("/dev/kvm", "r+"));
    return true;
  } catch {
    return false;
  }
}

/** Why there are no machines of this architecture here, or undefined. */
export function noEmulator(arch: Arch): string | undefined {
  if (Bun.which(EMULATORS[arch]) !== null) return undefined;
  const name = arch === "x64" ? "qemu-system-x86" : "qemu-system-arm";
  return `${EMULATORS[arch]} is not installed: apt install ${name}`;
}

export class Machine implements AsyncDisposable {
  readonly folder: string = mkdtempSync(join(tmpdir(), "bun-aio-lab-"));
  readonly monitor: Monitor;
  /** The end of the process; rejects nothing. */
  readonly ended: Promise<void>;
  readonly #agent: Channel;
  readonly #test: Channel;
  readonly #child: Bun.Subprocess;
  readonly #disks: readonly Disk[];
  #console = "";

  constructor(options: MachineOptions) {
    const path = (name: string): string => join(this.folder, name);
    this.monitor = new Monitor(path("monitor"));
    this.#agent = new Channel(path("agent"), options.hearAgent);
    this.#test = new Channel(path("test"), options.hearTest);
    packSources(options.project, path("sources.tar"));
    this.#disks = options.disks;
    for (const disk of this.#disks) disk.create(this.folder);
    const child = Bun.spawn([EMULATORS[options.arch], ...this.#arguments(options)], {
      cwd: this.folder,
      stdin: options.keep ? "inherit" : "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.#child = child;
    const reading = [child.stdout, child.stderr].map((stream) => this.#read(stream, options.keep));
    this.ended = Promise.all([child.exited, ...reading]).then(() => {});
  }

  /** The last lines of the console: the kernel's, and QEMU's own. */
  get console(): string {
    return this.#console.trimEnd().split("\n").slice(-40).join("\n");
  }

  tellAgent(message: unknown): Promise<void> {
    return this.#agent.send(message);
  }

  tellTest(message: unknown): Promise<void> {
    return this.#test.send(message);
  }

  /** Pulls the plug. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.ended;
    for (const disk of this.#disks) await disk.volatile?.stop();
    for (const channel of [this.monitor, this.#agent, this.#test]) channel[Symbol.dispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #arguments(options: MachineOptions): string[] {
    const { arch, keep } = options;
    const terminal = arch === "x64" ? "ttyS0" : "ttyAMA0";
    const command = `console=${terminal} loglevel=4 panic=-1 mitigations=off edd=off nokaslr`;
    const cpu = isAccelerated(arch) ? "host" : CPUS[arch];
    const plain = { format: "raw", if: "none" };
    return [
      ...["-machine", arch === "x64" ? "q35" : "virt", "-cpu", cpu, "-m", "1536", "-smp", "2"],
      ...(isAccelerated(arch) ? ["-accel", "kvm"] : ["-accel", "tcg,thread=multi"]),
      ...["-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio"],
      ...["-qmp", "unix:monitor"],
      ...["-kernel", options.kernel, "-initrd", options.initramfs],
      ...["-append", `${command}${keep ? " lab.keep" : ""}`],
      ...drive({ ...plain, id: "root", file: options.root, snapshot: "on", cache: "unsafe" }),
      ...device({ driver: "virtio-blk-pci", drive: "root", serial: "ROOT" }),
      ...drive({ ...plain, id: "sources", file: "sources.tar", readonly: "on" }),
      ...device({ driver: "virtio-blk-pci", drive: "sources", serial: "SOURCES" }),
      ...device({ driver: "virtio-serial-pci" }),
      ...["agent", "test"].flatMap((name) => [
        ...["-chardev", `socket,id=${name},path=${name}`],
        ...device({ driver: "virtserialport", chardev: name, name }),
      ]),
      ...options.disks.flatMap((disk) => disk.arguments),
    ];
  }

  async #read(stream: ReadableStream<Uint8Array>, show: boolean): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) {
      const text = decoder.decode(bytes, { stream: true });
      if (show) process.stderr.write(text);
      this.#console = (this.#console + text).slice(-65536);
    }
  }
}

function drive(options: Record<string, string>): string[] {
  const list = Object.entries(options).map(([name, value]) => `${name}=${value}`);
  return ["-drive", list.join(",")];
}

export function device(options: Record<string, unknown>): string[] {
  return ["-device", JSON.stringify(options)];
}
