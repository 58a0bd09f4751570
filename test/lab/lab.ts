// The lab: boots a machine with many disks, and runs files of tests in it.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ensureLibrary } from "../../scripts/build.ts";
import { counted } from "../../scripts/suite/bun_tests.ts";
import { root } from "../../scripts/suite/command.ts";
import { add, addReason, type Counts, fail, noCounts } from "../../scripts/suite/counts.ts";
import { suiteFiles } from "../../scripts/suite/files.ts";
import { Random } from "../support/random.ts";
import { recordsOf } from "./guest/records.ts";
import { Commands } from "./host/commands.ts";
import { allDisks, type Disk } from "./host/disks.ts";
import { fetchForeign } from "./host/foreign.ts";
import { initramfs, missingPrograms } from "./host/initramfs.ts";
import { type Arch, fetchKernel } from "./host/kernels.ts";
import { isAccelerated, Machine, type MachineOptions, noEmulator } from "./host/machine.ts";
import { rootImage } from "./host/root_image.ts";

export interface LabOptions {
  kernel: string;
  arch: Arch;
  /** Parts of the names of the files to run; empty: all. */
  only: readonly string[];
  /** Parts of the paths of files of the suite, which then run in place of the lab's own. */
  suite?: readonly string[];
  /** A shell when they have ended. */
  keep: boolean;
  backends: readonly string[];
  /** Of the tests: LAB_CUTS (power cuts of each kind), LAB_MINUTES (of the soak), LAB_SEED. */
  environment: Record<string, string>;
  say(line: string): void;
  /** What a file of tests did on a kernel, by its release, and a backend. */
  hear?(release: string, backend: string, counts: Counts): void;
}

/** An emulated machine is some ten times slower. */
const BOOT_MS = { accelerated: 60_000, emulated: 300_000 };
const FILE_MS = { accelerated: 120_000, emulated: 600_000 };

/** Of every run of `npm test`: what is worth a boot on the kernel of the distribution. */
export const SHORT: readonly string[] = ["geometry", "errors", "removal", "power_cuts"];

const NO_EMULATOR = "no virtual machine can be run here: install QEMU (test/lab/README.md)";
const NO_KERNEL = "no kernel package can be had here: see test/lab/README.md";

/** Runs what the options say; where there can be no machine it says so, and counts as skipped. */
export async function lab(wanted: LabOptions): Promise<Counts> {
  const LAB_SEED = `${Math.floor(Math.random() * 2 ** 31)}`;
  const options = { ...wanted, environment: { LAB_SEED, ...wanted.environment } };
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
  const own = { bun: process.execPath, busybox: Bun.which("busybox") ?? "busybox" };
  const origin = arch === process.arch ? own : await fetchForeign(arch, root);
  return {
    arch,
    keep,
    project: root,
    kernel: kernel.image,
    initramfs: await initramfs(kernel, origin.busybox),
    root: await rootImage(origin),
    disks: await allDisks(arch, Number(options.environment["LAB_SEED"])),
  };
}

/** The files of tests, by the names that `only` or `suite` look for. */
function files({ only, suite = [] }: LabOptions): string[] {
  if (suite.length > 0)
    return suiteFiles().filter((file) => suite.some((part) => file.includes(part)));
  return readdirSync(join(root, "test/lab/guest/tests"))
    .sort()
    .filter((file) => only.length === 0 || only.some((part) => file.includes(part)))
    .map((file) => `test/lab/guest/tests/${file}`);
}

/** Faults of QEMU, by what it says when it dies: the file that was running counts as skipped, for this reason. */
const KNOWN_DEATHS: Record<string, string> = {
  "usb_uas_cancel_io: Assertion":
    "QEMU's UAS device aborts QEMU when it is unplugged with commands in flight, in some runs",
};

