// Writes and reads GUID partition tables (UEFI specification 2.10, chapter 5): two copies, one at each
// end of the disk, each with a checksum over its header and its entries.
//
//   bun examples/gpt/gpt.ts DISK-OR-IMAGE       shows the table

import { allocBuffer, BlockDevice } from "bun-aio";

export interface Partition {
  /** What it is for; `LINUX_DATA` for example. */
  type: string;
  id: string;
  name: string;
  firstSector: number;
  /** Included. */
  lastSector: number;
}

export interface PartitionTable {
  diskId: string;
  partitions: Partition[];
}

export interface FoundTable extends PartitionTable {
  /** Which copy it was read from. */
  copy: "primary" | "backup";
}

export interface WriteOptions {
  /**
   * Leaves out the sync between the two copies, as a careless writer would: a crash may then damage both
   * of them. Here for the test that finds it.
   */
  plantMissingSync?: boolean;
}

export const LINUX_DATA = "0fc63daf-8483-4772-8e79-3d69d8477de4";
export const EFI_SYSTEM = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";

const SIGNATURE = "EFI PART";
const REVISION = 0x0001_0000;
const HEADER_BYTES = 92;
const ENTRY_BYTES = 128;
const ENTRIES = 128;
const NAME_UNITS = 36;

/** Where things are, in sectors. */
interface Layout {
  sectorBytes: number;
  entrySectors: number;
  lastSector: number;
}

function layoutOf(device: BlockDevice): Layout {
  const sectorBytes = device.geometry.logicalSectorSize ?? 512;
  const sectors = Math.floor(device.geometry.size / sectorBytes);
  const entrySectors = Math.ceil((ENTRIES * ENTRY_BYTES) / sectorBytes);
  if (sectors < 2 * entrySectors + 4) throw new RangeError("the disk is too small for a table");
  return { sectorBytes, entrySectors, lastSector: sectors - 1 };
}

/**
 * Replaces the table so that a crash at any moment leaves the old one or the new one readable: the
 * backup copy is on the medium before the primary one is touched.
 */
export async function writeTable(
  device: BlockDevice,
  table: PartitionTable,
  options: WriteOptions = {},
): Promise<void> {
  const layout = layoutOf(device);
  const { sectorBytes, entrySectors, lastSector } = layout;
  const entries = encodeEntries(table, layout);
  const backup = encodeHeader(table, layout, entries, "backup");
  await device.writeAt(entries, (lastSector - entrySectors) * sectorBytes);
  await device.writeAt(backup, lastSector * sectorBytes);
  if (options.plantMissingSync !== true) await device.syncAll();
  await device.writeAt(protectiveMbr(layout), 0);
  await device.writeAt(entries, 2 * sectorBytes);
  await device.writeAt(encodeHeader(table, layout, entries, "primary"), sectorBytes);
  await device.syncAll();
}

/** The table of the first copy that is whole; throws when neither is. */
export async function readTable(device: BlockDevice): Promise<FoundTable> {
  const layout = layoutOf(device);
  for (const copy of ["primary", "backup"] as const) {
    const table = await readCopy(device, layout, copy);
    if (table !== undefined) return { copy, ...table };
  }
  throw new Error("no partition table: both copies are damaged");
}

async function readCopy(
  device: BlockDevice,
  layout: Layout,
  copy: "primary" | "backup",
): Promise<PartitionTable | undefined> {
  const { sectorBytes, entrySectors, lastSector } = layout;
  const header = allocBuffer(sectorBytes);
  await device.readExactAt(header, (copy === "primary" ? 1 : lastSector) * sectorBytes);
  const view = new DataView(header.buffer);
  if (text(header.subarray(0, 8)) !== SIGNATURE) return undefined;
  const sum = view.getUint32(16, true);
  view.setUint32(16, 0, true);
  if (Bun.hash.crc32(header.subarray(0, HEADER_BYTES)) !== sum) return undefined;
  const entries = allocBuffer(entrySectors * sectorBytes);
  await device.readExactAt(entries, Number(view.getBigUint64(72, true)) * sectorBytes);
  const used = entries.subarray(0, ENTRIES * ENTRY_BYTES);
  if (Bun.hash.crc32(used) !== view.getUint32(88, true)) return undefined;
  return { diskId: decodeId(header, 56), partitions: decodeEntries(used) };
}

