// A file on which reads do not end: they block in the kernel, interruptibly, until `letGo`. For what becomes of
// operations that are aborted, time out, or are under way when their ring, process or worker ends. It is the only file of a
// file system (FUSE) whose server answers no read (endless_server.ts); nobody else can see it, let alone
// end its reads. Needs root.

import { test } from "bun:test";
import fs from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { File, type IoOptions, type OpenOptions, type Ring } from "../../src/index.ts";
import { noRoot, unless } from "./conditions.ts";

interface Mounted {
  /** Holds `endless`. */
  readonly files: string;
  /** Holds `waiting` and `let-go`. */
  readonly controls: string;
}

let mounted: Mounted | undefined;

/** Why there is no read here that really blocks in the kernel, or undefined. */
export const blockingReadMissing: string | undefined =
  noRoot ??
  unless(fs.existsSync("/dev/fuse"), "there is no /dev/fuse") ??
  unless(
    /\boverlay$/m.test(fs.readFileSync("/proc/filesystems", "latin1")),
    "there is no overlayfs",
  );

/**
 * The file is opened through an overlay: io_uring polls a file of FUSE itself, is told that it is ready, and waits
 * for the read inside io_uring_enter (Linux 6.18).
 */
function mount(): Mounted {
  const top = fs.mkdtempSync(path.join(tmpdir(), "bun-aio-endless-"));
  const [fuse, empty, files] = ["fuse", "empty", "files"].map((name) => {
    const folder = path.join(top, name);
    fs.mkdirSync(folder);
    return folder;
  }) as [string, string, string];
  const fd = fs.openSync("/dev/fuse", "r+");
  try {
    const options = "fd=3,rootmode=40000,user_id=0,group_id=0,allow_other";
    runMount(["fuse", "-o", options, "bun-aio-test", fuse], fd);
    const server = [process.execPath, path.join(import.meta.dirname, "endless_server.ts"), top];
    // It ends with this process, whose end of the pipe is closed then; not by a signal to all of its group.
    Bun.spawn(server, { stdio: ["pipe", "inherit", "inherit", fd], detached: true }).unref();
    runMount(["overlay", "-o", `lowerdir=${fuse}:${empty}`, "bun-aio-test", files], fd);
  } finally {
    fs.closeSync(fd);
  }
  return { files, controls: fuse };
}

function runMount(words: readonly string[], fd: number): void {
  const { exitCode, stderr } = Bun.spawnSync(["mount", "-i", "-t", ...words], {
    stdio: ["ignore", "ignore", "pipe", fd],
  });
  if (exitCode !== 0) throw new Error(`mount -t ${words.join(" ")}: ${stderr}`);
}

function within(folder: keyof Mounted, name: string): string {
  mounted ??= mount();
  return path.join(mounted[folder], name);
}

export function endlessPath(): string {
  return within("files", "endless");
}

/** The same file without an overlay over it. */
export function endlessFusePath(): string {
  return within("controls", "endless");
}

export function openBlocking(ring: Ring, options: OpenOptions = {}): Promise<File> {
  return File.open(endlessPath(), { ...options, ring });
}

/** One such read. A test that fails may leave it behind. */
export function blockingRead(file: File, view: Uint8Array, options: IoOptions): Promise<number> {
  const read = file.readAt(view, 0, options);
  read.catch(() => {});
  return read;
}

/** How many reads block in the kernel now. */
function readsWaiting(): number {
  return fs.statSync(within("controls", "waiting")).size;
}

/** Waits until so many reads block in the kernel. */
export async function untilBlocked(reads = 1): Promise<void> {
  while (readsWaiting() < reads) await new Promise(setImmediate);
}

/** Lets the reads that block now have 64 bytes each, none of which is 0. */
export function letGo(): void {
  fs.existsSync(within("controls", "let-go"));
}

/** Until `promise` settles: what it waits for may have still been on its way to the kernel. */
export async function letGoUntilSettled(promise: Promise<unknown>): Promise<void> {
  let settled = false;
  const end = (): void => {
    settled = true;
  };
  promise.then(end, end);
  while (!settled) {
    letGo();
    await new Promise(setImmediate);
  }
}

/** A test with `openBlocking`. */
export function blockingTest(name: string, run: () => Promise<void>): void {
  test(name, run, 60_000);
}

/** Aborts at the end of its block: reads of `openBlocking` that a failed test leaves would keep the file open. */
export class ScopedAbort extends AbortController implements Disposable {
  [Symbol.dispose](): void {
    this.abort();
  }
}
