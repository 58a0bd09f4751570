// What can be opened and what is refused, from a path and from a descriptor, without blocking.

import { expect, test } from "bun:test";
import fs from "node:fs";
import net from "node:net";
import { pathToFileURL } from "node:url";
import { BlockDevice, File, FileHandle, type OpenOptions, open, Ring } from "../../src/index.ts";
import { noLinux, noRoot, testUnless, unless } from "../support/conditions.ts";
import { descriptorsBelow } from "../support/descriptors.ts";
import { ioError, rejection, wrong } from "../support/expect.ts";
import { makeFifo, PATH_BYTES_MAX } from "../support/libc.ts";
import { openPty } from "../support/pty.ts";
import { TempDir } from "../support/temp.ts";

const ways: readonly OpenOptions[] = [
  { read: true },
  { read: true, write: true },
  { read: false, write: true },
];

async function refusedPath(path: string, code: string, hint: string): Promise<void> {
  for (const options of ways) {
    const error = await ioError(File.open(path, options), code);
    expect(error).toMatchObject({ syscall: "open", path });
    expect(error.errno).toBeLessThan(0);
    expect(error.hint).toContain(hint);
  }
}

async function refusedFd(fd: number, code: string): Promise<void> {
  for (const ownsFd of [false, true]) {
    const error = await ioError(File.fromFd(fd, { ownsFd }), code);
    expect(error.message).toContain(`fd ${fd}`);
    // It stays the caller's.
    expect(() => fs.fstatSync(fd)).not.toThrow();
  }
}

test("a missing path is ENOENT, and the hint names create to who wants to write", async () => {
  using dir = new TempDir();
  const path = dir.file("missing");
  const error = await ioError(File.open(path), "ENOENT");
  expect(error).toMatchObject({ errno: -2, syscall: "open", path, hint: undefined });
  expect((await ioError(File.open(path, { write: true }), "ENOENT")).hint).toContain(
    "create: true",
  );
  expect(fs.existsSync(path)).toBe(false);
  await ioError(File.open(`${path}/below`), "ENOENT");
  await ioError(File.open(""), "ENOENT");
});

test("create makes what is missing and opens what is there", async () => {
  using dir = new TempDir();
  const path = dir.file("new");
  const umask = process.umask();
  {
    await using file = await File.open(path, { write: true, create: true, mode: 0o640 });
    expect(await file.writeAt(new Uint8Array(3), 0)).toBe(3);
    expect((await file.stat()).mode & 0o777).toBe(0o640 & ~umask);
  }
  await using again = await File.open(path, { write: true, create: true });
  expect(await again.size()).toBe(3);
});

test("createNew makes a file once", async () => {
  using dir = new TempDir();
  const path = dir.file("new");
  await using file = await File.open(path, { write: true, createNew: true });
  expect((await file.stat()).mode & 0o777).toBe(0o666 & ~process.umask());
  const error = await ioError(File.open(path, { write: true, createNew: true }), "EEXIST");
  expect(error.hint).toContain("createNew refuses a file that exists");
});

test("truncate empties", async () => {
  using dir = new TempDir();
  const path = dir.file("full", "abc");
  await using file = await File.open(path, { write: true, truncate: true });
  expect(await file.size()).toBe(0);
});

test("create, createNew and truncate need write", async () => {
  using dir = new TempDir();
  for (const name of ["create", "createNew", "truncate"]) {
    const error = await rejection(File.open(dir.file("x"), { [name]: true }));
    expect(error.code).toBe("ERR_INVALID_ARG_VALUE");
    expect(error.message).toContain(`"options.${name}" needs { write: true }`);
  }
  const neither = await rejection(File.open(dir.file("x"), { read: false }));
  expect(neither.message).toContain("must ask for read or write");
});

test("a file opened for reading cannot be written, and the hint says why", async () => {
  using dir = new TempDir();
  const path = dir.file("readonly", "abc");
  await using file = await File.open(path);
  const error = await ioError(file.writeAt(new Uint8Array(1), 0), "EBADF");
  expect(error.hint).toContain("open it with { write: true }");
  expect(error).toMatchObject({ syscall: "write", path, offset: 0, length: 1, transferred: 0 });
  const vector = await ioError(file.writevAt([new Uint8Array(1)], 0), "EBADF");
  expect(vector.hint).toContain("{ write: true }");
  const truncated = await ioError(file.truncate(0), "EINVAL");
  expect(truncated.hint).toContain("{ write: true }");
  await ioError(file.allocate(0, 1), "EBADF");
  expect(fs.readFileSync(path, "latin1")).toBe("abc");
});

