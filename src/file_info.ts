// What the native side says of a file: `abi.FileInfo`.

import fs from "node:fs";
import type { Core } from "./core.ts";
import * as abi from "./native/abi.gen.ts";

/** The answer of `open`, `probe` or `stat`, copied out of bounce memory. */
export function copiedInfo(core: Core, block: number): DataView {
  return new DataView(core.bounce.memoryOf(block, abi.FileInfo.SIZE).slice().buffer);
}

/** Names the file or device: the same for whoever has it open. Undefined where nobody else can have. */
export function identityOf(core: Core, info: DataView): string | undefined {
  if (core.backend === abi.Backend.simulated) return undefined;
  const f64 = (offset: number): number => info.getFloat64(offset, true);
  const { FileInfo, FileKind } = abi;
  switch (info.getUint32(FileInfo.kind, true)) {
    case FileKind.regular:
      return `file ${f64(FileInfo.dev)} ${f64(FileInfo.ino)}`;
    case FileKind.disk:
      return `disk ${f64(FileInfo.rdev)}`;
    default:
      return undefined;
  }
}

/** A `node:fs` Stats with these values. */
export function statsOf(info: DataView): fs.Stats {
  const f64 = (offset: number): number => info.getFloat64(offset, true);
  const { FileInfo } = abi;
  return Object.assign(Object.create(fs.Stats.prototype) as fs.Stats, {
    dev: f64(FileInfo.dev),
    ino: f64(FileInfo.ino),
    mode: info.getUint32(FileInfo.mode, true),
    nlink: f64(FileInfo.nlink),
    uid: f64(FileInfo.uid),
    gid: f64(FileInfo.gid),
    rdev: f64(FileInfo.rdev),
    size: f64(FileInfo.size),
    blksize: f64(FileInfo.blksize),
    blocks: f64(FileInfo.blocks),
    atimeMs: f64(FileInfo.atimeMs),
    mtimeMs: f64(FileInfo.mtimeMs),
    ctimeMs: f64(FileInfo.ctimeMs),
    birthtimeMs: f64(FileInfo.birthtimeMs),
  });
}