/** Runs the files on each backend, all in one machine as long as it lasts. */
async function runIn(made: Parts, options: LabOptions): Promise<Counts> {
  const pace = isAccelerated(options.arch) ? "accelerated" : "emulated";
  const total = noCounts();
  const started = performance.now();
  let session = new Session(made, options.say);
  try {
    let up = await session.boot(BOOT_MS[pace]);
    options.say(`Linux ${up} on ${options.arch}, ${pace}`);
    for (const backend of options.backends) {
      for (const file of files(options)) {
        const seconds = Math.round((performance.now() - started) / 1000);
        options.say(`\n== ${seconds} s: ${file} on ${backend}`);
        const environment: Record<string, string> = {
          ...options.environment,
          BUN_AIO_BACKEND: backend,
        };
        const limitMs = FILE_MS[pace] + Number(environment["LAB_MINUTES"] ?? 0) * 60_000;
        let counts: Counts;
        try {
          counts = await session.run(file, environment, limitMs);
        } catch (error) {
          counts = ended(file, error, session.console);
          await session[Symbol.asyncDispose]();
          options.say("\n== the machine is started again");
          session = new Session(made, options.say);
          up = await session.boot(BOOT_MS[pace]);
        }
        options.hear?.(up, backend, counts);
        add(total, counts);
      }
    }
    if (options.keep) await session.shell();
    else if (pullsPlug(options)) add(total, await pullPlug(session, made.disks, options));
  } catch (error) {
    fail(total, said(error, session.console));
  } finally {
    await session[Symbol.asyncDispose]();
    for (const { volatile } of made.disks) await volatile?.[Symbol.asyncDispose]();
  }
  return total;
}

/** Whether the machine ends by losing its power: with all of the lab, and with its power cuts. */
function pullsPlug(options: LabOptions): boolean {
  const { only, suite = [] } = options;
  if (suite.length > 0) return false;
  return only.length === 0 || files(options).some((file) => file.includes("power"));
}

/** The counts of a file during which the machine ended, or which did not end in time. */
function ended(file: string, error: unknown, console: string): Counts {
  const counts = noCounts();
  const known = Object.entries(KNOWN_DEATHS).find(([words]) => console.includes(words))?.[1];
  const name = "the machine lasts";
  const one = { file, name, skipped: known, failed: known === undefined, assertions: 0 };
  counts.cases.push(one);
  if (known === undefined) {
    fail(counts, said(error, console));
  } else {
    counts.skipped = 1;
    addReason(counts.reasons, known);
  }
  return counts;
}

function said(error: unknown, console: string): string {
  return `${error}\nThe console of the machine ends with:\n${console}`;
}

/**
 * The end of every machine: its process is killed while a writer in it appends records. Those that it has acknowledged
 * must be on the disk.
 */
async function pullPlug(session: Session, disks: readonly Disk[], options: LabOptions) {
  const { environment, say } = options;
  const seed = Number(environment["LAB_SEED"]);
  const name = "the machine loses its power, and the disk nothing that was acknowledged";
  say(`\n== ${name}: LAB_SEED=${seed}`);
  const acknowledged = await session.killWriting("test/lab/guest/appender.ts", seed);
  const disk = disks.find((candidate) => candidate.name === "volatile-scsi")?.volatile;
  const found = disk === undefined ? 0 : recordsOf(await disk.cut()).length;
  say(`${acknowledged} records acknowledged, ${found} on the disk`);
  const counts = noCounts();
  if (acknowledged > 0 && found >= acknowledged) counts.passed = 1;
  else fail(counts, `${name} (LAB_SEED=${seed}): ${acknowledged} acknowledged, ${found} found`);
  return counts;
}

/** One machine, and the job that runs in it. */
class Session implements AsyncDisposable {
  readonly #machine: Machine;
  readonly #commands: Commands;
  readonly #say: (line: string) => void;
  #heard: PromiseWithResolvers<Record<string, unknown>> = Promise.withResolvers();
  #text = "";

  constructor(made: Parts, say: (line: string) => void) {
    this.#say = say;
    this.#commands = new Commands(made.disks, () => this.#machine);
    this.#machine = new Machine({
      ...made,
      hearAgent: (message) => this.#hearAgent(message),
      hearTest: (message) => this.#commands.obey(message),
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
    await this.#machine.tellAgent({ job: { file, environment, timeoutMs: limitMs / 4 } });
    const { ended, report } = await this.#answer(limitMs, `did not end ${file}:\n${this.#text}`);
    return counted({ text: this.#text, code: Number(ended) }, String(report ?? ""));
  }

  /** Ends the tests, and waits for the end of the shell that they leave. */
  async shell(): Promise<void> {
    await this.#machine.tellAgent({ end: true });
    await this.#machine.ended;
  }

  /** Starts a writer, kills the machine at a moment of the seed's choice; the last record acknowledged. */
  async killWriting(file: string, seed: number): Promise<number> {
    this.#commands.acknowledged = 0;
    await this.#machine.tellAgent({ job: { file, environment: {}, timeoutMs: 60_000 } });
    for (let waited = 0; this.#commands.acknowledged === 0 && waited < 120_000; waited += 10)
      await Bun.sleep(10);
    await Bun.sleep(new Random(seed).below(1000));
    this.#machine.kill();
    await this.#machine.ended;
    return this.#commands.acknowledged;
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
