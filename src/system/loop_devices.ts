// Loop devices and what is behind them, as a device and an inode. A path does not identify it, because of hard
// links, bind mounts and other mount namespaces. The driver is asked (LOOP_GET_STATUS64); where this user may not,
// the path in sysfs is resolved instead.

import { type BigIntStats, fstat } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { systemError } from "../errors/io_error.ts";
import * as abi from "../native/abi.gen.ts";
import type { Proactor } from "../ring/proactor.ts";
import {
  backingFile,
  bytesIn,
  diskNames,
  flagOf,
  namesIn,
  nodeNumbers,
  numberOf,
  numbersOf,
  numbersText,
  partitionNames,
  SYSTEM_PATHS,
  type SystemPaths,
} from "./sysfs.ts";

/** "file DEV INODE", "disk MAJOR:MINOR" or "character MAJOR:MINOR": the same for every name of a file or device. */
export type Key = string;

export interface Backing {
  readonly key: Key;
  /** Offset in bytes at which the loop device begins. */
  readonly offset: number;
}

/** A system whose loop driver can be asked. */
export interface System extends SystemPaths {
  /** The backing of loop device N: "nothing", or "unknown" if this process may not ask. */
  ask(number: number): Promise<Backing | "nothing" | "unknown">;
}

/** This system; the driver is asked on a thread of the ring. */
export function systemOf(proactor: Proactor): System {
  return { ...SYSTEM_PATHS, ask: (number) => askDriver(proactor, number) };
}

export interface Loop {
  /** "/dev/loopN" */
  readonly path: string;
  readonly key: Key;
  /** Undefined if unknown. */
  readonly backing: Backing | undefined;
  /** Infinity if unknown. */
  readonly bytes: number;
  readonly readOnly: boolean;
}

function fstatBig(fd: number): Promise<BigIntStats> {
  return new Promise((resolve, reject) => {
    fstat(fd, { bigint: true }, (error, stats) => (error ? reject(error) : resolve(stats)));
  });
}

export function diskKey(numbers: string): Key {
  return `disk ${numbers}`;
}

/** "major:minor" of a disk key. */
export function numbersOfKey(key: Key): string | undefined {
  return /^disk (\d+:\d+)$/.exec(key)?.[1];
}

/** BigInts: as numbers, two inodes above 2^53 could look equal. */
function keyOf(stats: BigIntStats): Key {
  if (stats.isBlockDevice()) return diskKey(numbersText(stats.rdev));
  if (stats.isCharacterDevice()) return `character ${numbersText(stats.rdev)}`;
  return fileKey(stats.dev, stats.ino);
}

/** Bun returns inodes above 2^63 (overlayfs makes some) as negative numbers. */
export function fileKey(dev: bigint, ino: bigint): Key {
  return `file ${numbersText(dev)} ${BigInt.asUintN(64, ino)}`;
}

/** Rejects as fstat(2) does. */
export async function keyOfFd(fd: number): Promise<Key> {
  return keyOf(await fstatBig(fd));
}

/** Undefined if there is no such file. */
export async function keyOfPath(path: string | Buffer): Promise<Key | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return found === undefined ? undefined : keyOf(found);
}

async function askDriver(proactor: Proactor, number: number): ReturnType<System["ask"]> {
  const { SIZE, device, inode, rdevice, offset } = abi.LoopStatus;
  const kind = abi.Kind.loopStatus;
  const request = { kind, fd: -1, file: undefined, argument: number, blockBytes: SIZE };
  const outcome = await proactor.start(request);
  try {
    if (outcome.status === abi.Status.failed) {
      return systemError(outcome.errno).code === "ENXIO" ? "nothing" : "unknown";
    }
    if (outcome.error !== undefined || outcome.status !== abi.Status.ok) return "unknown";
    const memory = proactor.bounce.memoryOf(outcome.block, SIZE);
    const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    const u64 = (at: number): bigint => view.getBigUint64(at, true);
    // For a file that is no device the driver returns 0.
    const disk = u64(rdevice);
    const key = disk === 0n ? fileKey(u64(device), u64(inode)) : diskKey(numbersText(disk));
    return { key, offset: Number(u64(offset)) };
  } finally {
    proactor.releaseBlock(outcome.block);
  }
}

/** All attached loop devices; undefined if the system does not list them. */
export async function attachedLoops(system: System): Promise<Loop[] | undefined> {
  const listed = await loopNumbers(system);
  if (listed === undefined) return undefined;
  const loops = await Promise.all(listed.map((number) => describeLoop(system, number)));
  return loops.filter((loop) => loop !== undefined);
}

/** From /sys/block; without it, from /proc/partitions, where attached devices have a size. */
async function loopNumbers(paths: SystemPaths): Promise<number[] | undefined> {
  const names = await diskNames(paths)
    .catch(() => partitionNames(paths))
    .catch(() => undefined);
  return names
    ?.map((name) => /^loop(\d+)$/.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
}

async function describeLoop(system: System, number: number): Promise<Loop | undefined> {
  const directory = join(system.sys, "block", `loop${number}`);
  const shown = await namesIn(directory);
  // This folder exists while something is attached (loop_sysfs_init() in drivers/block/loop.c).
  if (shown.length > 0 && !shown.includes("loop")) return undefined;
  const path = join(system.dev, `loop${number}`);
  const numbers = (await numbersOf(directory)) ?? (await nodeNumbers(path));
  const backing = await backingOf(system, directory, number);
  if (backing === "nothing") return undefined;
  return {
    path,
    key: diskKey(numbers ?? `loop ${number}`),
    backing: backing === "unknown" ? undefined : backing,
    bytes: (await bytesIn(join(directory, "size"))) ?? Infinity,
    readOnly: (await flagOf(join(directory, "ro"))) === true,
  };
}

/** The backing of the loop device of a sysfs directory; undefined if unknown. */
export async function behindLoop(system: System, directory: string): Promise<Backing | undefined> {
  const number = /\/loop(\d+)$/.exec(directory)?.[1];
  if (number === undefined || (await backingFile(directory)) === null) return undefined;
  const backing = await backingOf(system, directory, Number(number));
  return typeof backing === "string" ? undefined : backing;
}

async function backingOf(
  system: System,
  directory: string,
  number: number,
): ReturnType<System["ask"]> {
  const answer = await system.ask(number);
  if (answer !== "unknown") return answer;
  const file = await backingFile(directory);
  // Another file may have taken the name of a deleted one.
  if (file === null || !file.exists) return "unknown";
  const key = await keyOfPath(file.bytes);
  if (key === undefined) return "unknown";
  return { key, offset: (await numberOf(join(directory, "loop", "offset"))) ?? 0 };
}
