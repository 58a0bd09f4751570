// What a server that writes a disk image goes through: a copy is running, 32 readers want small blocks of the same
// disk, and a timer shows how long the event loop keeps everything else waiting. First with bun-aio, then the same
// with node:fs/promises. In the end the copy is read back from the disk and compared.
//
//   npm run demo                                  a 256 MiB image it makes itself
//   npm run demo -- --source A --target B         your own paths (B is overwritten)

import { constants } from "node:fs";
import fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  allocBuffer,
  BlockDevice,
  compare,
  copy,
  type FileHandle,
  IoError,
  open,
  Ring,
} from "../src/index.ts";
import { imageDevice } from "../src/testing/index.ts";

const MIB = 2 ** 20;
const IMAGE_BYTES = 256 * MIB;
const BLOCK = 4096;
const READERS = 32;
/** Of the timer, ms. */
const INTERVAL = 5;
/** The two take turns, so that a slow moment of the machine meets both. */
const ROUNDS = 2;

const HELP = `Copies an image while 32 readers read 4 KiB blocks of the target; then the same with node:fs/promises.

  --source PATH   what to copy; default: a 256 MiB image made for the occasion
  --target PATH   where to; OVERWRITTEN. Default: a loop device if there is one, else a file
  --seconds N     how long each of the two runs, in two rounds; default 4
  --help
`;

// The two ways to do it -----------------------------------------------------------------------------------

interface Way {
  readonly name: string;
  /** Copies the image onto the target and syncs. */
  copyOnce(): Promise<void>;
  readBlock(buffer: Uint8Array, offset: number): Promise<unknown>;
}

function withAio(source: FileHandle, target: FileHandle): Way {
  return {
    name: "bun-aio",
    copyOnce: async () => {
      await copy(source, target);
    },
    readBlock: (buffer, offset) => target.readExactAt(buffer, offset),
  };
}

/** As `copy` does it: four MiB in flight, the same aligned memory, the same flags. */
function withNode(source: fs.FileHandle, target: fs.FileHandle, size: number): Way {
  const buffers = Array.from({ length: 4 }, () => allocBuffer(MIB));
  return {
    name: "node:fs/promises",
    copyOnce: async () => {
      let next = 0;
      const chunks = buffers.map(async (buffer) => {
        while (next < size) {
          const offset = next;
          next += MIB;
          const { bytesRead } = await source.read(buffer, 0, Math.min(MIB, size - offset), offset);
          await target.write(buffer, 0, bytesRead, offset);
        }
      });
      await Promise.all(chunks);
      await target.sync();
    },
    readBlock: (buffer, offset) => target.read(buffer, 0, BLOCK, offset),
  };
}

// Measuring -----------------------------------------------------------------------------------------------

/** What was seen, over all rounds. */
interface Seen {
  readonly name: string;
  copies: number;
  seconds: number;
  /** us, of each read. */
  readonly reads: number[];
  /** ms by which the timer was late. */
  readonly late: number[];
}

/** Copies again and again, reads and listens to the timer, for about this long. */
async function round(way: Way, size: number, seconds: number, seen: Seen): Promise<void> {
  const started = performance.now();
  const isOver = (): boolean => performance.now() - started > seconds * 1000;
  let copying = true;
  const copies = async (): Promise<void> => {
    do {
      await way.copyOnce();
      seen.copies++;
    } while (!isOver());
    copying = false;
  };
  const blocks = Math.floor(size / BLOCK);
  const reader = async (): Promise<void> => {
    const buffer = allocBuffer(BLOCK);
    while (copying) {
      const begin = performance.now();
      await way.readBlock(buffer, Math.floor(Math.random() * blocks) * BLOCK);
      seen.reads.push((performance.now() - begin) * 1000);
    }
  };
  let due = started + INTERVAL;
  const timer = setInterval(() => {
    const now = performance.now();
    seen.late.push(Math.max(0, now - due));
    due = now + INTERVAL;
  }, INTERVAL);
  try {
    await Promise.all([copies(), ...Array.from({ length: READERS }, reader)]);
  } finally {
    clearInterval(timer);
  }
  seen.seconds += (performance.now() - started) / 1000;
}

/** The value that this share of the samples does not exceed. */
function percentile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

interface Summary {
  readonly name: string;
  readonly megabytes: number;
  readonly reads: number;
  readonly p99: number;
  readonly late: number;
}

function summary(seen: Seen, size: number): Summary {
  return {
    name: seen.name,
    megabytes: (seen.copies * size) / 1e6 / seen.seconds,
    reads: seen.reads.length / seen.seconds,
    p99: percentile(seen.reads, 0.99) / 1000,
    late: percentile(seen.late, 0.99),
  };
}