test("a file opened for writing cannot be read, and the hint says why", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("writeonly", "abc"), { read: false, write: true });
  const error = await ioError(file.readAt(new Uint8Array(1), 0), "EBADF");
  expect(error.hint).toContain("open it with { read: true }");
  expect(await file.writeAt(new Uint8Array(1), 0)).toBe(1);
});

test("a directory is EISDIR", async () => {
  using dir = new TempDir();
  await refusedPath(dir.path, "EISDIR", "directory");
  const fd = fs.openSync(dir.path, "r");
  await refusedFd(fd, "EISDIR");
  fs.closeSync(fd);
});

test("a FIFO is ESPIPE at once, with and without a peer", async () => {
  using dir = new TempDir();
  const path = dir.file("fifo");
  makeFifo(path);
  await refusedPath(path, "ESPIPE", "no positions");
  const fd = fs.openSync(path, fs.constants.O_RDWR);
  await refusedFd(fd, "ESPIPE");
  await refusedPath(path, "ESPIPE", "no positions");
  fs.closeSync(fd);
});

test("a socket is ESPIPE", async () => {
  using dir = new TempDir();
  const path = dir.file("socket");
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await refusedPath(path, "ESPIPE", "no positions");
  server.close();
});

function isEventSource(fd: number): boolean {
  try {
    return /^(socket|pipe|anon_inode):/.test(fs.readlinkSync(`/proc/self/fd/${fd}`));
  } catch {
    return false;
  }
}

testUnless(
  noLinux,
  "descriptors of sockets, pipes and event sources are ESPIPE",
  async () => {
    const child = Bun.spawn(["cat"], { stdin: "pipe", stdout: "pipe" });
    // The test runner's own process has an epoll instance, event descriptors and sockets open.
    let refused = 0;
    for (const name of fs.readdirSync("/proc/self/fd")) {
      const fd = Number(name);
      if (!isEventSource(fd)) continue;
      const error = await rejection(File.fromFd(fd));
      // Bun opens and closes descriptors of its own meanwhile.
      if (error.code === "EBADF") continue;
      expect(error.code).toBe("ESPIPE");
      refused++;
    }
    expect(refused).toBeGreaterThan(2);
    child.kill();
    await child.exited;
  },
  20_000,
);

const pty = openPty();
testUnless(
  unless(pty !== undefined, "no pseudo-terminal can be made here"),
  "a terminal is ESPIPE",
  async () => {
    if (pty === undefined) throw new Error("no pseudo-terminal");
    await refusedPath(pty.path, "ESPIPE", "no positions");
    await refusedPath("/dev/ptmx", "ESPIPE", "no positions");
    await refusedFd(pty.slave, "ESPIPE");
    await refusedFd(pty.master, "ESPIPE");
    fs.closeSync(pty.slave);
    fs.closeSync(pty.master);
  },
);

testUnless(noLinux, "refusals leave no descriptor behind", async () => {
  using dir = new TempDir();
  const fifo = dir.file("fifo");
  makeFifo(fifo);
  await Promise.allSettled(
    Array.from({ length: 300 }, (_, i) => File.open([fifo, dir.path, dir.file("no")][i % 3] ?? "")),
  );
  expect(descriptorsBelow(dir.path)).toBe(0);
});

testUnless(noLinux, "files opened and closed leave no descriptor behind", async () => {
  using dir = new TempDir();
  const path = dir.file("letters", "abc");
  const files = await Promise.all(Array.from({ length: 200 }, () => File.open(path)));
  expect(descriptorsBelow(dir.path)).toBe(200);
  await Promise.all(files.map((file) => file.readAt(new Uint8Array(3), 0)));
  await Promise.all(files.map((file) => file.close()));
  expect(descriptorsBelow(dir.path)).toBe(0);
});

testUnless(noLinux, "an opened descriptor blocks, and is closed in children", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("x", "abc"));
  const flags = fs.readFileSync(`/proc/self/fdinfo/${file.fd}`, "latin1").match(/flags:\s*(\d+)/);
  const bits = Number.parseInt(flags?.[1] ?? "", 8);
  expect(bits & fs.constants.O_NONBLOCK).toBe(0);
  expect(bits & 0o2000000).not.toBe(0);
});

