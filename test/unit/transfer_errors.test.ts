// Units of transfer/errors.ts: the error of a longer transfer names the whole of it, whichever part failed.

import { expect, test } from "bun:test";
import { constants } from "node:os";
import { IoError } from "../../src/errors/io_error.ts";
import { lostError } from "../../src/errors/status.ts";
import { allocBuffer } from "../../src/memory/alloc_buffer.ts";
import { Kind, Status } from "../../src/native/abi.gen.ts";
import { FileState } from "../../src/ring/file_state.ts";
import type { Proactor } from "../../src/ring/proactor.ts";
import type { Outcome } from "../../src/ring/request.ts";
import { runBounced } from "../../src/transfer/bounced.ts";
import {
  beyondEnd,
  checkEnd,
  describe,
  detached,
  misaligned,
  settledBadly,
  waiterOf,
} from "../../src/transfer/errors.ts";
import type { Transfer } from "../../src/transfer/request.ts";
import { ioError } from "../support/expect.ts";
import { FakeRequests, outcome } from "../support/requests.ts";

const { EIO, ENOSPC, ENXIO } = constants.errno;

interface Given {
  readonly kind?: number;
  readonly offset?: number | bigint;
  readonly views?: readonly Uint8Array[];
  readonly mediaBytes?: number;
  readonly requests?: FakeRequests;
}

function transfer(given: Given): Transfer {
  const { kind = Kind.write, offset = 1000, views = [new Uint8Array(300)], mediaBytes = 0 } = given;
  const file = new FileState();
  file.path = "/some/file";
  file.mediaBytes = mediaBytes;
  const lengths = views.map((view) => view.byteLength);
  const length = lengths.reduce((sum, bytes) => sum + bytes, 0);
  const proactor = (given.requests ?? new FakeRequests()).ring as unknown as Proactor;
  return { proactor, file, kind, views, lengths, offset, length, scope: undefined };
}

test("what is said of a transfer: one buffer, or a vector", () => {
  const [one, two] = [[new Uint8Array(300)], [new Uint8Array(100), new Uint8Array(200)]];
  const syscallOf = (kind: number, views: Uint8Array[]): string =>
    describe(transfer({ kind, views }), 0).syscall;
  expect(syscallOf(Kind.read, one)).toBe("read");
  expect(syscallOf(Kind.write, one)).toBe("write");
  expect(syscallOf(Kind.read, two)).toBe("readv");
  expect(syscallOf(Kind.write, two)).toBe("writev");
  expect(syscallOf(Kind.write, [])).toBe("writev");
  expect(describe(transfer({ views: two }), 7)).toMatchObject({
    ...{ path: "/some/file", offset: 1000, length: 300, transferred: 7 },
  });
});

test("a part that failed: the range of the whole, and never more bytes than it has", async () => {
  const failed = outcome({ status: Status.failed, errno: ENOSPC });
  for (const [moved, told] of [
    [0, 0],
    [299, 299],
    [512, 300],
    [-24, 0],
  ] as const) {
    expect(await settledBadly(transfer({}), failed, moved)).toMatchObject({
      ...{ code: "ENOSPC", errno: -ENOSPC, syscall: "write", path: "/some/file" },
      ...{ offset: 1000, length: 300, transferred: told },
    });
  }
});

test("a part that was aborted or timed out: why, and of the whole", async () => {
  const reason = new Error("enough");
  const aborted = new IoError("ABORT_ERR", { offset: 5, length: 1, cause: reason });
  const error = await settledBadly(transfer({}), outcome({ error: aborted }), 100);
  expect(error).toMatchObject({ code: "ABORT_ERR", name: "AbortError", offset: 1000, length: 300 });
  expect(error.cause).toBe(reason);
  const timedOut = new IoError("ERR_TIMEOUT", { offset: 5 });
  const late = await settledBadly(transfer({}), outcome({ error: timedOut }), 100);
  expect(late).toMatchObject({ code: "ERR_TIMEOUT", offset: 1000, transferred: 100 });
  expect("cause" in late).toBe(false);
  // Its ring was lost.
  const lost = await settledBadly(transfer({}), outcome({ error: lostError(ENXIO, {}) }), 100);
  expect(lost).toMatchObject({ code: "ERR_OUTCOME_UNKNOWN", errno: -ENXIO, transferred: 100 });
  expect(lost.message).toContain("before the operation reached the kernel (io_uring_enter: ENXIO");
  // What the library itself said otherwise is passed on.
  const closed = new IoError("ERR_RING_CLOSED", {});
  expect(await settledBadly(transfer({}), outcome({ error: closed }), 0)).toBe(closed);
});