function encodeHeader(
  table: PartitionTable,
  layout: Layout,
  entries: Uint8Array,
  copy: "primary" | "backup",
): Uint8Array {
  const { sectorBytes, entrySectors, lastSector } = layout;
  const header = allocBuffer(sectorBytes);
  const view = new DataView(header.buffer);
  const isPrimary = copy === "primary";
  header.set(new TextEncoder().encode(SIGNATURE));
  view.setUint32(8, REVISION, true);
  view.setUint32(12, HEADER_BYTES, true);
  view.setBigUint64(24, BigInt(isPrimary ? 1 : lastSector), true);
  view.setBigUint64(32, BigInt(isPrimary ? lastSector : 1), true);
  view.setBigUint64(40, BigInt(2 + entrySectors), true);
  view.setBigUint64(48, BigInt(lastSector - entrySectors - 1), true);
  encodeId(header, 56, table.diskId);
  view.setBigUint64(72, BigInt(isPrimary ? 2 : lastSector - entrySectors), true);
  view.setUint32(80, ENTRIES, true);
  view.setUint32(84, ENTRY_BYTES, true);
  view.setUint32(88, Bun.hash.crc32(entries.subarray(0, ENTRIES * ENTRY_BYTES)), true);
  view.setUint32(16, Bun.hash.crc32(header.subarray(0, HEADER_BYTES)), true);
  return header;
}

function encodeEntries(table: PartitionTable, layout: Layout): Uint8Array {
  const { sectorBytes, entrySectors, lastSector } = layout;
  if (table.partitions.length > ENTRIES) throw new RangeError(`more than ${ENTRIES} partitions`);
  const entries = allocBuffer(entrySectors * sectorBytes);
  const view = new DataView(entries.buffer);
  table.partitions.forEach((partition, index) => {
    const { firstSector, lastSector: last, name } = partition;
    if (firstSector < 2 + entrySectors || last < firstSector || last >= lastSector - entrySectors) {
      throw new RangeError(`partition ${index} (${firstSector} to ${last}) does not fit the disk`);
    }
    if (name.length > NAME_UNITS) throw new RangeError(`the name "${name}" is too long`);
    const at = index * ENTRY_BYTES;
    encodeId(entries, at, partition.type);
    encodeId(entries, at + 16, partition.id);
    view.setBigUint64(at + 32, BigInt(firstSector), true);
    view.setBigUint64(at + 40, BigInt(last), true);
    for (let unit = 0; unit < name.length; unit++) {
      view.setUint16(at + 56 + 2 * unit, name.charCodeAt(unit), true);
    }
  });
  return entries;
}

function decodeEntries(entries: Uint8Array<ArrayBuffer>): Partition[] {
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
  const partitions: Partition[] = [];
  for (let at = 0; at < entries.byteLength; at += ENTRY_BYTES) {
    if (entries.subarray(at, at + 16).every((byte) => byte === 0)) continue;
    let name = "";
    for (let unit = 0; unit < NAME_UNITS; unit++) {
      const code = view.getUint16(at + 56 + 2 * unit, true);
      if (code === 0) break;
      name += String.fromCharCode(code);
    }
    partitions.push({
      type: decodeId(entries, at),
      id: decodeId(entries, at + 16),
      name,
      firstSector: Number(view.getBigUint64(at + 32, true)),
      lastSector: Number(view.getBigUint64(at + 40, true)),
    });
  }
  return partitions;
}

/** Tells programs that know no GPT that the disk is full. */
function protectiveMbr(layout: Layout): Uint8Array {
  const sector = allocBuffer(layout.sectorBytes);
  const view = new DataView(sector.buffer);
  sector.set([0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff], 446);
  view.setUint32(454, 1, true);
  view.setUint32(458, Math.min(layout.lastSector, 0xffff_ffff), true);
  view.setUint16(510, 0xaa55, true);
  return sector;
}

/** The first three groups of a GUID are little endian. */
const ID_ORDER = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

function encodeId(bytes: Uint8Array, at: number, id: string): void {
  const digits = id.replaceAll("-", "");
  if (!/^[0-9a-f]{32}$/i.test(digits)) throw new TypeError(`"${id}" is no GUID`);
  ID_ORDER.forEach((from, index) => {
    bytes[at + index] = Number.parseInt(digits.slice(2 * from, 2 * from + 2), 16);
  });
}

function decodeId(bytes: Uint8Array, at: number): string {
  const digits: string[] = [];
  ID_ORDER.forEach((to, index) => {
    digits[to] = (bytes[at + index] ?? 0).toString(16).padStart(2, "0");
  });
  const all = digits.join("");
  const cuts = [0, 8, 12, 16, 20, 32];
  return cuts
    .slice(1)
    .map((end, index) => all.slice(cuts[index], end))
    .join("-");
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

if (import.meta.main) {
  const path = process.argv[2];
  if (path === undefined) throw new Error("usage: bun gpt.ts DISK-OR-IMAGE");
  await using device = await BlockDevice.open(path);
  console.log(await readTable(device));
}