test("a descriptor that appends cannot be written at positions", async () => {
  using dir = new TempDir();
  const path = dir.file("log", "abc");
  const fd = fs.openSync(path, "a");
  const error = await ioError(File.fromFd(fd, { path, ownsFd: true }), "ERR_APPEND_MODE");
  expect(error.message).toContain("O_APPEND");
  expect(error.path).toBe(path);
  fs.closeSync(fd);
});

testUnless(noLinux, "a descriptor that only names a file is refused", async () => {
  using dir = new TempDir();
  const O_PATH = 0o10000000;
  const fd = fs.openSync(dir.file("x", "abc"), O_PATH);
  const error = await ioError(File.fromFd(fd), "EBADF");
  expect(error.hint).toContain("O_PATH");
  fs.closeSync(fd);
});

test("a descriptor that was refused is not read in place of the next one", async () => {
  using dir = new TempDir();
  const refused = fs.openSync(dir.file("log", "AAAA"), "a+");
  const next = fs.openSync(dir.file("next", "BBBB"), "r");
  await using ring = Ring.open();
  await ioError(File.fromFd(refused, { ownsFd: true, ring }), "ERR_APPEND_MODE");
  const file = await File.fromFd(next, { ring });
  const bytes = Buffer.alloc(4);
  expect(await file.readAt(bytes, 0)).toBe(4);
  expect(bytes.toString()).toBe("BBBB");
  await file.close();
  fs.closeSync(refused);
  fs.closeSync(next);
});

test("a descriptor that is no device stays the caller's", async () => {
  const fd = fs.openSync("/dev/null", "r");
  await ioError(BlockDevice.fromFd(fd, { ownsFd: true }), "ENOTBLK");
  await using file = await File.fromFd(fd, { ownsFd: true });
  expect(file.kind).toBe("character");
});

testUnless(noLinux, "a descriptor that only names a file is refused", async () => {
  using dir = new TempDir();
  const fd = fs.openSync(dir.file("x", "abc"), 0o10000000);
  const error = await ioError(File.fromFd(fd), "EBADF");
  expect(error.hint).toContain("O_PATH");
  fs.closeSync(fd);
  const directory = fs.openSync(dir.path, "r");
  expect((await ioError(File.fromFd(directory), "EISDIR")).hint).toContain("directory");
  fs.closeSync(directory);
});

test("wrong descriptors", async () => {
  const error = await ioError(File.fromFd(2 ** 31 - 1), "EBADF");
  expect(error.path).toBe("fd 2147483647");
  for (const fd of [-1, 1.5, Number.NaN, 2 ** 31]) {
    const refused = await rejection(File.fromFd(fd));
    expect(refused).toBeInstanceOf(RangeError);
    expect(refused.message).toBe(`"fd" must be an integer from 0 to 2147483647; got ${fd}`);
  }
  for (const fd of ["3", null, undefined, {}, 3n]) {
    const refused = await rejection(File.fromFd(wrong(fd)));
    expect(refused).toBeInstanceOf(TypeError);
    expect(refused.code).toBe("ERR_INVALID_ARG_TYPE");
    expect(refused.message).toContain('"fd" must be a number');
  }
});

test("wrong paths", async () => {
  for (const path of [undefined, null, 1, {}, [1], new ArrayBuffer(1), new Uint16Array(1)]) {
    const error = await rejection(File.open(wrong(path)));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.code).toBe("ERR_INVALID_ARG_TYPE");
    expect(error.message).toContain('"path" must be a string, a file: URL or a Uint8Array');
  }
  const nul = await rejection(File.open("a\0b"));
  expect(nul.code).toBe("ERR_INVALID_ARG_VALUE");
  expect(nul.message).toContain('"path" must not contain NUL characters');
  const url = await rejection(File.open(new URL("https://example.com/a")));
  expect(url.code).toBe("ERR_INVALID_URL_SCHEME");
  const nulUrl = await rejection(File.open(new URL("file:///a%00b")));
  expect(nulUrl.code).toBe("ERR_INVALID_ARG_VALUE");
  using dir = new TempDir();
  expect((await ioError(File.open(pathToFileURL(dir.file("none"))), "ENOENT")).path).toBe(
    dir.file("none"),
  );
});

