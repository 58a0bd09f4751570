// The main job on real input: copies an image with many reads and writes in flight, syncs, drops the
// cache, reads back and compares hashes; then does the same with node:fs/promises.
//
//   npm run demo                                  a 256 MiB image it makes itself
//   npm run demo -- --source A --target B         your own paths (B is overwritten)

import { createHash } from "node:crypto";
import fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { allocBuffer, BlockDevice, File, IoError, Ring } from "../src/index.ts";
import { imageDevice } from "../src/testing/index.ts";

const MIB = 2 ** 20;
const IMAGE_BYTES = 256 * MIB;
const CHUNK = MIB;
const IN_FLIGHT = 16;

const HELP = `Copies, syncs, reads back and compares; then the same with node:fs/promises.

  --source PATH   what to copy; default: a 256 MiB image made for the occasion
  --target PATH   where to; OVERWRITTEN. Default: a loop device if there is one, else a file
  --help
`;

// Progress ----------------------------------------------------------------------------------------------

/** A live line on a terminal, one line a second otherwise. */
class Progress {
  readonly #what: string;
  readonly #total: number;
  readonly #started = performance.now();
  #bytes = 0;
  #shown = 0;

  constructor(what: string, total: number) {
    this.#what = what;
    this.#total = total;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
    const now = performance.now();
    if (now - this.#shown < (process.stdout.isTTY ? 100 : 1000)) return;
    this.#shown = now;
    this.#show(process.stdout.isTTY ? "\r" : "", process.stdout.isTTY ? "" : "\n");
  }

  /** Shows the last state; returns MB/s. */
  done(): number {
    this.#show(process.stdout.isTTY ? "\r" : "", "\n");
    return this.#rate();
  }

  #rate(): number {
    return this.#bytes / 1e3 / Math.max(performance.now() - this.#started, 0.001);
  }

  #show(before: string, after: string): void {
    const rate = this.#rate();
    const left = (this.#total - this.#bytes) / 1e6 / Math.max(rate, 0.001);
    const line =
      `${this.#what.padEnd(24)} ${(this.#bytes / MIB).toFixed(0).padStart(6)} of ` +
      `${(this.#total / MIB).toFixed(0)} MiB  ${rate.toFixed(0).padStart(6)} MB/s  ${left.toFixed(1).padStart(6)} s left`;
    process.stdout.write(`${before}${line}${after}`);
  }
}

// The job, with bun-aio -----------------------------------------------------------------------------------

