// Telling an unplugged device from a failure of the medium: errors/device_gone.ts (after which errors to ask) and
// ring/device_gone.ts (which asks).

import { expect, test } from "bun:test";
import { constants } from "node:os";
import {
  emptiedError,
  endsTooEarly,
  goneError,
  isSuspect,
  orShrunk,
} from "../../src/errors/device_gone.ts";
import { IoError } from "../../src/errors/io_error.ts";
import { Kind, Status } from "../../src/native/abi.gen.ts";
import { deviceGone, orGone } from "../../src/ring/device_gone.ts";
import { FileState } from "../../src/ring/file_state.ts";
import { FakeRequests } from "../support/requests.ts";

const { EIO, ENXIO, ENODEV, EBADF } = constants.errno;

function disk(bytes = 8192): FileState {
  const state = new FileState();
  state.fd = 7;
  state.path = "/dev/sdz";
  state.mediaBytes = bytes;
  return state;
}

function failure(code: string): IoError {
  const where = { syscall: "read", path: "/dev/sdz", offset: 512, length: 100, transferred: 3 };
  return new IoError(code, { ...where, errno: -EIO });
}

test("only what a disk that is gone may say of itself is asked about", () => {
  for (const code of ["EIO", "ENOSPC", "EINVAL", "ENOTSUP", "ENOLINK", "EREMOTEIO", "ETIMEDOUT"]) {
    expect(isSuspect(disk(), code)).toBe(true);
    expect(isSuspect(disk(0), code)).toBe(false);
  }
  for (const code of [
    "EBADF",
    "ABORT_ERR",
    "ERR_TIMEOUT",
    "ERR_WRITE_ABORTED",
    "ERR_RING_CLOSED",
  ]) {
    expect(isSuspect(disk(), code)).toBe(false);
  }
});

test("a read ends too early when it stops before the end that the disk had", () => {
  expect(endsTooEarly(disk(), 0, 8191)).toBe(true);
  expect(endsTooEarly(disk(), 4096, 4096)).toBe(false);
  expect(endsTooEarly(disk(), 9000, 0)).toBe(false);
  expect(endsTooEarly(disk(), 4096n, 0)).toBe(true);
  expect(endsTooEarly(disk(0), 0, 0)).toBe(false);
});

test("the error names what was tried, and keeps what the kernel said", () => {
  const cause = failure("EIO");
  const error = goneError(cause);
  const { syscall, path, offset, length, transferred, errno } = cause;
  expect(error).toMatchObject({ syscall, path, offset, length, transferred, errno });
  expect(error).toMatchObject({ code: "ERR_DEVICE_GONE", cause });
  expect(error.message).toContain("(EIO)");
  expect(error.hint).toContain("Plug it in");
  expect(emptiedError(disk(), "fstat")).toMatchObject({
    code: "ERR_DEVICE_GONE",
    path: "/dev/sdz",
    cause: { code: "ENXIO", syscall: "fstat" },
  });
});

test("a disk that has bytes is there; one that has none is gone", async () => {
  const error = failure("EIO");
  const there = new FakeRequests({ block: 3 }, 8192);
  expect(await deviceGone(there.ring, disk(), error)).toBeUndefined();
  expect(there.asked).toMatchObject([{ kind: Kind.stat, fd: 7 }]);
  expect(there.released).toEqual([3]);
  const empty = new FakeRequests({ block: 4 }, 0);
  expect((await deviceGone(empty.ring, disk(), error))?.cause).toBe(error);
  expect(empty.released).toEqual([4]);
});

test("a disk that shrank: only what reaches past its new end is told so", async () => {
  const where = { syscall: "write", path: "/dev/sdz", transferred: 0 };
  const at = (code: string, offset: number, length: number): IoError =>
    new IoError(code, { ...where, errno: -constants.errno.ENOSPC, offset, length });
  const told = "The device has shrunk since it was opened, from 8192 to 4096 bytes";
  for (const [code, offset, length, isPast] of [
    ["ENOSPC", 4096, 1, true],
    ["ENOSPC", 4095, 2, true],
    ["EINVAL", 4096, 512, true],
    ["ENOSPC", 0, 4096, false],
    ["EIO", 4096, 512, false],
  ] as const) {
    const error = at(code, offset, length);
    expect(orShrunk(disk(), 4096, error).hint).toBe(isPast ? told : undefined);
    expect(orShrunk(disk(), 8192, error)).toBe(error);
    const asked = await orGone(new FakeRequests({}, 4096).ring, disk(), error);
    expect(asked.hint).toBe(isPast ? told : undefined);
  }
});

test("what asking says: gone, or nothing", async () => {
  const error = failure("ENOSPC");
  for (const errno of [ENXIO, ENODEV, EIO]) {
    const requests = new FakeRequests({ status: Status.failed, errno });
    expect((await deviceGone(requests.ring, disk(), error))?.code).toBe("ERR_DEVICE_GONE");
    expect(requests.released.length).toBe(1);
  }
  const others = [
    { status: Status.failed, errno: EBADF },
    { status: Status.canceled, error: failure("EBADF") },
    { status: Status.outcomeUnknown, errno: EIO },
  ];
  for (const answer of others) {
    expect(await deviceGone(new FakeRequests(answer).ring, disk(), error)).toBeUndefined();
  }
});

test("orGone: asks once, only of disks, and never again of what is known", async () => {
  const gone = new FakeRequests({ status: Status.failed, errno: ENXIO });
  const error = failure("EIO");
  expect(await orGone(gone.ring, disk(), error)).toMatchObject({ code: "ERR_DEVICE_GONE" });
  expect(gone.asked.length).toBe(1);
  expect(await orGone(gone.ring, disk(0), error)).toBe(error);
  const known = goneError(error);
  expect(await orGone(gone.ring, disk(), known)).toBe(known);
  expect(await deviceGone(gone.ring, disk(), known)).toBe(known);
  const aborted = failure("ABORT_ERR");
  expect(await orGone(gone.ring, disk(), aborted)).toBe(aborted);
  expect(gone.asked.length).toBe(1);
  const there = new FakeRequests({}, 512);
  expect(await orGone(there.ring, disk(), error)).toBe(error);
});
