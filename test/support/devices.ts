// Targets for tests of devices: images in regular files, and real loop devices where available.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BlockDevice, type BlockDeviceOptions, File, type OpenOptions } from "../../src/index.ts";
import { imageDevice } from "../../src/testing/index.ts";
import { unless } from "./conditions.ts";

/** Why there are no loop devices here, or undefined. */
export const noLoop: string | undefined = imageDevice.unavailable();

/** A folder that goes when it is disposed of. */
export class Folder implements Disposable {
  readonly path: string;

  constructor(parent: string = tmpdir()) {
    this.path = mkdtempSync(join(parent, "bun-aio-test-"));
  }

  /** The path of a file of zeroes. */
  zeroes(name: string, bytes: number): string {
    const path = join(this.path, name);
    writeFileSync(path, "");
    truncateSync(path, bytes);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export type Mode = "reject" | "rmw";

export interface Target {
  readonly name: string;
  readonly sectorSize: number;
  /** Why there is none here. */
  readonly missing: string | undefined;
  /** Why nothing is misaligned on it, or undefined. */
  readonly takesAll: string | undefined;
  open(size: number, unalignedWrites?: Mode): Promise<File>;
}

/** A file whose temporary folder goes with it. */
async function inFolder(open: (path: string) => Promise<File>, size: number): Promise<File> {
  const folder = new Folder();
  try {
    return await open(folder.zeroes("image", size));
  } finally {
    // The descriptor keeps the file.
    folder[Symbol.dispose]();
  }
}

function image(sectorSize: number): Target {
  return {
    name: `image, sectors of ${sectorSize}`,
    sectorSize,
    missing: undefined,
    takesAll: undefined,
    open: (size, unalignedWrites) => {
      const options: BlockDeviceOptions = { write: true, sectorSize, unalignedWrites };
      return inFolder((path) => BlockDevice.open(path, options), size);
    },
  };
}

function loop(sectorSize: number): Target {
  return {
    name: `loop device, sectors of ${sectorSize}`,
    sectorSize,
    missing: noLoop,
    takesAll: undefined,
    open: (size, unalignedWrites) => imageDevice({ size, sectorSize, unalignedWrites }),
  };
}

/** Whether direct files in the folder for temporary files take requests of any alignment (tmpfs). */
async function takesAnyAlignment(): Promise<boolean> {
  using folder = new Folder();
  await using file = await File.open(folder.zeroes("probe", 4096), { direct: true });
  return file.alignment.offset === 1;
}

const directFile: Target = {
  name: "direct file",
  sectorSize: 4096,
  missing: undefined,
  takesAll: unless(
    !(await takesAnyAlignment()),
    "direct files in the folder for temporary files need no alignment: set TMPDIR",
  ),
  open: (size, unalignedWrites) => {
    const options: OpenOptions = { write: true, direct: true, unalignedWrites };
    return inFolder((path) => File.open(path, options), size);
  },
};

export const targets: readonly Target[] = [
  image(512),
  image(4096),
  directFile,
  loop(512),
  loop(4096),
];

/** Bytes that tell where they are from. */
export function pattern(bytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i < bytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    out[i] = state >>> 24;
  }
  return out;
}

export function shuffled<T>(items: readonly T[], seed: number): T[] {
  const out = [...items];
  let state = seed >>> 0;
  for (let i = out.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    const [a, b] = [out[i] as T, out[j] as T];
    out[i] = b;
    out[j] = a;
  }
  return out;
}

/** The error a promise rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("it did not reject");
}
