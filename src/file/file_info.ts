// Reads the native `FileInfo` of a file.

import fs from "node:fs";
import type { Identity } from "../locks/identity.ts";
import * as abi from "../native/abi.gen.ts";
import type { Proactor } from "../ring/proactor.ts";
import { diskKey, fileKey } from "../system/loop_devices.ts";
import { numbersText } from "../system/sysfs.ts";

/** The native answer to `open`, `probe` or `stat`, copied out of the bounce block. */
export function copiedInfo(proactor: Proactor, block: number): DataView {
  return new DataView(proactor.bounce.memoryOf(block, abi.FileInfo.SIZE).slice().buffer);
}

/** The identity of the file; undefined for devices in memory, which have no other names. */
export function identityOf(proactor: Proactor, info: DataView): Identity | undefined {
  if (proactor.backend === abi.Backend.simulated) return undefined;
  const u64 = (offset: number): bigint => info.getBigUint64(offset, true);
  const { FileInfo, FileKind } = abi;
  const isDisk = info.getUint32(FileInfo.kind, true) === FileKind.disk;
  const name = isDisk
    ? diskKey(numbersText(u64(FileInfo.rdev)))
    : fileKey(u64(FileInfo.dev), u64(FileInfo.ino));
  return { name, instance: u64(FileInfo.instance) };
}

/** A `node:fs` Stats with these values. */
export function statsOf(info: DataView): fs.Stats {
  const f64 = (offset: number): number => info.getFloat64(offset, true);
  const { FileInfo } = abi;
  // Numbers, as in node:fs without `bigint`: not exact above 2^53.
  const u64 = (offset: number): number => Number(info.getBigUint64(offset, true));
  return Object.assign(Object.create(fs.Stats.prototype) as fs.Stats, {
    dev: u64(FileInfo.dev),
    ino: u64(FileInfo.ino),
    mode: info.getUint32(FileInfo.mode, true),
    nlink: f64(FileInfo.nlink),
    uid: f64(FileInfo.uid),
    gid: f64(FileInfo.gid),
    rdev: u64(FileInfo.rdev),
    size: f64(FileInfo.size),
    blksize: f64(FileInfo.blksize),
    blocks: f64(FileInfo.blocks),
    atimeMs: f64(FileInfo.atimeMs),
    mtimeMs: f64(FileInfo.mtimeMs),
    ctimeMs: f64(FileInfo.ctimeMs),
    birthtimeMs: f64(FileInfo.birthtimeMs),
  });
}
