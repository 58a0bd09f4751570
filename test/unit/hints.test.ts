// Units of hints.ts: the name of what was tried, and advice that is right for the file it is about.

import { expect, test } from "bun:test";
import fc from "fast-check";
import type { FileFacts } from "../../src/errors/file_facts.ts";
import { hintFor, syscallName } from "../../src/errors/hints.ts";
import { Kind } from "../../src/native/abi.gen.ts";

const FILE: FileFacts = {
  path: "/some/file",
  readable: true,
  writable: true,
  direct: false,
  ioMask: 0,
  mediaBytes: 0,
};
const DISK: FileFacts = { ...FILE, direct: true, ioMask: 511, mediaBytes: 8192 };
const READ_ONLY: FileFacts = { ...FILE, writable: false };
const WRITE_ONLY: FileFacts = { ...FILE, readable: false };

const WRITES = [
  Kind.write,
  Kind.writev,
  Kind.truncate,
  Kind.allocate,
  Kind.discard,
  Kind.writeZeroes,
];
const READS = [Kind.read, Kind.readv];

test("whatever has a file has a name, that of the system call where there is one", () => {
  expect(syscallName(Kind.syncAll)).toBe("fsync");
  expect(syscallName(Kind.syncData)).toBe("fdatasync");
  expect(syscallName(Kind.allocate)).toBe("fallocate");
  for (const kind of [...WRITES, ...READS, Kind.open, Kind.close, Kind.stat]) {
    expect(syscallName(kind)).not.toBe("operation");
  }
  expect(syscallName(9999)).toBe("operation");
});

test("a change of a file that is open for reading only says so, and nothing else does", () => {
  for (const kind of WRITES) {
    for (const code of ["EBADF", "EINVAL"]) {
      expect(hintFor(code, kind, READ_ONLY)).toContain("{ write: true }");
      expect(hintFor(code, kind, FILE) ?? "").not.toContain("reading only");
    }
    expect(hintFor("EIO", kind, READ_ONLY)).not.toContain("{ write: true }");
  }
  for (const kind of [...READS, Kind.syncAll, Kind.close]) {
    expect(hintFor("EBADF", kind, READ_ONLY)).toBe("The descriptor was closed outside of bun-aio");
  }
});

test("a read of a file that is open for writing only says so; a change of it does not", () => {
  for (const kind of READS) expect(hintFor("EBADF", kind, WRITE_ONLY)).toContain("{ read: true }");
  for (const kind of WRITES) expect(hintFor("EBADF", kind, WRITE_ONLY)).toContain("closed outside");
});

test("EINVAL: alignment where it may be that, and nothing where nobody knows", () => {
  for (const kind of [...READS, Kind.write, Kind.writev, Kind.discard, Kind.writeZeroes]) {
    expect(hintFor("EINVAL", kind, DISK)).toContain("file.alignment");
    expect(hintFor("EINVAL", kind, FILE)).toBeUndefined();
    expect(hintFor("EINVAL", kind, undefined)).toBeUndefined();
  }
  for (const kind of [Kind.syncAll, Kind.stat, Kind.invalidateCache]) {
    expect(hintFor("EINVAL", kind, DISK)).toBeUndefined();
  }
  expect(hintFor("EINVAL", Kind.truncate, DISK)).toContain("only regular files can be truncated");
  expect(hintFor("EINVAL", Kind.truncate, { ...FILE, direct: true })).toBeUndefined();
});

test("a device that ends within a sector: how many bytes cannot be reached", () => {
  for (const [ioMask, mediaBytes, rest] of [
    [4095, 8192 + 512, 512],
    [511, 1, 1],
  ] as const) {
    const hint = hintFor("EINVAL", Kind.read, { ...DISK, ioMask, mediaBytes });
    expect(hint).toContain(`its last ${rest} bytes`);
  }
});

test("a device that is read-only says so; of a file nobody knows why", () => {
  for (const code of ["EPERM", "EROFS"]) {
    expect(hintFor(code, Kind.write, DISK)).toBe("The device is read-only");
    expect(hintFor(code, Kind.write, FILE)).toBeUndefined();
    expect(hintFor(code, Kind.write, undefined)).toBeUndefined();
  }
});

test("whatever a disk says of its medium or connection has one hint; none of it when opening", () => {
  const hint = hintFor("EIO", Kind.read, DISK);
  expect(hint).toContain("not reliable");
  for (const code of ["ENODATA", "EILSEQ", "EREMOTEIO", "ETIMEDOUT", "ENOLINK", "ETIME"]) {
    for (const kind of [...READS, ...WRITES, Kind.syncAll, Kind.syncData]) {
      for (const file of [DISK, FILE]) expect(hintFor(code, kind, file)).toBe(hint);
    }
    for (const kind of [Kind.open, Kind.probe])
      expect(hintFor(code, kind, undefined)).toBeUndefined();
  }
});

test("a full file system may have a quota; a disk has none", () => {
  for (const kind of WRITES) {
    expect(hintFor("ENOSPC", kind, FILE)).toContain("quota");
    expect(hintFor("ENOSPC", kind, DISK)).not.toContain("quota");
    expect(hintFor("EDQUOT", kind, FILE)).toContain("quota");
  }
});

test("a descriptor that is none", () => {
  expect(hintFor("EBADF", Kind.probe, undefined)).toContain("descriptor is not open");
});

test("advice about opening is for who opens", () => {
  const kinds = [...READS, ...WRITES, Kind.syncAll, Kind.syncData, Kind.stat, Kind.close];
  const codes = ["ENOENT", "EISDIR", "EEXIST", "EBUSY", "EMFILE", "ENXIO", "ELOOP", "ERR_NONE"];
  for (const kind of kinds) {
    for (const code of codes) expect(hintFor(code, kind, FILE)).toBeUndefined();
  }
});

test("any hint is a sentence to put behind a full stop, without one at its end", () => {
  const codes = [
    ...["EBADF", "ENOSPC", "EINVAL", "EPERM", "EROFS", "EFBIG", "EIO", "ENOTSUP", "ESPIPE"],
    ...["ENODATA", "ETIMEDOUT", "EBADE", "EDQUOT", "ENOMEDIUM"],
    ...["ENOENT", "EACCES", "EISDIR", "EEXIST", "EBUSY", "EMFILE", "ENFILE", "ETXTBSY"],
  ];
  const facts = fc.record({
    path: fc.constant("/some/file"),
    readable: fc.boolean(),
    writable: fc.boolean(),
    direct: fc.boolean(),
    ioMask: fc.constantFrom(0, 511, 4095),
    mediaBytes: fc.constantFrom(0, 512, 1000, 8192),
  });
  fc.assert(
    fc.property(
      fc.constantFrom(...codes),
      fc.constantFrom(...Object.values(Kind)),
      fc.option(facts, { nil: undefined }),
      (code, kind, file) => {
        const hint = hintFor(code, kind, file);
        if (hint !== undefined) expect(hint).toMatch(/^(?:[A-Z]|createNew ).*[^.\s]$/);
      },
    ),
  );
});
