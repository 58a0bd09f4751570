// A file system of one file whose reads end only when they are told to: the server of endless.ts, a process of its own.
// Speaks the protocol of /dev/fuse (linux/fuse.h, version 7.31). Ends, and unmounts, when its standard input does.
//
//   bun endless_server.ts FOLDER     with /dev/fuse, mounted at FOLDER/fuse, as descriptor 3; FOLDER/files is an overlay

import fs from "node:fs";
import path from "node:path";

const FUSE_FD = 3;
const FOLDER = process.argv[2] ?? "";

/** Requests (enum fuse_opcode). */
const LOOKUP = 1;
const GETATTR = 3;
const OPEN = 14;
const READ = 15;
const STATFS = 17;
const INIT = 26;
const OPENDIR = 27;
const INTERRUPT = 36;
/** FORGET and BATCH_FORGET. */
const UNANSWERED: ReadonlySet<number> = new Set([2, 42]);
/** RELEASE, FLUSH and RELEASEDIR. */
const DONE: ReadonlySet<number> = new Set([18, 25, 29]);

const ENOENT = -2;
const EINTR = -4;
const ENOSYS = -38;

const ROOT = 1n;
const ENDLESS = 2n;
/** Its size is the number of reads that wait. */
const WAITING = 3n;

const IN_HEADER_BYTES = 40;
const OUT_HEADER_BYTES = 16;
const FOPEN_DIRECT_IO = 1;

/** What a read gets when it is told to end. */
const RECORD: Buffer = Buffer.alloc(64, "endless ");

/** Reads that wait, by the number of their request: how much they ask for. */
const waiting = new Map<bigint, number>();

function answer(unique: bigint, error: number, body: Uint8Array = new Uint8Array(0)): void {
  const out = Buffer.alloc(OUT_HEADER_BYTES + body.byteLength);
  out.writeUInt32LE(out.byteLength, 0);
  out.writeInt32LE(error, 4);
  out.writeBigUInt64LE(unique, 8);
  out.set(body, OUT_HEADER_BYTES);
  try {
    fs.writeSync(FUSE_FD, out);
  } catch (thrown) {
    // Nobody waits for it any more.
    if ((thrown as { code?: string }).code !== "ENOENT") throw thrown;
  }
}

/** struct fuse_attr */
function attributes(node: bigint): Buffer {
  const out = Buffer.alloc(88);
  out.writeBigUInt64LE(node, 0);
  if (node === ENDLESS) out.writeBigUInt64LE(1n << 40n, 8);
  if (node === WAITING) out.writeBigUInt64LE(BigInt(waiting.size), 8);
  out.writeUInt32LE(node === ROOT ? 0o40755 : 0o100644, 60);
  out.writeUInt32LE(1, 64);
  out.writeUInt32LE(4096, 80);
  return out;
}

/** struct fuse_entry_out; nothing of it may be remembered. */
function entry(node: bigint): Buffer {
  const out = Buffer.alloc(40);
  out.writeBigUInt64LE(node, 0);
  return Buffer.concat([out, attributes(node)]);
}

function lookUp(unique: bigint, name: string): void {
  if (name === "endless") answer(unique, 0, entry(ENDLESS));
  else if (name === "waiting") answer(unique, 0, entry(WAITING));
  else {
    if (name === "let-go") letGo();
    answer(unique, ENOENT);
  }
}

function letGo(): void {
  for (const [read, size] of waiting) answer(read, 0, RECORD.subarray(0, size));
  waiting.clear();
}

/** struct fuse_init_out: version 7.31, no features. */
function agree(unique: bigint): void {
  const out = Buffer.alloc(64);
  out.writeUInt32LE(7, 0);
  out.writeUInt32LE(31, 4);
  out.writeUInt16LE(64, 16);
  out.writeUInt16LE(64, 18);
  out.writeUInt32LE(4096, 20);
  answer(unique, 0, out);
}

function open(unique: bigint): void {
  const out = Buffer.alloc(16);
  out.writeUInt32LE(FOPEN_DIRECT_IO, 8);
  answer(unique, 0, out);
}

/** The kernel wants a read back: somebody has cancelled it, or ends. */
function interrupt(read: bigint): void {
  if (waiting.delete(read)) answer(read, EINTR);
}

function serve(request: Buffer): void {
  const opcode = request.readUInt32LE(4);
  const unique = request.readBigUInt64LE(8);
  const node = request.readBigUInt64LE(16);
  const body = request.subarray(IN_HEADER_BYTES);
  if (opcode === INIT) agree(unique);
  else if (opcode === LOOKUP) lookUp(unique, body.toString("latin1", 0, body.indexOf(0)));
  else if (opcode === GETATTR)
    answer(unique, 0, Buffer.concat([Buffer.alloc(16), attributes(node)]));
  else if (opcode === OPEN || opcode === OPENDIR) open(unique);
  else if (opcode === STATFS) answer(unique, 0, Buffer.alloc(80));
  else if (opcode === READ) waiting.set(unique, body.readUInt32LE(16));
  else if (opcode === INTERRUPT) interrupt(body.readBigUInt64LE(0));
  else if (DONE.has(opcode)) answer(unique, 0);
  else if (!UNANSWERED.has(opcode)) answer(unique, ENOSYS);
}

const buffer: Buffer = Buffer.alloc(1 << 18);

function next(): void {
  fs.read(FUSE_FD, buffer, 0, buffer.byteLength, null, (error, length) => {
    // Unmounted.
    if (error?.code === "ENODEV") process.exit(0);
    // Taken back before it was read.
    if (error === null) serve(buffer.subarray(0, length));
    else if (error.code !== "ENOENT" && error.code !== "EINTR") throw error;
    next();
  });
}

process.stdin.on("end", () => {
  for (const name of ["files", "fuse"]) Bun.spawnSync(["umount", "-l", path.join(FOLDER, name)]);
  for (const name of ["files", "fuse", "empty", "."]) fs.rmdirSync(path.resolve(FOLDER, name));
  process.exit(0);
});
process.stdin.resume();
next();