/** Runs `step` on each chunk of `size` bytes, IN_FLIGHT at a time, each worker with its own buffer. */
async function eachChunk(
  size: number,
  step: (buffer: Uint8Array<ArrayBuffer>, offset: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    const buffer = allocBuffer(CHUNK);
    while (next < size) {
      const offset = next;
      next += CHUNK;
      await step(buffer.subarray(0, Math.min(CHUNK, size - offset)), offset);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}

async function copyWithAio(source: File, target: File, size: number): Promise<number> {
  const progress = new Progress("bun-aio copy", size);
  await eachChunk(size, async (buffer, offset) => {
    await source.readExactAt(buffer, offset);
    await target.writeAt(buffer, offset);
    progress.add(buffer.byteLength);
  });
  await target.syncAll();
  return progress.done();
}

/** SHA-256 of the first `size` bytes, read ahead in order. */
async function hashOf(file: File, size: number, what: string): Promise<string> {
  const hash = createHash("sha256");
  const progress = new Progress(what, size);
  const ahead: { buffer: Uint8Array; done: Promise<void> }[] = [];
  const begin = (offset: number): void => {
    const buffer = allocBuffer(CHUNK).subarray(0, Math.min(CHUNK, size - offset));
    ahead.push({ buffer, done: file.readExactAt(buffer, offset) });
  };
  let next = 0;
  for (; next < size && ahead.length < IN_FLIGHT; next += CHUNK) begin(next);
  for (let chunk = ahead.shift(); chunk !== undefined; chunk = ahead.shift()) {
    await chunk.done;
    hash.update(chunk.buffer);
    progress.add(chunk.buffer.byteLength);
    if (next < size) {
      begin(next);
      next += CHUNK;
    }
  }
  progress.done();
  return hash.digest("hex");
}

// The same with node:fs/promises --------------------------------------------------------------------------

async function copyWithNode(source: string, target: string, size: number): Promise<number> {
  const progress = new Progress("node:fs/promises copy", size);
  await using from = await fs.open(source, "r");
  await using to = await fs.open(target, "r+");
  let next = 0;
  const worker = async (): Promise<void> => {
    const buffer = new Uint8Array(CHUNK);
    while (next < size) {
      const offset = next;
      next += CHUNK;
      const length = Math.min(CHUNK, size - offset);
      const { bytesRead } = await from.read(buffer, 0, length, offset);
      await to.write(buffer, 0, bytesRead, offset);
      progress.add(bytesRead);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
  await to.sync();
  return progress.done();
}

// Source and target -----------------------------------------------------------------------------------------

/** Random blocks, every one of them different. */
async function makeImage(path: string): Promise<void> {
  const progress = new Progress("making the image", IMAGE_BYTES);
  await using file = await File.open(path, { write: true, create: true });
  let stamp = 0;
  await eachChunk(IMAGE_BYTES, async (buffer, offset) => {
    for (let at = 0; at < buffer.byteLength; at += 65536) {
      crypto.getRandomValues(buffer.subarray(at, at + 65536));
    }
    new DataView(buffer.buffer).setUint32(0, stamp++);
    await file.writeAt(buffer, offset);
    progress.add(buffer.byteLength);
  });
  await file.syncAll();
  await file.invalidateCache();
  progress.done();
}

/** Bypasses the page cache where the file system allows. */
async function openDirect(path: string, write: boolean): Promise<File> {
  const stat = await fs.stat(path).catch(() => undefined);
  // A device is held exclusively for writing: a mounted one is refused, with its mount point named.
  if (stat?.isBlockDevice() === true) return BlockDevice.open(path, { write });
  const options = write ? { write: true, create: true } : {};
  try {
    return await File.open(path, { ...options, direct: true });
  } catch (error) {
    if (error instanceof IoError && error.code === "EINVAL") return File.open(path, options);
    throw error;
  }
}

function describe(file: File, what: string): string {
  const direct = file.alignment.offset > 1 ? "direct" : "buffered";
  return `${what}: ${file.path ?? `fd ${file.fd}`} (${file.kind}, ${direct})`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { source: { type: "string" }, target: { type: "string" }, help: { type: "boolean" } },
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    return;
  }
  const folder = await fs.mkdtemp(join(tmpdir(), "bun-aio-demo-"));
  try {
    const sourcePath = values.source ?? join(folder, "image");
    if (values.source === undefined) await makeImage(sourcePath);
    await using source = await openDirect(sourcePath, false);
    const size = await source.size();
    await using target = await openTarget(values.target, join(folder, "copy"), size);
    const ring = Ring.default();
    console.log(`backend ${ring.backend} (${ring.backendReason})`);
    console.log(describe(source, "source"));
    console.log(describe(target, "target"));
    await run(source, sourcePath, target, size);
  } finally {
    await fs.rm(folder, { recursive: true, force: true });
  }
}

/** The path asked for; else a loop device where that is possible; else a file. */
async function openTarget(asked: string | undefined, file: string, size: number): Promise<File> {
  if (asked !== undefined) return openDirect(asked, true);
  const unavailable = imageDevice.unavailable();
  if (unavailable === undefined) {
    const device = await imageDevice({ size: Math.ceil(size / 4096) * 4096 });
    console.log(`using the loop device ${device.path} as the target`);
    return device;
  }
  console.log(`using a file as the target: ${unavailable}`);
  return openDirect(file, true);
}

async function run(source: File, sourcePath: string, target: File, size: number): Promise<void> {
  const aio = await copyWithAio(source, target, size);
  await target.invalidateCache();
  await source.invalidateCache();
  const [wanted, got] = [
    await hashOf(source, size, "hash of the source"),
    await hashOf(target, size, "hash of the target"),
  ];
  if (wanted !== got) throw new Error(`the copy differs: ${wanted} was read as ${got}`);
  console.log(`sha256 ${got}: the copy is identical`);
  await source.invalidateCache();
  const node = await copyWithNode(sourcePath, target.path ?? "", size);
  console.log(
    `\nbun-aio ${aio.toFixed(0)} MB/s, node:fs/promises ${node.toFixed(0)} MB/s: ${(aio / node).toFixed(2)} x`,
  );
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
