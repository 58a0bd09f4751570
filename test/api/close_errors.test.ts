// Broken descriptors and closed rings: every call rejects with an IoError and its code.

import { expect, test } from "bun:test";
import { type ChildResult, runCode } from "../support/child.ts";
import { TempDir } from "../support/temp.ts";

/**
 * In a process of its own, with lower numbers free: a number that was closed behind the library's back could be
 * another file's before it is looked at.
 */
function inOwnProcess(path: string, steps: string): Promise<ChildResult> {
  const code = `
    const lower = Array.from({ length: 30 }, () => fs.openSync(args[0], "r"));
    const fd = fs.openSync(args[0], "r+");
    const free = () => { for (const one of lower) fs.closeSync(one); };
    const said = async (calls) => {
      for (const [name, call] of Object.entries(calls)) {
        const error = await Promise.resolve().then(call).then(() => undefined, (error) => error);
        const kind = error === undefined ? "fine" : error instanceof IoError ? error.code : Bun.inspect(error);
        const { syscall, errno, path, hint } = error ?? {};
        console.log(JSON.stringify({ name, kind, syscall, errno, path, hint }));
      }
    };
    ${steps}
  `;
  return runCode(code, { args: [path] });
}

interface Said {
  readonly name: string;
  readonly kind: string;
  readonly syscall?: string;
  readonly errno?: number;
  readonly path?: string;
  readonly hint?: string;
}

function saidBy(child: ChildResult): Said[] {
  expect(child).toMatchObject({ end: 0, stderr: "" });
  return child.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

const CALLS = `{
  read: () => file.readAt(new Uint8Array(10), 0),
  pinned: () => file.readExactAt(allocBuffer(10), 0),
  vector: () => file.readvAt([new Uint8Array(10), new Uint8Array(1)], 0),
  write: () => file.writeAt(new Uint8Array(10), 0),
  long: () => file.writeAt(new Uint8Array(3 << 20), 0),
  writev: () => file.writevAt([new Uint8Array(10), new Uint8Array(1)], 0),
  size: () => file.size(),
  stat: () => file.stat(),
  truncate: () => file.truncate(10),
  allocate: () => file.allocate(0, 10),
  invalidateCache: () => file.invalidateCache(),
  readable: () => new Response(file.readable()).bytes(),
  writable: async () => {
    const writer = file.writable().getWriter();
    writer.closed.catch(() => {});
    await writer.write(new Uint8Array(10)).then(() => writer.close());
  },
  copyFrom: () => copy(file, other),
  copyTo: () => copy(other, file),
  sync: () => file.syncAll(),
  syncData: () => file.syncData(),
  batch: async () => {
    const [result] = await file.ring.batch([{ kind: "read", file, data: new Uint8Array(1), offset: 0 }]);
    if (result.status === "rejected") throw result.reason;
  },
}`;

test("a descriptor that was closed outside", async () => {
  using dir = new TempDir();
  const child = await inOwnProcess(
    dir.file("x", "content"),
    `
    const other = await File.open(args[0] + "2", { write: true, create: true });
    await other.writeAt(new Uint8Array(10), 0);
    const file = await File.fromFd(fd, { ownsFd: true, path: "given" });
    free();
    fs.closeSync(fd);
    await said(${CALLS});
    await said({ close: () => file.close(), again: () => file.close() });
    `,
  );
  const said = saidBy(child);
  for (const { name, kind, errno, path } of said) {
    // io_uring keeps an open file of its own, to which a write may go, and a read that is not answered at once.
    if (kind === "fine" && !name.startsWith("close")) continue;
    expect([name, kind, errno, path]).toEqual([name, "EBADF", -9, "given"]);
  }
  expect(said.map(({ kind }) => kind)).toContain("EBADF");
});

test("a file that is closed", async () => {
  using dir = new TempDir();
  const child = await inOwnProcess(
    dir.file("x", "content"),
    `
    const other = await File.open(args[0] + "2", { write: true, create: true });
    await other.writeAt(new Uint8Array(10), 0);
    const file = await File.fromFd(fd, { ownsFd: true });
    await file.close();
    await said(${CALLS});
    `,
  );
  for (const { name, kind, hint } of saidBy(child)) {
    expect([name, kind, hint]).toEqual([name, "EBADF", "Open it again"]);
  }
});

test("a ring that is closed, and then the descriptor", async () => {
  using dir = new TempDir();
  const child = await inOwnProcess(
    dir.file("x", "content"),
    `
    const ring = Ring.open();
    const other = await File.open(args[0] + "2", { write: true, create: true });
    await other.writeAt(new Uint8Array(10), 0);
    const file = await File.fromFd(fd, { ownsFd: true, ring, path: "given" });
    free();
    await ring.close();
    await said(${CALLS});
    fs.closeSync(fd);
    await said({ close: () => file.close(), again: () => file.close() });
    `,
  );
  const said = saidBy(child);
  for (const { name, kind } of said.slice(0, -2)) {
    expect([name, kind]).toEqual([name, "ERR_RING_CLOSED"]);
  }
  for (const { name, ...error } of said.slice(-2)) {
    expect(error).toEqual({
      kind: "EBADF",
      syscall: "close",
      errno: -9,
      path: "given",
      hint: "The descriptor was closed outside of bun-aio",
    });
  }
});

test("a good descriptor is closed after its ring", async () => {
  using dir = new TempDir();
  const child = await inOwnProcess(
    dir.file("x", "content"),
    `
    const ring = Ring.open();
    const file = await File.fromFd(fd, { ownsFd: true, ring });
    await ring.close();
    await said({ close: () => file.close(), gone: () => { try { fs.fstatSync(fd); } catch { throw new IoError("GONE"); } } });
    `,
  );
  expect(saidBy(child).map(({ kind }) => kind)).toEqual(["fine", "GONE"]);
});

test("a copy of a source whose descriptor was closed outside", async () => {
  using dir = new TempDir();
  const child = await inOwnProcess(
    dir.file("data", "abcdef"),
    `
    const source = await File.fromFd(fd);
    await using target = await File.open(args[0] + ".copy", { write: true, create: true });
    fs.closeSync(fd);
    // With a length nothing asks how long the source is.
    await said({ copy: () => copy(source, target, { length: 4 }) });
    `,
  );
  // The runtime may have a pipe under that number by then.
  expect(saidBy(child)).toMatchObject([{ kind: expect.stringMatching(/^(EBADF|ESPIPE|fine)$/) }]);
});