test("a path may be as long as the system allows, and not longer", async () => {
  using dir = new TempDir();
  const longest = `${dir.path}/`.padEnd(PATH_BYTES_MAX - 2, "/").concat("x");
  fs.writeFileSync(dir.file("x"), "abc");
  const file = await File.open(longest);
  expect(await file.size()).toBe(3);
  await file.close();
  const error = await ioError(File.open(`/${longest}`), "ENAMETOOLONG");
  expect(error.message).toContain(`${PATH_BYTES_MAX} bytes, more than ${PATH_BYTES_MAX - 1}`);
  expect((error.path ?? "").length).toBeLessThan(80);
  await ioError(File.open(dir.file("n".repeat(256))), "ENAMETOOLONG");
  await ioError(File.open("é".repeat(PATH_BYTES_MAX / 2)), "ENAMETOOLONG");
});

test("wrong options are refused by name", async () => {
  using dir = new TempDir();
  const path = dir.file("x", "abc");
  const unknown = await rejection(File.open(path, wrong({ wirte: true })));
  expect(unknown.code).toBe("ERR_INVALID_ARG_VALUE");
  expect(unknown.message).toContain(
    '"options.wirte" is not an option of File.open; the options are read, write',
  );
  for (const options of [null, 1, "r"]) {
    const error = await rejection(File.open(path, wrong(options)));
    expect(error.code).toBe("ERR_INVALID_ARG_TYPE");
    expect(error.message).toContain('"options" must be an object');
  }
  for (const name of ["read", "write", "direct", "dsync"]) {
    const error = await rejection(File.open(path, { [name]: 1 }));
    expect(error.message).toContain(`"options.${name}" must be a boolean; got 1 (number)`);
  }
  for (const mode of [-1, 0o10000, 1.5]) {
    const error = await rejection(File.open(path, { mode }));
    expect(error.code).toBe("ERR_OUT_OF_RANGE");
    expect(error.message).toContain('"options.mode" must be an integer from 0 to 4095');
  }
  expect((await rejection(File.open(path, { ring: wrong({}) }))).message).toContain(
    '"options.ring" must be a Ring',
  );
  const fdOption = await rejection(File.fromFd(0, wrong({ ownFd: true })));
  expect(fdOption.message).toContain('"options.ownFd" is not an option of File.fromFd');
  expect((await rejection(File.fromFd(0, { path: wrong(1) }))).message).toContain(
    '"options.path" must be a string',
  );
  expect((await rejection(File.fromFd(0, { ownsFd: wrong("no") }))).message).toContain(
    '"options.ownsFd" must be a boolean',
  );
});

test("an option that is undefined is as if left out", async () => {
  using dir = new TempDir();
  await using file = await File.open(dir.file("x", "abc"), {
    read: undefined,
    write: undefined,
    create: undefined,
    mode: undefined,
    direct: undefined,
    ring: undefined,
    signal: undefined,
    timeout: undefined,
  });
  expect(await file.readAt(new Uint8Array(3), 0, { signal: undefined, timeout: undefined })).toBe(
    3,
  );
});

test("an already aborted open opens nothing", async () => {
  using dir = new TempDir();
  const path = dir.file("new");
  const signal = AbortSignal.abort(new Error("no more"));
  const error = await ioError(File.open(path, { write: true, create: true, signal }), "ABORT_ERR");
  expect(error.name).toBe("AbortError");
  expect(error.cause).toEqual(new Error("no more"));
  expect(fs.existsSync(path)).toBe(false);
});

testUnless(noRoot, "a program that runs is ETXTBSY, with a hint", async () => {
  using dir = new TempDir();
  const path = dir.file("sleep");
  fs.copyFileSync("/bin/sleep", path);
  fs.chmodSync(path, 0o755);
  const child = Bun.spawn([path, "60"]);
  await ioError(File.open(path, { write: true }), "ETXTBSY");
  child.kill();
  await child.exited;
});

test("a file may be opened on any ring", async () => {
  using dir = new TempDir();
  const path = dir.file("x", "abc");
  await using ring = Ring.open({ queueDepth: 1 });
  await using file = await File.open(path, { ring });
  expect(file.ring).toBe(ring);
  expect(await file.readAt(new Uint8Array(9), 0)).toBe(3);
});

test("open and FileHandle are File.open and File by the names of node:fs/promises", async () => {
  using dir = new TempDir();
  const path = dir.file("x", "abcdef");
  await using file: FileHandle = await open(path);
  expect(file).toBeInstanceOf(File);
  expect(FileHandle).toBe(File);
  const data = new Uint8Array(4);
  expect(await file.readAt(data, 2)).toBe(4);
  expect(new TextDecoder().decode(data)).toBe("cdef");
  expect(await rejection(open(path, { reed: true } as object))).toMatchObject({
    code: "ERR_INVALID_ARG_VALUE",
  });
});
