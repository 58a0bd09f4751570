// The contestant "bare loop": bare_loop.zig, compiled with the Zig from node_modules.

import { existsSync } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";

import { type Job, parseSample, type Sample } from "../job.ts";
import type { Contestant } from "./contestant.ts";
import { run } from "./process.ts";

/** A cold compilation takes some 20 s, more on a busy machine. */
const COMPILE_SECONDS = 180;

const benchFolder = join(import.meta.dirname, "..");
/** Zig makes it; git ignores the name. */
const cacheFolder = join(benchFolder, ".zig-cache");

/** Ways of io_uring to spare the kernel work; `plain` is the limit that others are measured against. */
export type Feature = "plain" | "registered_file" | "registered_buffers" | "submission_polling";

export class BareLoop implements Contestant {
  readonly name: string;
  readonly #feature: Feature;
  #program: string | undefined;

  constructor(name = "bare loop", feature: Feature = "plain") {
    this.name = name;
    this.#feature = feature;
  }

  async prepare(): Promise<string | undefined> {
    if (process.platform !== "linux") return "io_uring is Linux only";
    const source = join(benchFolder, "bare_loop.zig");
    // Named by its source: Zig itself takes 6 s to find out that nothing has changed.
    const hash = Bun.hash(await Bun.file(source).bytes()).toString(16);
    const program = join(cacheFolder, `bare_loop-${hash}`);
    if (!existsSync(program)) {
      try {
        await compile(source, program);
      } catch (error) {
        return `it does not compile: ${error instanceof Error ? error.message : error}`;
      }
    }
    this.#program = program;
    return undefined;
  }

  async measure(job: Job): Promise<Sample> {
    if (this.#program === undefined) throw new Error("bare_loop is not compiled");
    const { stdout } = await run(
      [
        this.#program,
        job.path,
        job.direct ? "direct" : "cached",
        job.pattern,
        String(job.blockSize),
        String(job.depth),
        String(job.span),
        String(Math.round(job.warmUpSeconds * 1e9)),
        String(Math.round(job.seconds * 1e9)),
        String(job.seed),
        this.#feature,
      ],
      { seconds: job.warmUpSeconds + job.seconds },
    );
    return parseSample(stdout);
  }
}

async function compile(source: string, program: string): Promise<void> {
  // Renamed when it is whole: an interrupt must not leave half a program behind.
  const unfinished = `${program}.${process.pid}`;
  const options = ["-OReleaseFast", "-fstrip", "--cache-dir", cacheFolder];
  await run([findZig(), "build-exe", source, ...options, `-femit-bin=${unfinished}`], {
    seconds: COMPILE_SECONDS,
  });
  await rename(unfinished, program);
}

/** The compiler itself if npm put it where it is expected, else the wrapper that needs node. */
function findZig(): string {
  const modules = join(benchFolder, "..", "node_modules");
  const compiler = join(modules, "@zigc", `${process.platform}-${process.arch}`, "bin", "zig");
  return existsSync(compiler) ? compiler : join(modules, ".bin", "zig");
}

export const bareLoop: Contestant = new BareLoop();