function print(summaries: readonly Summary[]): void {
  const cells = summaries.map(({ name, megabytes, reads, p99, late }) => [
    name,
    `${megabytes.toFixed(0)} MB/s`,
    `${Math.round(reads).toLocaleString("en-US")}/s`,
    `${p99.toFixed(1)} ms`,
    `${late.toFixed(1)} ms`,
  ]);
  const head = ["", "copied", "4 KiB reads", "99 % of them within", "timer late (p99)"];
  for (const [name = "", ...rest] of [head, ...cells]) {
    console.log(name.padEnd(18) + rest.map((cell) => cell.padStart(20)).join(""));
  }
}

/** The table in words. */
function explain([aio, node]: readonly [Summary, Summary]): void {
  const reads = aio.reads / node.reads;
  const copied = aio.megabytes / node.megabytes;
  console.log(
    `\nWhile the image was copied, bun-aio answered ${reads.toFixed(1)} times as many small reads as ` +
      `node:fs/promises,\nand the copy itself ran at ${copied.toFixed(1)} times the speed. The program stayed ` +
      `responsive: a ${INTERVAL} ms timer was at\nmost ${aio.late.toFixed(1)} ms late in 99 of 100 cases ` +
      `(node:fs/promises, with fewer reads to answer: ${node.late.toFixed(1)} ms).`,
  );
}

// Source and target -----------------------------------------------------------------------------------------

/** Random data. */
async function makeImage(path: string): Promise<void> {
  await using file = await open(path, { write: true, create: true });
  const buffer = allocBuffer(MIB);
  for (let offset = 0; offset < IMAGE_BYTES; offset += MIB) {
    for (let at = 0; at < MIB; at += 65536) crypto.getRandomValues(buffer.subarray(at, at + 65536));
    await file.writeAt(buffer, offset);
  }
  await file.syncAll();
}

/** Bypasses the page cache where the file system allows. */
async function openDirect(path: string, write: boolean): Promise<FileHandle> {
  const stat = await fs.stat(path).catch(() => undefined);
  // A device is held exclusively for writing: a mounted one is refused, with its mount point named.
  if (stat?.isBlockDevice() === true) return BlockDevice.open(path, { write });
  const options = write ? { write: true, create: true } : {};
  try {
    return await open(path, { ...options, direct: true });
  } catch (error) {
    if (error instanceof IoError && error.code === "EINVAL") return open(path, options);
    throw error;
  }
}

/** The path asked for; else a loop device where that is possible; else a file. */
async function openTarget(
  asked: string | undefined,
  file: string,
  size: number,
): Promise<FileHandle> {
  if (asked !== undefined) return openDirect(asked, true);
  const unavailable = imageDevice.unavailable();
  if (unavailable === undefined) {
    return imageDevice({ size: Math.ceil(size / BLOCK) * BLOCK });
  }
  console.log(`the target is a file, not a loop device: ${unavailable}`);
  return openDirect(file, true);
}

/** The same file, opened by node:fs with the same flags. */
function openWithNode(path: string, like: FileHandle, write: boolean): Promise<fs.FileHandle> {
  const direct = like.alignment.offset > 1 ? constants.O_DIRECT : 0;
  return fs.open(path, (write ? constants.O_RDWR : constants.O_RDONLY) | direct);
}

function describe(file: FileHandle): string {
  return `${file.kind === "disk" ? "disk" : "file"}, ${file.alignment.offset > 1 ? "past the page cache" : "through the page cache"}`;
}

async function run(
  source: FileHandle,
  target: FileHandle,
  size: number,
  seconds: number,
): Promise<void> {
  await using nodeSource = await openWithNode(source.path ?? "", source, false);
  await using nodeTarget = await openWithNode(target.path ?? "", target, true);
  const ways = [withAio(source, target), withNode(nodeSource, nodeTarget, size)] as const;
  const seen = ways.map(({ name }): Seen => ({ name, copies: 0, seconds: 0, reads: [], late: [] }));
  // Both once beforehand: blocks are allocated, code is compiled.
  for (const way of ways) await way.copyOnce();
  for (let n = 0; n < ROUNDS; n++) {
    for (const [index, way] of ways.entries()) {
      const into = seen[index];
      if (into !== undefined) await round(way, size, seconds / ROUNDS, into);
    }
  }
  const [aio, node] = seen.map((each) => summary(each, size));
  if (aio === undefined || node === undefined) return;
  print([aio, node]);
  explain([aio, node]);
  await copy(source, target);
  const { identical, digest } = await compare(source, target, { hash: "sha256" });
  if (!identical) throw new Error("the copy differs from the image");
  console.log(`\nThe copy was read back from the target: it is identical. sha256 ${digest}`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      source: { type: "string" },
      target: { type: "string" },
      seconds: { type: "string", default: "4" },
      help: { type: "boolean" },
    },
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
    console.log(`backend  ${ring.backend} (${ring.backendReason})`);
    console.log(`source   ${(size / MIB).toFixed(0)} MiB (${describe(source)})`);
    console.log(`target   ${target.path} (${describe(target)})`);
    console.log(
      `\nOne copy of the image after another, and ${READERS} readers of the target beside it:\n`,
    );
    await run(source, target, size, Number(values.seconds));
  } finally {
    await fs.rm(folder, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
