// The lab: boots a machine with many disks, and runs files of tests in it.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { counted } from "../../scripts/suite/bun_tests.ts";
import { root } from "../../scripts/suite/command.ts";
import { add, type Counts, fail, noCounts } from "../../scripts/suite/counts.ts";
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
const FILE_MS = { accelerated: 180_000, emulated: 900_000 };

/** Why there can be no machine here, or undefined. */
export function noLab(arch: Arch): string | undefined {
  return noEmulator(arch) ?? missingPrograms();
}

/** What a machine is made of; throws with the reason if something cannot be had. */
async function parts(options: LabOptions): Promise<Omit<MachineOptions, "hearAgent" | "hearTest">> {
  const { arch, keep } = options;
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

/** Runs them on each backend, all in one machine. Throws if there can be none. */
export async function runLab(options: LabOptions): Promise<Counts> {
  const pace = isAccelerated(options.arch) ? "accelerated" : "emulated";
  const session = new Session(await parts(options), options.say);
  const total = noCounts();
  try {
    const up = await session.boot(BOOT_MS[pace]);
    options.say(`Linux ${up} on ${options.arch}, ${pace}`);
    for (const backend of options.backends) {
      for (const file of files(options.only)) {
        options.say(`\n== ${file} on ${backend}`);
        add(total, await session.run(file, { BUN_AIO_BACKEND: backend }, FILE_MS[pace]));
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

  constructor(made: Omit<MachineOptions, "hearAgent" | "hearTest">, say: (line: string) => void) {
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