test("a write that ended, of which a later part may still be carried out: its sectors are given up", async () => {
  const answers = [
    { status: Status.failed, errno: EIO },
    { status: Status.outcomeUnknown, errno: ENXIO },
    { status: Status.failed, errno: EIO },
  ];
  const write = { ...transfer({ offset: 512, views: [new Uint8Array(2 ** 21)] }) };
  const start = async (): Promise<Outcome> => outcome(answers.shift() ?? {});
  const proactor = { start, releaseBlock: () => {} } as unknown as Proactor;
  const span = { start: 512, bytes: 2 ** 21, head: 0, tail: 0, partialSectors: [] };
  const error = await ioError(runBounced({ ...write, proactor }, span), "ERR_OUTCOME_UNKNOWN");
  expect(error).toMatchObject({ errno: -ENXIO, offset: 512, length: 2 ** 21, transferred: 0 });
  expect(answers.length).toBeLessThan(2);
  const waiter = waiterOf(write);
  const within = write.file.lock.during({ start: 600, end: 700 }, waiter, async () => {});
  expect(await ioError(within, "ERR_OUTCOME_UNKNOWN")).toMatchObject({ cause: error });
});

test("a part that failed on a disk: whether that is still there is asked first", async () => {
  const failed = outcome({ status: Status.failed, errno: EIO });
  const requests = new FakeRequests({ status: Status.failed, errno: ENXIO });
  const error = await settledBadly(transfer({ mediaBytes: 4096, requests }), failed, 10);
  expect(error).toMatchObject({ code: "ERR_DEVICE_GONE", offset: 1000, transferred: 10 });
  expect(error.cause).toMatchObject({ code: "EIO", offset: 1000 });
  const there = transfer({ mediaBytes: 4096, requests: new FakeRequests({}, 4096) });
  expect(await settledBadly(there, failed, 10)).toMatchObject({ code: "EIO", transferred: 10 });
});

test("the end of a disk before its end is asked about; of a file it is the end", async () => {
  const kind = Kind.read;
  const requests = new FakeRequests({}, 0);
  const early = transfer({ kind, mediaBytes: 4096, requests });
  expect(await ioError(checkEnd(early, 100), "ERR_DEVICE_GONE")).toMatchObject({
    transferred: 100,
    cause: { code: "ERR_END_OF_FILE" },
  });
  await checkEnd(transfer({ kind, offset: 4000, mediaBytes: 4096, requests }), 96);
  await checkEnd(transfer({ kind, requests }), 100);
  expect(requests.asked.length).toBe(1);
});

test("who waits for the lock in vain hears of the transfer", () => {
  const waiter = waiterOf(transfer({}));
  const reason = new Error("enough");
  expect(waiter.stopped({ code: "ABORT_ERR", cause: reason })).toMatchObject({
    ...{ code: "ABORT_ERR", syscall: "write", offset: 1000, length: 300, transferred: 0 },
    cause: reason,
  });
  expect(waiter.stopped({ code: "ERR_TIMEOUT" })).toMatchObject({ code: "ERR_TIMEOUT" });
  const cause = new IoError("ERR_OUTCOME_UNKNOWN", {});
  const givenUp = waiter.givenUp(cause);
  expect(givenUp).toMatchObject({ code: "ERR_OUTCOME_UNKNOWN", offset: 1000, cause });
  expect(givenUp.message).toContain("Nothing was written");
});

test("a buffer that is gone", () => {
  expect(detached(transfer({}), 12)).toMatchObject({
    code: "ERR_BUFFER_DETACHED",
    transferred: 12,
  });
});

test("a write beyond the end says by how much, at any offset", () => {
  for (const offset of [1000, 2n ** 60n]) {
    const write = transfer({ offset });
    write.file.setLimit(1024);
    const over = BigInt(offset) + 300n - 1024n;
    const error = beyondEnd(write);
    expect(error).toMatchObject({ code: "ENOSPC", errno: -ENOSPC, offset, transferred: 0 });
    expect(error.message).toContain(`${over} bytes past the end of the device (1024 bytes)`);
  }
});

test("a misaligned write says which of offset, length and memory is off", () => {
  const pinned = allocBuffer(2048);
  const cases: [number | bigint, Uint8Array, string[]][] = [
    [1024, new Uint8Array(1), ["length is 1 byte past a multiple of 512"]],
    [1026, new Uint8Array(512), ["offset is 2 bytes past a multiple of 512"]],
    [2n ** 61n + 3n, new Uint8Array(512), ["offset is 3 bytes past a multiple of 512"]],
    [0, pinned.subarray(4, 516), ["memory is 4 bytes past a multiple of 512"]],
    [
      513,
      pinned.subarray(1, 514),
      [
        "offset is 1 byte past a multiple of 512",
        "length is 1 byte past a multiple of 512",
        "memory is 1 byte past a multiple of 512",
      ],
    ],
  ];
  for (const [offset, view, words] of cases) {
    const write = transfer({ offset, views: [view] });
    write.file.setAlignment(512, 512);
    const error = misaligned(write);
    expect(error).toMatchObject({ code: "ERR_MISALIGNED", offset, length: view.byteLength });
    expect(error.message).toContain(`not aligned: ${words.join(", ")}, write`);
    expect(error.hint).toContain('unalignedWrites: "rmw"');
  }
});
