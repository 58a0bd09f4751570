// The geometry of a device or image when it is opened: the native `Geometry`, completed from sysfs on Linux.

import { IoError } from "../errors/io_error.ts";
import { statusError, wholeFile } from "../errors/status.ts";
import * as abi from "../native/abi.gen.ts";
import { orGone } from "../ring/device_gone.ts";
import type { FileState } from "../ring/file_state.ts";
import type { Proactor } from "../ring/proactor.ts";
import { readFacts, type SysfsFacts } from "../system/device_facts.ts";
import { type Geometry, UNKNOWN_GEOMETRY } from "../system/device_info.ts";
import { directoryOf, SYSTEM_PATHS } from "../system/sysfs.ts";

export async function readGeometry(proactor: Proactor, file: FileState): Promise<Geometry> {
  const info = await askDevice(proactor, file);
  const f64 = (field: number): number | null => {
    const value = info.getFloat64(field, true);
    return value < 0 ? null : value;
  };
  const flag = (field: number): boolean | null => {
    const value = f64(field);
    return value === null ? null : value !== 0;
  };
  const { Geometry: G } = abi;
  const facts = await sysfsFacts(f64(G.major), f64(G.minor));
  const optimal = f64(G.optimalIoSize);
  return Object.freeze({
    size: f64(G.size) ?? 0,
    logicalSectorSize: f64(G.logicalSectorSize) ?? facts?.logicalSectorSize ?? null,
    physicalSectorSize: f64(G.physicalSectorSize) ?? facts?.physicalSectorSize ?? null,
    minimumIoSize: f64(G.minimumIoSize) ?? facts?.minimumIoSize ?? null,
    // 0 means that the device reports none.
    optimalIoSize: optimal === 0 ? null : (optimal ?? facts?.optimalIoSize ?? null),
    maximumTransferSize: f64(G.maximumTransferSize) ?? facts?.maximumTransferSize ?? null,
    alignmentOffset: f64(G.alignmentOffset) ?? facts?.alignmentOffset ?? null,
    rotational: flag(G.rotational) ?? facts?.rotational ?? null,
    readOnly: flag(G.readOnly) ?? facts?.readOnly ?? null,
    model: text(info, G.model) ?? facts?.model ?? null,
    serial: text(info, G.serial) ?? facts?.serial ?? null,
  });
}

/** The geometry of an image: its size, and what the caller specified. */
export function imageGeometry(size: number, sectorSize: number, writable: boolean): Geometry {
  // A file opened for reading may be writable for others.
  const readOnly = writable ? false : null;
  return Object.freeze({ ...UNKNOWN_GEOMETRY, size, logicalSectorSize: sectorSize, readOnly });
}

/** Opening for writing is refused at once, not at the first write. */
export function readOnlyError(path: string | undefined): IoError {
  return new IoError("EROFS", {
    ...{ reason: "the device is read-only", syscall: "open", path },
    hint: "It is write-protected, or was made read-only (blockdev(8) --setro)",
  });
}

async function askDevice(proactor: Proactor, file: FileState): Promise<DataView> {
  const kind = abi.Kind.geometry;
  const blockBytes = abi.Geometry.SIZE;
  const outcome = await proactor.start({ kind, fd: file.fd, file, blockBytes });
  try {
    if (outcome.error !== undefined) throw outcome.error;
    if (outcome.status !== abi.Status.ok) {
      const error = statusError(outcome.status, outcome.errno, wholeFile(kind, file));
      throw await orGone(proactor, file, error);
    }
    return new DataView(proactor.bounce.memoryOf(outcome.block, blockBytes).slice().buffer);
  } finally {
    proactor.releaseBlock(outcome.block);
  }
}

async function sysfsFacts(
  major: number | null,
  minor: number | null,
): Promise<SysfsFacts | undefined> {
  if (process.platform !== "linux" || major === null || minor === null) return undefined;
  const directory = await directoryOf(SYSTEM_PATHS, `${major}:${minor}`);
  return directory === null ? undefined : readFacts(directory);
}

const TEXT_BYTES = 64;

function text(info: DataView, field: number): string | null {
  const bytes = new Uint8Array(info.buffer, info.byteOffset + field, TEXT_BYTES);
  const end = bytes.indexOf(0);
  const found = new TextDecoder().decode(bytes.subarray(0, end === -1 ? TEXT_BYTES : end)).trim();
  return found === "" ? null : found;
}
