// The targets of one run: made at first use, removed at the end in reverse order.

import { createCompressedFile } from "./compressed_file.ts";
import { createImageFile, fill } from "./image_file.ts";
import { attachLoopDevice, createMemoryDevice } from "./loop_device.ts";
import { createFolder, createSparseFile } from "./sparse_file.ts";
import { type Target, Unavailable } from "./target.ts";
import { createZramDevice } from "./zram_device.ts";

export type TargetName =
  | "file"
  | "loop"
  | "scratch"
  /** Four of them; their paths are separated by commas. */
  | "scratches"
  | "zram"
  /** A loop device over memory, filled. */
  | "filled"
  | "large"
  | "largeScratch"
  /** Mostly a hole; with as much data as `file` has. */
  | "sparse"
  /** A gzip file; `bytes` are those of the image in it. */
  | "compressed"
  /** The path of a file that does not exist. */
  | "fresh";

/** The large ones, for what is over too soon otherwise. */
const TIMES_LARGER = 16;
const TIMES_SPARSE = 64;

export class Targets implements AsyncDisposable {
  readonly size: number;
  readonly #made = new Map<TargetName, Target>();
  readonly #unavailable = new Map<TargetName, string>();

  constructor(size: number) {
    this.size = size;
  }

  /** Makes a target; the reason where that is impossible on this machine. */
  async prepare(name: TargetName): Promise<string | undefined> {
    if (this.#made.has(name)) return undefined;
    const known = this.#unavailable.get(name);
    if (known !== undefined) return known;
    try {
      await this.#make(name);
      return undefined;
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      this.#unavailable.set(name, error.message);
      return error.message;
    }
  }

  bytes(name: TargetName): number {
    if (name === "sparse") return TIMES_SPARSE * this.size;
    return name.startsWith("large") ? TIMES_LARGER * this.size : this.size;
  }

  path(name: TargetName): string {
    const target = this.#made.get(name);
    if (target === undefined) throw new Error(`the target ${name} was not prepared`);
    return target.path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const errors: unknown[] = [];
    for (const target of [...this.#made.values()].reverse()) {
      try {
        await target[Symbol.asyncDispose]();
      } catch (error) {
        // One that resists must not keep the others.
        errors.push(error);
      }
    }
    this.#made.clear();
    if (errors.length > 0) throw new AggregateError(errors, `left behind: ${errors.join("; ")}`);
  }

  async #make(name: TargetName): Promise<void> {
    const bytes = this.bytes(name);
    if (name === "file") this.#made.set(name, await createImageFile(bytes));
    else if (name === "scratch" || name === "largeScratch")
      this.#made.set(name, await createMemoryDevice(bytes));
    else if (name === "scratches") this.#made.set(name, await createScratches(4, bytes));
    else if (name === "large" || name === "filled")
      this.#made.set(name, await createMemoryDevice(bytes, fill));
    else if (name === "sparse") this.#made.set(name, await createSparseFile(bytes));
    else if (name === "compressed") this.#made.set(name, await createCompressedFile(bytes));
    else if (name === "fresh") this.#made.set(name, await createFolder("copy"));
    else if (name === "zram") this.#made.set(name, await createZramDevice(this.size));
    else {
      await this.prepare("file");
      this.#made.set(name, await attachLoopDevice(this.path("file")));
    }
  }
}

async function createScratches(count: number, bytes: number): Promise<Target> {
  await using made = new AsyncDisposableStack();
  const paths: string[] = [];
  for (let i = 0; i < count; i++) paths.push(made.use(await createMemoryDevice(bytes)).path);
  const kept = made.move();
  return { path: paths.join(","), [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
