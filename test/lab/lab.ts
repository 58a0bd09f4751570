// The lab: boots a machine with many disks, and runs files of tests in it.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ensureLibrary } from "../../scripts/build.ts";
import { counted } from "../../scripts/suite/bun_tests.ts";
import { root } from "../../scripts/suite/command.ts";
import { add, addReason, type Counts, fail, noCounts } from "../../scripts/suite/counts.ts";
import { Commands } from "./host/commands.ts";
import { allDisks } from "./host/disks.ts";
import { initramfs, missingPrograms } from "./host/initramfs.ts";
import { type Arch, fetchKernel } from "./host/kernels.ts";
import { isAccelerated, Machine, type MachineOptions, noEmulator } from "./host/machine.ts";
import { rootImage } from "./host/root_image.ts";

export interface LabOptions {
  kernel: string;
  arch: Arch;
  /** Parts of the names of the files to run; empty: all. */
  only: readonly string[];
  /** A shell when they have ended. */
  keep: boolean;
  backends: readonly string[];
  say(line: string): void;
}

/** An emulated machine is some ten times slower. */
const BOOT_MS = { accelerated: 60_000, emulated: 300_000 };
const FILE_MS = { accelerated: 120_000, emulated: 240_000 };

/** Of every run of `npm test`: what is worth a boot on the kernel of the distribution. */
export const SHORT: readonly string[] = ["geometry", "errors", "removal", "power_cuts"];

const NO_EMULATOR = "no virtual machine can be run here: install QEMU (test/lab/README.md)";
const NO_KERNEL = "no kernel package can be had here: see test/lab/README.md";

/** Runs what the options say; where there can be no machine it says so, and counts as skipped. */
export async function lab(options: LabOptions): Promise<Counts> {
  const missing = noEmulator(options.arch) ?? missingPrograms();
  if (missing !== undefined) return skipped(options, NO_EMULATOR, missing);
  let made: Parts;
  try {
    made = await parts(options);
  } catch (error) {
    return skipped(options, NO_KERNEL, String(error));
  }
  return runIn(made, options);
}

function skipped({ say }: LabOptions, reason: string, details: string): Counts {
  say(`\nTHE LAB IS SKIPPED: ${reason}\n${details}`);
  const counts = noCounts();
  counts.skipped = 1;
  addReason(counts.reasons, reason);
  return counts;
}

type Parts = Omit<MachineOptions, "hearAgent" | "hearTest">;

/** What a machine is made of; throws with the reason if something cannot be had. */
async function parts(options: LabOptions): Promise<Parts> {
  const { arch, keep } = options;
  ensureLibrary({}, options.say);
  const kernel = await fetchKernel(options.kernel, arch);
  return {
    arch,
    keep,
    project: root,
    kernel: kernel.image,
    initramfs: await initramfs(kernel),
    root: await rootImage(process.execPath),
    disks: allDisks(),
  };
}

/** The files of tests, by the names that `only` looks for. */
function files(only: readonly string[]): string[] {
  return readdirSync(join(root, "test/lab/guest/tests"))
    .sort()
    .filter((file) => only.length === 0 || only.some((part) => file.includes(part)))
    .map((file) => `test/lab/guest/tests/${file}`);
}

/** Runs the files on each backend, all in one machine. */
async function runIn(made: Parts, options: LabOptions): Promise<Counts> {
  const pace = isAccelerated(options.arch) ? "accelerated" : "emulated";
  const session = new Session(made, options.say);
  const total = noCounts();
  const started = performance.now();
  const own = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => name.startsWith("LAB_")),
  ) as Record<string, string>;
  try {
    const up = await session.boot(BOOT_MS[pace]);
    options.say(`Linux ${up} on ${options.arch}, ${pace}`);
    for (const backend of options.backends) {
      for (const file of files(options.only)) {
        const seconds = Math.round((performance.now() - started) / 1000);
        options.say(`\n== ${seconds} s: ${file} on ${backend}`);
        add(total, await session.run(file, { ...own, BUN_AIO_BACKEND: backend }, FILE_MS[pace]));
      }
    }
    await session.end(options.keep);
  } catch (error) {
    fail(total, `${error}\nThe console of the machine ends with:\n${session.console}`);
  } finally {
    await session[Symbol.asyncDispose]();
  }
  return total;
}

/** One machine, and the job that runs in it. */
class Session implements AsyncDisposable {
  readonly #machine: Machine;
  readonly #say: (line: string) => void;
  #heard: PromiseWithResolvers<Record<string, unknown>> = Promise.withResolvers();
  #text = "";

  constructor(made: Parts, say: (line: string) => void) {
    this.#say = say;
    const commands = new Commands(made.disks, () => this.#machine);
    this.#machine = new Machine({
      ...made,
      hearAgent: (message) => this.#hearAgent(message),
      hearTest: (message) => commands.obey(message),
    });
  }

  get console(): string {
    return this.#machine.console;
  }

  /** The kernel's release, once the agent speaks. */
  async boot(limitMs: number): Promise<string> {
    return String((await this.#answer(limitMs, "did not boot"))["up"]);
  }

  async run(file: string, environment: Record<string, string>, limitMs: number): Promise<Counts> {
    this.#heard = Promise.withResolvers();
    this.#text = "";
    await this.#machine.tellAgent({ job: { file, environment } });
    const { ended, report } = await this.#answer(limitMs, `did not end ${file}:\n${this.#text}`);
    return counted({ text: this.#text, code: Number(ended) }, String(report ?? ""));
  }

  /** Lets the machine power itself off. */
  async end(keep: boolean): Promise<void> {
    await this.#machine.tellAgent({ end: true });
    if (keep) await this.#machine.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#machine[Symbol.asyncDispose]();
  }

  #hearAgent(message: Record<string, unknown>): void {
    if (typeof message["output"] === "string") {
      this.#text += message["output"];
      this.#say(message["output"].trimEnd());
    } else {
      this.#heard.resolve(message);
    }
  }

  async #answer(limitMs: number, what: string): Promise<Record<string, unknown>> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => late.reject(new Error(`the machine ${what} (${limitMs} ms)`)),
      limitMs,
    );
    const gone = this.#machine.ended.then(() => {
      throw new Error(`the machine ended before it had answered: it ${what}`);
    });
    try {
      return await Promise.race([this.#heard.promise, late.promise, gone]);
    } finally {
      clearTimeout(timer);
    }
  }
}
