// Checks a library file before it is loaded: dlopen(3) maps a truncated file without an error, and the process dies
// of SIGBUS at the first missing page.

import { closeSync, fstatSync, openSync, readSync } from "node:fs";

const ELF = 0x7f454c46;
/** Magic number of little-endian 64-bit Mach-O, as bytes in the file. */
const MACH_O = 0xcffaedfe;
const LC_SEGMENT_64 = 0x19;

/** ELF's e_machine and Mach-O's cputype, by Bun's name. */
const MACHINES: Readonly<Record<string, { elf: number; machO: number }>> = {
  x64: { elf: 62, machO: 0x0100_0007 },
  arm64: { elf: 183, machO: 0x0100_000c },
};

/** Why this file cannot be loaded here, or undefined. Throws the errors of opening and reading it. */
export function imageProblem(path: string): string | undefined {
  const fd = openSync(path, "r");
  try {
    const head = new DataView(new ArrayBuffer(4096));
    const bytes = readSync(fd, head, 0, head.byteLength, 0);
    if (bytes < 64) return `is not a library: it has ${bytes} bytes`;
    const size = fstatSync(fd).size;
    const magic = head.getUint32(0);
    if (magic === ELF) return elfProblem(head, size);
    if (magic === MACH_O) return machOProblem(head, size);
    return "is not a library: neither ELF nor Mach-O of 64 bits";
  } finally {
    closeSync(fd);
  }
}

/** elf(5); the section headers are the last thing in the file. */
function elfProblem(head: DataView, size: number): string | undefined {
  if (process.platform === "darwin") return "is a library for another system (ELF)";
  const machine = machineProblem("elf", head.getUint16(18, true));
  if (machine !== undefined) return machine;
  let end =
    Number(head.getBigUint64(40, true)) + head.getUint16(58, true) * head.getUint16(60, true);
  const headers = Number(head.getBigUint64(32, true));
  const each = head.getUint16(54, true);
  for (let i = 0; i < head.getUint16(56, true); i++) {
    const at = headers + i * each;
    if (at + 40 > head.byteLength) break;
    const segment = Number(head.getBigUint64(at + 8, true) + head.getBigUint64(at + 32, true));
    end = Math.max(end, segment);
  }
  return truncated(size, end);
}

/** mach-o/loader.h */
function machOProblem(head: DataView, size: number): string | undefined {
  if (process.platform !== "darwin") return "is a library for macOS";
  const machine = machineProblem("machO", head.getUint32(4, true));
  if (machine !== undefined) return machine;
  let end = 0;
  let at = 32;
  for (let i = 0; i < head.getUint32(16, true) && at + 56 <= head.byteLength; i++) {
    if (head.getUint32(at, true) === LC_SEGMENT_64) {
      const segment = Number(head.getBigUint64(at + 40, true) + head.getBigUint64(at + 48, true));
      end = Math.max(end, segment);
    }
    at += head.getUint32(at + 4, true);
  }
  return truncated(size, end);
}

function machineProblem(format: "elf" | "machO", found: number): string | undefined {
  if (found === MACHINES[process.arch]?.[format]) return undefined;
  const other = Object.keys(MACHINES).find((name) => MACHINES[name]?.[format] === found);
  return `is for another processor: ${other ?? `machine ${found}`}, this is ${process.arch}`;
}

function truncated(size: number, needed: number): string | undefined {
  return size < needed ? `is truncated: ${size} of at least ${needed} bytes` : undefined;
}
